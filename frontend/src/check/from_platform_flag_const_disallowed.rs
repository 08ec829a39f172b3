//! `FROM --platform=linux/amd64` builds for one platform whatever `--platform` says.

use super::{Fact, Report, Rule};
use crate::platform::Platform;

pub(super) const RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    summary: "FROM --platform flag should not use a constant value",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::FromPlatform { stage, expanded, names, .. } = fact else { return };
    let Ok(platform) = Platform::parse(expanded) else { return };
    // A stage that is named after its platform means it.
    let meant = stage.contains(&platform.os) || stage.contains(&platform.architecture);
    if names.is_empty() && !meant {
        report.here(format!("FROM --platform flag should not use constant value {expanded:?}"));
    }
}
