//! Two stages of one name: `--from` means the last of them.

use super::{Fact, Report, Rule};
use std::collections::HashSet;

pub(super) const RULE: Rule =
    Rule { name: "DuplicateStageName", summary: "Stage names should be unique", experimental: false, own: false, find };

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    let mut seen = HashSet::new();
    for line in file.lines.iter().filter(|line| line.name == "FROM") {
        if let [_, _, name] = line.args.as_slice()
            && !seen.insert(name.text.to_lowercase())
        {
            let message = format!("Duplicate stage name {:?}, stage names should be unique", name.text.to_lowercase());
            report.at(line, message, |found| found);
        }
    }
}
