//! `COPY . .` above `npm ci`: every edit of any file installs everything again.

use super::shell_words::commands;
use super::{Fact, Report, Rule};
use crate::line::Line;

pub(super) const RULE: Rule = Rule {
    name: "CopyBeforeInstall",
    summary: "Only what an install step reads should be copied before it",
    experimental: false,
    own: true,
    find,
};

/// Installers by their first words, and the files that they read.
const INSTALLS: &[(&[&str], &str)] = &[
    (&["npm", "ci"], "package.json package-lock.json ./"),
    (&["npm", "install"], "package.json package-lock.json ./"),
    (&["npm", "i"], "package.json package-lock.json ./"),
    (&["yarn", "install"], "package.json yarn.lock ./"),
    (&["yarn"], "package.json yarn.lock ./"),
    (&["pnpm", "install"], "package.json pnpm-lock.yaml ./"),
    (&["pip", "install", "-r"], "requirements.txt ./"),
    (&["pip3", "install", "-r"], "requirements.txt ./"),
    (&["poetry", "install"], "pyproject.toml poetry.lock ./"),
    (&["uv", "sync"], "pyproject.toml uv.lock ./"),
    (&["bundle", "install"], "Gemfile Gemfile.lock ./"),
    (&["composer", "install"], "composer.json composer.lock ./"),
    (&["go", "mod", "download"], "go.mod go.sum ./"),
    (&["cargo", "fetch"], "Cargo.toml Cargo.lock ./"),
    (&["apt-get", "install"], ""),
    (&["apk", "add"], ""),
    (&["dnf", "install"], ""),
];

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    let mut whole: Option<&Line> = None;
    for line in &file.lines {
        match line.name.as_str() {
            "FROM" => whole = None,
            "COPY" | "ADD" if takes_everything(line) => whole = whole.or(Some(line)),
            "RUN" => {
                let Some(copy) = whole else { continue };
                let Some((words, reads)) = install(line) else { continue };
                report.at(copy, format!("Every change in the context runs `{}` again", words.join(" ")), |found| {
                    found.note(format!("that is line {}", line.span.lines.0)).help(match reads {
                        "" => format!("move line {} above this one", line.span.lines.0),
                        reads => format!("before it copy only what it reads: `COPY {reads}`, and the rest after it"),
                    })
                });
                whole = None;
            }
            _ => {}
        }
    }
}

fn takes_everything(line: &Line) -> bool {
    let from = line.flags.iter().any(|flag| flag.name == "from");
    let source = line.args.first().map(|word| word.text.as_str());
    !from && line.args.len() == 2 && matches!(source, Some("." | "./" | "/" | "*" | "./*"))
}

/// The words of an install command, and what it reads; nothing if it names what it installs.
fn install(line: &Line) -> Option<(&'static [&'static str], &'static str)> {
    let commands = commands(line);
    INSTALLS.iter().find_map(|(words, reads)| {
        let command = commands.iter().find_map(|command| {
            let own: Vec<&str> = command.words.iter().map(String::as_str).filter(|word| *word != "sudo").collect();
            let begins = match words {
                // Flags may stand between: `apt-get -y install`. A tool alone must stand alone.
                [tool] => own == [*tool],
                [tool, rest @ ..] => own.first() == Some(tool) && rest.iter().all(|word| own.contains(word)),
                [] => false,
            };
            begins.then_some(own)
        })?;
        let named = command.iter().filter(|word| !word.starts_with('-')).count() > words.len();
        Some((*words, if named && !words.contains(&"-r") { "" } else { *reads }))
    })
}
