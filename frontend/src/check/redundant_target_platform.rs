//! `FROM --platform=$TARGETPLATFORM` is what FROM does anyway.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    summary: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::FromPlatform { written, expanded, names, target, .. } = fact else { return };
    if *names == ["TARGETPLATFORM"] && expanded == target {
        report.here(format!(
            "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
        ));
    }
}
