//! Without `--build-arg` the base has no name: the build then fails for everyone who does not know.

use super::{Fact, Report, Rule};
use crate::reference::is_reference;

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    summary: "Default value for global ARG results in an empty or invalid base image name",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::DefaultBase { written, expanded } = fact else { return };
    if !is_reference(expanded) {
        report.here(format!("Default value for ARG {written} results in empty or invalid base image name"));
    }
}
