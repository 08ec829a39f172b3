//! A value that is a secret by its name stays in the image for everyone to read.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    summary: "Sensitive data should not be used in the ARG or ENV commands",
    experimental: false,
    own: false,
    find,
};

const SECRET: &[&str] =
    &["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that make it harmless: `PUBLIC_KEY`, `TOKEN_FILE`, `KEY_VERSION`.
const HARMLESS: &[&str] = &["public", "file", "version"];

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let (instruction, name) = match fact {
        Fact::Pair { instruction, name, .. } if instruction.eq_ignore_ascii_case("ENV") => ("ENV", *name),
        Fact::Declared { name } => ("ARG", *name),
        _ => return,
    };
    if looks_secret(name) {
        report.here(format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})"));
    }
}

/// True if a variable of this name most likely holds what nobody should read.
pub fn looks_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let holds = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    holds(SECRET) && !holds(HARMLESS)
}
