//! `MAINTAINER me`: a label says it in every tool.

use super::{Fact, Report, Rule};

pub(super) const RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    summary: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    experimental: false,
    own: false,
    find,
};

fn find(fact: &Fact<'_>, report: &mut Report<'_>) {
    let Fact::File(file) = fact else { return };
    for line in file.lines.iter().filter(|line| line.name == "MAINTAINER") {
        let name: Vec<&str> = line.args.iter().map(|word| word.text.as_str()).collect();
        let label = format!("LABEL org.opencontainers.image.authors={:?}", name.join(" "));
        report.at(line, "Maintainer instruction is deprecated in favor of using label", |found| {
            found.fix(line.span.clone(), label)
        });
    }
}
