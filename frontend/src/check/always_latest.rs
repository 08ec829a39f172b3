//! `FROM debian`: another image next month, and no way to tell which one it was.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "AlwaysLatest",
    summary: "A base image should have a tag other than latest, or a digest",
    experimental: false,
    own: true,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    let mut stages: Vec<String> = vec!["scratch".to_owned()];
    for line in file.lines.iter().filter(|line| line.name == "FROM") {
        if let Some(base) = line.args.first()
            && !base.text.contains(['$', '@'])
            && !stages.contains(&base.text.to_lowercase())
        {
            let name = base.text.rsplit('/').next().unwrap_or("");
            let tag = name.split_once(':').map(|(_, tag)| tag);
            if tag.is_none_or(|tag| tag == "latest") {
                let message = format!("Base image {:?} stands for another image from one day to the next", base.text);
                report.at(line, message, |found| {
                    found.note("a build that worked yesterday fails today, and nobody can say what changed").help(
                        format!(
                            "name a release: `FROM {}:RELEASE`, or pin it: `...@sha256:...`",
                            base.text.trim_end_matches(":latest")
                        ),
                    )
                });
            }
        }
        if let [_, _, name] = line.args.as_slice() {
            stages.push(name.text.to_lowercase());
        }
    }
}
