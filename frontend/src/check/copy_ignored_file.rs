//! A COPY of what `.dockerignore` takes away finds nothing.

use super::{Fact, Report, Rule};
use crate::ignore::clean;

pub(super) const RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    summary: "Attempting to Copy file that is excluded by .dockerignore",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Copied { instruction, path, ignore } = fact else { return };
    // With exceptions it can't be told without looking at the files.
    if ignore.patterns().any(|pattern| pattern.starts_with('!')) {
        return;
    }
    let path = clean(path);
    let root = path == "." || path == "/";
    let whole = || ignore.patterns().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"));
    if (!root || whole()) && ignore.ignored(&path) {
        let verb = if *instruction == "ADD" { "Add" } else { "Copy" };
        report.here(format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore"));
    }
}
