//! `apt-get update` leaves 20 to 50 MB of lists; a later RUN that deletes them frees nothing.

use super::shell_words::{Command, commands, kept};
use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "AptListsKept",
    summary: "The lists of apt should be deleted in the RUN that fetched them",
    experimental: false,
    own: true,
    find,
};

const LISTS: &str = "/var/lib/apt";

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for line in kept(file).into_iter().filter(|line| line.name == "RUN") {
        let commands = commands(line);
        let says =
            |command: &Command, wanted: &[&str]| wanted.iter().all(|word| command.words.iter().any(|w| w == word));
        let updates =
            commands.iter().any(|command| says(command, &["apt-get", "update"]) || says(command, &["apt", "update"]));
        let deletes = commands.iter().any(|command| {
            command.words.iter().any(|word| word == "rm") && command.words.iter().any(|word| word.starts_with(LISTS))
        });
        let mounted = line.flags.iter().any(|flag| flag.value.as_deref().is_some_and(|value| value.contains(LISTS)));
        if updates && !deletes && !mounted {
            report.at(line, "The lists of apt stay in this layer", |found| {
                found
                    .note("they take tens of megabytes, and are out of date when somebody needs them")
                    .help("end the RUN with `&& rm -rf /var/lib/apt/lists/*`, or give it `--mount=type=cache,target=/var/lib/apt`")
            });
        }
    }
}
