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

/// How tokens begin that are known by their form, how many letters and digits follow at least, and whether small letters
/// may be among them.
const TOKENS: &[(&str, usize, bool, &str)] = &[
    ("ghp_", 36, true, "a GitHub token"),
    ("gho_", 36, true, "a GitHub token"),
    ("ghs_", 36, true, "a GitHub token"),
    ("github_pat_", 50, true, "a GitHub token"),
    ("glpat-", 20, true, "a GitLab token"),
    ("npm_", 36, true, "an npm token"),
    ("AKIA", 16, false, "an AWS access key"),
    ("ASIA", 16, false, "an AWS access key"),
    ("xoxb-", 20, true, "a Slack token"),
    ("xoxp-", 20, true, "a Slack token"),
    ("sk_live_", 24, true, "a Stripe key"),
];

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
    if text.starts_with("-----BEGIN") && text.contains("PRIVATE") {
        return Some("a private key");
    }
    let fits = |(begin, length, small, _): &&(&str, usize, bool, &str)| {
        let Some(rest) = text.strip_prefix(begin) else { return false };
        // Tokens are drawn at random: a name or a word has no digits in it.
        let drawn = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase() || (*small && c.is_ascii_lowercase());
        rest.len() >= *length
            && rest.chars().all(|c| drawn(c) || (*small && matches!(c, '_' | '-')))
            && rest.contains(|c: char| c.is_ascii_digit())
    };
    TOKENS.iter().find(fits).map(|(.., what)| *what)
}
