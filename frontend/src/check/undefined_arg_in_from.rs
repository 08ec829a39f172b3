//! A FROM sees only ARGs that stand before the first FROM.

use super::{Fact, Report, Rule};
use base::words::closest_name;

pub(super) const RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    summary: "FROM command must use declared ARGs",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::FromNames { undefined, known } = fact else { return };
    for name in *undefined {
        let near = closest_name(name, known.iter().map(String::as_str));
        let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        report.here(format!("FROM argument '{name}' is not declared{hint}"));
    }
}
