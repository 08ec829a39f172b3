//! A comment right above FROM or ARG is its description, if it begins with the name.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    summary: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    experimental: true,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for line in &file.lines {
        let names: Vec<String> = match (line.name.as_str(), line.args.as_slice()) {
            ("FROM", [_, _, name]) => vec![name.text.to_lowercase()],
            ("ARG", args) => args.iter().filter_map(|arg| arg.text.split('=').next()).map(str::to_owned).collect(),
            _ => continue,
        };
        let (Some(comment), Some(first)) = (line.comments.last(), names.first()) else { continue };
        if names.iter().any(|name| name == comment.split(' ').next().unwrap_or("")) {
            continue;
        }
        let name = if names.len() > 1 { "<arg_key>" } else { first.as_str() };
        let message = format!("Comment for {} should follow the format: `# {name} <description>`", line.name);
        report.at(line, message, |found| found);
    }
}
