//! A relative WORKDIR counts from whatever the base happens to set.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    summary: "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Workdir { path, based: false } = fact else { return };
    if !path.starts_with('/') {
        report.here(format!("Relative workdir {path:?} can have unexpected results if the base image changes"));
    }
}
