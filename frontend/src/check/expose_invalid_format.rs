//! `EXPOSE 127.0.0.1:80:80`: an image says what it listens on, not where that is published.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    summary: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Port { text } = fact else { return };
    if text.contains(':') {
        report.here(format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"));
    }
}
