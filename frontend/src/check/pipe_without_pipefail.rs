//! `curl ... | tar x`: a shell reports only how the last command ended, so a broken download is a good layer.

use super::shell_words::{commands, script};
use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "PipeWithoutPipefail",
    summary: "A RUN with a pipe should set pipefail",
    experimental: false,
    own: true,
    find,
};

/// What fetches or makes what the next command reads.
const SOURCES: &[&str] =
    &["curl", "wget", "git", "tar", "gunzip", "zcat", "xzcat", "bzcat", "dpkg", "apt-get", "pip", "npm"];

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    let mut shell_sets_it = false;
    for line in &file.lines {
        let says = |word: &str| line.args.iter().any(|arg| arg.text.contains(word));
        match line.name.as_str() {
            "FROM" => shell_sets_it = false,
            "SHELL" => shell_sets_it = says("pipefail"),
            "RUN" if !line.json && !shell_sets_it && !script(line).contains("pipefail") => {
                let piped = commands(line).into_iter().filter(|command| command.piped);
                let first = piped.filter_map(|command| command.words.into_iter().next());
                if let Some(tool) = first.into_iter().find(|tool| SOURCES.contains(&tool.as_str())) {
                    report.at(line, format!("A failure of `{tool}` before the pipe goes unnoticed"), |found| {
                        found
                            .note("without pipefail a pipe ends as its last command does, and the broken layer is cached")
                            .help("put `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` above it, or write `set -o pipefail &&` first")
                    });
                }
            }
            _ => {}
        }
    }
}
