//! A variable that nothing set is empty, silently.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "UndefinedVar",
    summary: "Variables should be defined before their use",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Undefined { name, near } = fact else { return };
    let hint = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
    report.here(format!("Usage of undefined variable '${name}'{hint}"));
}
