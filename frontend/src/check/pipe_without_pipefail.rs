//! `curl ... | tar x`: a shell reports only how the last command ended, so a broken download is a good layer.

use super::shell_words::{commands, script};
use super::{Fact, Report, Rule};
use std::collections::HashMap;

pub(super) const RULE: Rule = Rule {
    name: "PipeWithoutPipefail",
    summary: "A RUN with a pipe should set pipefail",
    experimental: false,
    own: true,
    find,
};

/// Programs that fetch or make the input of the next command.
const SOURCES: &[&str] =
    &["curl", "wget", "git", "tar", "gunzip", "zcat", "xzcat", "bzcat", "dpkg", "apt-get", "pip", "npm"];

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    let mut shell_sets_it = false;
    // A stage has the SHELL of the stage it stands on.
    let mut stages: HashMap<String, bool> = HashMap::new();
    let mut stage = None;
    for line in &file.lines {
        let says = |word: &str| line.args.iter().any(|arg| arg.text.contains(word));
        match line.name.as_str() {
            "FROM" => {
                let word = |at: usize| line.args.get(at).map(|word| word.text.to_lowercase());
                shell_sets_it = word(0).and_then(|base| stages.get(&base).copied()).unwrap_or(false);
                stage = word(2);
                stages.extend(stage.clone().map(|name| (name, shell_sets_it)));
            }
            "SHELL" => {
                shell_sets_it = says("pipefail");
                stages.extend(stage.clone().map(|name| (name, shell_sets_it)));
            }
            "RUN" if !line.json && !shell_sets_it && !script(line).contains("pipefail") => {
                let piped = commands(line).into_iter().filter(|command| command.piped);
                let first = piped.filter_map(|command| command.words.into_iter().next());
                if let Some(tool) = first.into_iter().find(|tool| SOURCES.contains(&tool.as_str())) {
                    report.at(line, format!("A failure of `{tool}` before the pipe goes unnoticed"), |found| {
                        found
                            .note("without pipefail a pipe ends as its last command does, and the broken layer is cached")
                            .help("with bash in the image: `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` above it; else fetch to a file first")
                    });
                }
            }
            _ => {}
        }
    }
}
