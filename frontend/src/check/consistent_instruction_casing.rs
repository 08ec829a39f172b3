//! `run` among `RUN`s: the majority of the file decides.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    summary: "All commands within the Dockerfile should use the same casing (either upper or lower)",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    // An instruction before the first FROM is not counted, as in BuildKit.
    let lines = || file.lines.iter().skip_while(|line| line.name != "FROM");
    let lower = lines().filter(|line| line.written == line.written.to_lowercase()).count();
    let upper = lines().filter(|line| line.written == line.name).count();
    let majority = if lower > upper { "lowercase" } else { "uppercase" };
    for line in lines() {
        let wanted = if lower > upper { line.written.to_lowercase() } else { line.name.clone() };
        if line.written != wanted {
            let message =
                format!("Command '{}' should match the case of the command majority ({majority})", line.written);
            report.at(line, message, |found| found.fix(line.name_span.clone(), wanted));
        }
    }
}
