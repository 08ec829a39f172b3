//! A file that one layer brings and a later one deletes stays in the image, and in every pull.

use super::shell_words::{Command, commands, kept};
use super::{Fact, Report, Rule};
use crate::line::Line;

pub(super) const RULE: Rule = Rule {
    name: "DeletedLater",
    summary: "A file should be deleted in the instruction that brought it",
    experimental: false,
    own: true,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    let mut brought: Vec<(String, &Line)> = Vec::new();
    for line in kept(file) {
        match line.name.as_str() {
            "COPY" | "ADD" => brought.extend(targets(line).into_iter().map(|path| (path, line))),
            "RUN" => {
                for path in commands(line).iter().flat_map(deleted) {
                    let Some((_, from)) = brought.iter().find(|(known, _)| *known == path) else { continue };
                    report.at(line, format!("`{path}` is deleted here but stays in the layer that brought it"), |found| {
                        found.note(format!("that is line {}", from.span.lines.0)).help(
                            "mount it where it is needed: `RUN --mount=type=bind,source=...,target=...`, or leave it out of the COPY",
                        )
                    });
                }
            }
            _ => {}
        }
    }
}

/// The absolute paths that a COPY writes, as far as its text tells.
fn targets(line: &Line) -> Vec<String> {
    let words: Vec<&str> = line.args.iter().map(|word| word.text.as_str()).collect();
    let Some((dest, sources)) = words.split_last().filter(|(dest, _)| dest.starts_with('/')) else {
        return Vec::new();
    };
    // An archive that ADD unpacks is not there under its name.
    let archive = |source: &str| line.name == "ADD" && (source.contains(".t") || source.ends_with(".gz"));
    if sources.iter().any(|source| archive(source)) {
        return Vec::new();
    }
    let name = |source: &&str| source.trim_end_matches('/').rsplit('/').next().unwrap_or("").to_owned();
    if dest.ends_with('/') {
        sources.iter().map(|source| format!("{dest}{}", name(source))).collect()
    } else {
        vec![(*dest).to_owned()]
    }
}

/// The paths that `rm` of a command deletes.
fn deleted(command: &Command) -> Vec<String> {
    let mut words = command.words.iter().skip_while(|word| *word == "sudo");
    if words.next().is_none_or(|word| word != "rm") {
        return Vec::new();
    }
    words.filter(|word| word.starts_with('/')).map(|word| word.trim_end_matches('/').to_owned()).collect()
}
