//! `FROM x as y`: the two keywords of one line in two spellings.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "FromAsCasing",
    summary: "The 'as' keyword should match the case of the 'from' keyword",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for line in file.lines.iter().filter(|line| line.name == "FROM") {
        let [_, r#as, _, ..] = line.args.as_slice() else { continue };
        let wanted = if line.written == line.written.to_lowercase() {
            r#as.text.to_lowercase()
        } else if line.written == line.name {
            r#as.text.to_uppercase()
        } else {
            // A keyword that is neither is another rule's matter.
            continue;
        };
        if r#as.text != wanted {
            let message = format!("'{}' and '{}' keywords' casing do not match", r#as.text, line.written);
            report.at(line, message, |found| found.fix(r#as.span.clone(), wanted));
        }
    }
}
