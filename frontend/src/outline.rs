//! A Dockerfile's offer to its users: targets, and of one target the arguments, secrets, ssh agents and cache mounts that
//! reach it (`--call=targets`, `--call=outline`).

use crate::line::{Document, Line};
use std::collections::{BTreeMap, BTreeSet};

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// None for a stage without `AS`.
    pub name: Option<String>,
    /// From the comment above it.
    pub description: String,
    /// The target that is built when nothing is asked for: the last.
    pub default: bool,
    /// As written.
    pub base: String,
    /// As written.
    pub platform: String,
    /// The lines of its FROM.
    pub lines: (u32, u32),
}

/// The stages of a Dockerfile, in order.
pub fn targets(document: &Document) -> Vec<Target> {
    let froms: Vec<&Line> = document.lines.iter().filter(|line| line.name == "FROM").collect();
    let target = |(at, line): (usize, &&Line)| {
        let word = |at: usize| line.args.get(at).map(|word| word.text.clone());
        let name = word(2).map(|name| name.to_lowercase());
        let flag = line.flags.iter().find(|flag| flag.name == "platform");
        Target {
            description: name.as_deref().map_or(String::new(), |name| description(&line.comments, name)),
            default: at + 1 == froms.len(),
            base: word(0).unwrap_or_default(),
            platform: flag.and_then(|flag| flag.value.clone()).unwrap_or_default(),
            lines: line.span.lines,
            name,
        }
    };
    froms.iter().enumerate().map(target).collect()
}

/// The description of a name in the comment right above its definition: `# name what it is`.
pub(crate) fn description(comments: &[String], name: &str) -> String {
    let found = comments.iter().find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or("").to_owned()
}

/// The inputs of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name.
    pub name: String,
    /// The target's description.
    pub description: String,
    /// In the order of the file.
    pub args: Vec<Arg>,
    /// `RUN --mount=type=secret`.
    pub secrets: Vec<Need>,
    /// `RUN --mount=type=ssh`.
    pub ssh: Vec<Need>,
    /// `RUN --mount=type=cache`.
    pub caches: Vec<Need>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its value in this build.
    pub value: Option<String>,
    /// From the comment above it.
    pub description: String,
    /// Where it is declared.
    pub lines: (u32, u32),
}

/// Something that the user or the machine provides by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its id.
    pub name: String,
    /// True if the build fails without it.
    pub required: bool,
    /// Where it is asked for first.
    pub lines: (u32, u32),
}

/// The planner's notes on one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Global names that its FROM uses, or that it takes over.
    pub(crate) globals: BTreeSet<String>,
    pub(crate) args: Vec<Arg>,
    pub(crate) secrets: Vec<Need>,
    pub(crate) ssh: Vec<Need>,
    pub(crate) caches: Vec<Need>,
    /// The stages it takes something from.
    pub(crate) needs: Vec<usize>,
}

/// An ARG before the first FROM and the names its default uses.
pub(crate) type Global = (Arg, Vec<String>);

/// The inputs that reach a target from all stages below it.
pub(crate) fn collect(seen: &[Seen], globals: &BTreeMap<String, Global>, target: usize) -> Outline {
    let (mut outline, mut names) = (Outline::default(), BTreeSet::new());
    let (mut todo, mut done) = (vec![target], BTreeSet::from([target]));
    while let Some(stage) = todo.pop().and_then(|stage| seen.get(stage)) {
        todo.extend(stage.needs.iter().copied().filter(|need| done.insert(*need)));
        names.extend(stage.globals.iter().cloned());
        outline.args.extend(stage.args.iter().cloned());
        outline.secrets.extend(stage.secrets.iter().cloned());
        outline.ssh.extend(stage.ssh.iter().cloned());
        outline.caches.extend(stage.caches.iter().cloned());
    }
    let mut open: Vec<String> = names.iter().cloned().collect();
    while let Some((_, uses)) = open.pop().and_then(|name| globals.get(&name)) {
        open.extend(uses.iter().filter(|name| names.insert((*name).clone())).cloned());
    }
    outline.args.extend(names.iter().filter_map(|name| globals.get(name)).map(|(arg, _)| arg.clone()));
    outline.args.sort_by(|a, b| (a.lines, &a.name).cmp(&(b.lines, &b.name)));
    outline.args.dedup_by(|a, b| a.name == b.name && a.lines == b.lines);
    for list in [&mut outline.secrets, &mut outline.ssh, &mut outline.caches] {
        list.sort_by(|a, b| (a.lines, &a.name).cmp(&(b.lines, &b.name)));
        let mut known = BTreeSet::new();
        list.retain(|need| known.insert(need.name.clone()));
    }
    outline
}
