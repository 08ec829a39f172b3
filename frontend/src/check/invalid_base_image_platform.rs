//! The registry had another platform than the one asked for.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    summary: "Base image platform does not match expected target platform",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::Resolved { name, wanted, came } = fact else { return };
    if (&wanted.os, &wanted.architecture) != (&came.os, &came.architecture) {
        let (came, wanted) = (came.to_string(), wanted.to_string());
        report.here(format!(
            "Base image {name} was pulled with platform {came:?}, expected {wanted:?} for current build"
        ));
    }
}
