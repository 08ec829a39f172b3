//! `CMD text` is run by a shell, which does not pass signals on.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    summary: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::ShellForm { instruction } = fact else { return };
    report.here(format!(
        "JSON arguments recommended for {instruction} to prevent unintended behavior related to OS signals"
    ));
}
