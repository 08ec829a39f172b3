//! A value that looks like a token, or a file that holds one: it stays in the image, and in its history.

use super::shell_words::script;
use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "SecretInValue",
    summary: "Secrets should come by RUN --mount=type=secret",
    experimental: false,
    own: true,
    find,
};

/// How tokens begin that are known by their form.
const TOKENS: &[(&str, &str)] = &[
    ("ghp_", "a GitHub token"),
    ("gho_", "a GitHub token"),
    ("ghs_", "a GitHub token"),
    ("github_pat_", "a GitHub token"),
    ("glpat-", "a GitLab token"),
    ("npm_", "an npm token"),
    ("AKIA", "an AWS access key"),
    ("ASIA", "an AWS access key"),
    ("xoxb-", "a Slack token"),
    ("xoxp-", "a Slack token"),
    ("sk_live_", "a Stripe key"),
    ("-----BEGIN", "a private key"),
];
const SHORTEST: usize = 16;

/// Files that hold secrets by custom.
const FILES: &[&str] = &[".env", ".npmrc", ".netrc", ".pypirc", "id_rsa", "id_ed25519", "id_ecdsa", ".git-credentials"];

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for line in &file.lines {
        let words = || line.args.iter().map(|word| word.text.as_str());
        let what = match line.name.as_str() {
            "ENV" | "ARG" | "LABEL" => words().find_map(token).map(str::to_owned),
            "RUN" => script(line).split([' ', '\n', '"', '\'', '=', ':', '@', '/']).find_map(token).map(str::to_owned),
            "COPY" | "ADD" if line.flags.iter().all(|flag| flag.name != "from") => {
                let sources = words().take(line.args.len().saturating_sub(1));
                let name = |path: &str| path.rsplit('/').next().unwrap_or("").to_owned();
                sources.map(name).find(|name| FILES.contains(&name.as_str())).map(|name| format!("`{name}`"))
            }
            _ => None,
        };
        let Some(what) = what else { continue };
        report.at(line, format!("This looks like {what}, which everyone who has the image can read"), |found| {
            found
                .note("deleting it in a later instruction does not help: the layer and the history keep it")
                .help("give it to the step that needs it: `RUN --mount=type=secret,id=NAME ...` and `--secret id=NAME,src=FILE`")
        });
    }
}

fn token(text: &str) -> Option<&'static str> {
    let text = text.split_once('=').map_or(text, |(_, value)| value).trim_matches(['"', '\'']);
    let known = TOKENS.iter().find(|(begin, _)| text.starts_with(begin) && text.len() >= SHORTEST);
    known.map(|(_, what)| *what)
}
