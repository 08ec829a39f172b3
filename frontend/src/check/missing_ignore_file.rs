//! `COPY . .` beside `.git` or `node_modules` without a `.dockerignore`: slow, big, and a miss after every commit.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "MissingIgnoreFile",
    summary: "A context with .git or node_modules should have a .dockerignore",
    experimental: false,
    own: true,
    find,
};

const HEAVY: &[&str] = &[".git", "node_modules", ".venv", "target", "__pycache__"];

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::NoIgnoreFile { names } = fact else { return };
    let heavy: Vec<&str> = HEAVY.iter().copied().filter(|heavy| names.iter().any(|name| name == heavy)).collect();
    if heavy.is_empty() {
        return;
    }
    report.here(format!("The whole context is copied, with {}", heavy.join(", ")));
    if let Some(found) = report.found.last_mut().filter(|found| found.code == RULE.name) {
        found.notes = vec!["what changes there makes every step below run again".to_owned()];
        found.help = Some(format!("write a `.dockerignore` with the lines: {}", heavy.join(", ")));
    }
}
