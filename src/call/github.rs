//! Annotations of GitHub Actions: one workflow command per line.

use super::{Findings, line};
use frontend::diagnostic::Severity;

pub(super) fn findings(findings: &Findings<'_>) -> String {
    let all = findings.warnings.iter().chain(findings.errors);
    let one = |finding: &frontend::diagnostic::Diagnostic| {
        let level = if finding.severity == Severity::Error { "error" } else { "warning" };
        let last = finding.span.as_ref().map_or(1, |span| span.lines.1.max(1));
        let help = finding.help.as_ref().map_or(String::new(), |help| format!("\n{help}"));
        let (file, title) = (property(findings.file), property(finding.code));
        let message = escaped(&format!("{}{help}", finding.message));
        format!("::{level} file={file},line={},endLine={last},title={title}::{message}\n", line(finding))
    };
    all.map(one).collect()
}

/// Escapes the text after the second `::` as `@actions/core` does.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}
