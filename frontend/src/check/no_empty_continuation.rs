//! Empty lines between the lines of one instruction: easily taken for its end.

use super::{Fact, Report, Rule};
use crate::diagnostic::Diagnostic;
use crate::line::Span;

pub(super) const RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    summary: "Empty continuation lines will become errors in a future release",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for span in &file.empty_continuations {
        // BuildKit names the line that the instruction ends on.
        let span = Span { lines: (span.lines.1, span.lines.1), ..span.clone() };
        report.add(Diagnostic::warning(RULE.name, "Empty continuation line", Some(span)));
    }
}
