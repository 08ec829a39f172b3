//! A stage has several CMD, ENTRYPOINT or HEALTHCHECK: only the last counts.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    summary: "Multiple instructions of the same type should not be used in the same stage",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Repeated { instruction } = fact else { return };
    report.here(format!(
        "Multiple {instruction} instructions should not be used in the same stage because only the last one will be used"
    ));
}
