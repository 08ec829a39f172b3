//! FROM: begins a stage.

use super::flags::{self, Kind};
use super::{Diagnostic, Line, Stage, error};

/// `FROM [--platform=p] base [AS name]`.
#[derive(Clone, Debug)]
pub(crate) struct From {
    /// As written.
    pub(crate) base: String,
    /// In lower case.
    pub(crate) name: Option<String>,
    /// As written.
    pub(crate) platform: Option<String>,
}

impl From {
    pub(super) fn parse(line: &Line) -> Result<From, Diagnostic> {
        let platform = flags::check(line, &[("platform", Kind::Text)])?.text("platform");
        let words: Vec<&str> = line.args.iter().map(|word| word.text.as_str()).collect();
        let (base, name) = match words.as_slice() {
            [base] => (base, None),
            [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => (base, Some(*name)),
            _ => {
                return Err(error(line, "from-arguments", "FROM requires either one or three arguments")
                    .help("write `FROM image` or `FROM image AS name`"));
            }
        };
        if let Some(name) = name.filter(|name| !is_stage_name(&name.to_lowercase())) {
            let message =
                format!("invalid name for build stage: {name:?}, name can't start with a number or contain symbols");
            return Err(Diagnostic::error("stage-name", message, line.args.last().map(|word| word.span.clone())));
        }
        Ok(From { base: (*base).to_owned(), name: name.map(str::to_lowercase), platform })
    }

    /// Stages are begun by the plan; a FROM inside one can't be.
    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        Err(stage.error("from", "FROM begins a stage and can't stand in one"))
    }
}

fn is_stage_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest)
}
