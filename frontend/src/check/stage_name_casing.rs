//! `FROM x AS Build`: names of stages are compared without case, so one spelling is enough.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule =
    Rule { name: "StageNameCasing", summary: "Stage names should be lowercase", experimental: false, own: false, find };

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for line in file.lines.iter().filter(|line| line.name == "FROM") {
        if let [_, _, name] = line.args.as_slice()
            && name.text != name.text.to_lowercase()
        {
            let message = format!("Stage name '{}' should be lowercase", name.text);
            report.at(line, message, |found| found.fix(name.span.clone(), name.text.to_lowercase()));
        }
    }
}
