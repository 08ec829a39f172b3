//! Errors with the place in the Dockerfile that they are about.

use crate::request::BuildRequest;
use base::error::{Error, Kind};
use frontend::diagnostic::Diagnostic;
use frontend::line::Span;
use frontend::plan::Plan;
use solver::VertexId;

/// The most findings that are shown; the others are counted.
const MOST_SHOWN: usize = 20;

pub(super) fn name(request: &BuildRequest) -> String {
    if let (Some(folder), Some(path)) = (&request.fetched, &request.dockerfile_path)
        && let Ok(inside) = path.strip_prefix(folder)
    {
        return inside.display().to_string();
    }
    let path =
        request.dockerfile_path.as_ref().map_or_else(|| "Dockerfile".to_owned(), |path| path.display().to_string());
    path.strip_prefix("./").map_or(path.clone(), str::to_owned)
}

/// One error for all findings in a Dockerfile.
pub(super) fn of_dockerfile(request: &BuildRequest, errors: &[Diagnostic]) -> Error {
    let shown: Vec<String> = errors
        .iter()
        .take(MOST_SHOWN)
        .map(|error| error.render(&name(request), &request.dockerfile, request.color))
        .collect();
    let message = match errors {
        [one] => one.message.clone(),
        several => format!(
            "the Dockerfile has {} errors, the first: {}",
            several.len(),
            several.first().map_or("", |first| &first.message)
        ),
    };
    Error::new(Kind::Dockerfile, message).report(shown.join("\n\n"))
}

/// A warning as text.
pub(super) fn warning(request: &BuildRequest, warning: &Diagnostic) -> String {
    let line = warning.span.as_ref().map_or(String::new(), |span| format!(":{}", span.lines.0));
    format!("{}: {} ({}{line})", warning.code, warning.message, name(request))
}

/// An error of a vertex, with its lines in the Dockerfile.
pub(super) fn at_vertex(request: &BuildRequest, plan: &Plan, id: VertexId, error: Error) -> Error {
    let vertex = plan.graph.get(id);
    let Some((first, last)) = vertex.lines else { return error };
    if error.kind() == Kind::Interrupted {
        return error;
    }
    let starts: Vec<usize> = std::iter::once(0)
        .chain(request.dockerfile.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1))
        .collect();
    let at = |line: u32| starts.get(line as usize - 1).copied().unwrap_or(request.dockerfile.len());
    let span = Span { bytes: at(first.max(1))..at(last + 1).saturating_sub(1), lines: (first, last) };
    let diagnostic = Diagnostic::error("step", error.message(), Some(span));
    let mut picture = diagnostic.render(&name(request), &request.dockerfile, request.color);
    if let Some(tail) = error.picture() {
        let step = if vertex.name.is_empty() { "the step" } else { &vertex.name };
        let lines: String = tail.lines().map(|line| format!("  | {line}\n")).collect();
        picture = format!("{picture}\n\nlast output of {step}:\n{lines}");
    }
    error.report(picture)
}
