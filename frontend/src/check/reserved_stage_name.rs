//! `FROM x AS scratch`: names that mean something else already.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ReservedStageName",
    summary: "Reserved words should not be used as stage names",
    experimental: false,
    own: false,
    find,
};

const RESERVED: &[&str] = &["context", "scratch"];

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for line in file.lines.iter().filter(|line| line.name == "FROM") {
        if let [_, _, name] = line.args.as_slice()
            && let Some(name) = RESERVED.iter().find(|reserved| **reserved == name.text.to_lowercase())
        {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            report.at(line, message, |found| found);
        }
    }
}
