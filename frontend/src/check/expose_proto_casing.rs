//! `EXPOSE 80/TCP`: protocols are written in lower case.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    summary: "Protocol in EXPOSE instruction should be lowercase",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Port { text } = fact else { return };
    if text.rsplit_once('/').is_some_and(|(_, protocol)| protocol != protocol.to_lowercase()) {
        report.here(format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase"));
    }
}
