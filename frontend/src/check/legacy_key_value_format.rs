//! `ENV name value`: the old form takes the whole line for one value.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    summary: "Legacy key/value format with whitespace separator should not be used",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Pair { instruction, legacy: true, .. } = fact else { return };
    report.here(format!(
        "\"{instruction} key=value\" should be used instead of legacy \"{instruction} key value\" format"
    ));
}
