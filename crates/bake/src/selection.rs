//! The targets that are built, with inheritance, overrides and links applied.

mod links;
mod overrides;

pub use overrides::Overrides;

use crate::allow::Allowed;
use crate::definition::Config;
use crate::problem::{Problem, Span};
use crate::target::{Group, Target};
use base::words::closest;
use frontend::glob::Glob;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Targets and groups that were asked for.
#[derive(Debug, Default)]
pub struct Selection {
    /// Targets, those that others name as a context among them.
    pub targets: BTreeMap<String, Target>,
    /// Groups; `default` lists what was asked for.
    pub groups: BTreeMap<String, Group>,
}

/// Targets that are visited: none while one is being visited.
type Visited = HashMap<String, Option<Target>>;

/// The targets and groups behind a name.
#[derive(Clone, Default)]
struct Members<'c> {
    targets: Vec<(String, Option<Span>)>,
    groups: Vec<&'c Group>,
}

/// Inheritance deeper than this is refused.
const DEEPEST: usize = 200;

/// Selects targets by their names and patterns.
pub fn select(
    config: &Config,
    names: &[String],
    overrides: &Overrides,
    allowed: &mut Allowed,
) -> Result<Selection, Problem> {
    // A compose service may have a dot in its name, which a target may not.
    let names: Vec<String> = names.iter().map(|name| name.replace('.', "_")).collect();
    let mut wanted: Vec<String> = Vec::new();
    for pattern in &names {
        for name in config.matches(pattern)? {
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
    }
    let mut selection = Selection::default();
    for name in &wanted {
        let Members { targets, groups } = config.expand(name, None, &mut HashMap::new(), 0)?;
        for (target, span) in targets {
            if let Entry::Vacant(place) = selection.targets.entry(target) {
                let resolved = config.resolve(place.key(), overrides, allowed);
                place.insert(resolved.map_err(|problem| problem.or_at(span))?);
            }
        }
        for group in groups {
            selection.groups.insert(group.name.clone(), group.clone());
        }
    }
    for name in &wanted {
        if name == "default" && selection.groups.contains_key("default") {
            continue;
        }
        let default = selection.groups.entry("default".into()).or_default();
        default.targets.push(name.clone());
    }
    if let Some(default) = selection.groups.get_mut("default") {
        default.targets.sort();
        default.targets.dedup();
    }
    links::load(config, &mut selection.targets, overrides, allowed)?;
    Ok(selection)
}

impl Config {
    /// Names that a pattern matches; a name itself, also of nothing.
    fn matches(&self, pattern: &str) -> Result<Vec<String>, Problem> {
        if !pattern.contains(['*', '?', '[', ']']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let all = self.groups.iter().map(|group| &group.name).chain(self.targets.iter().map(|target| &target.name));
        let found: Vec<String> = match Glob::new(pattern, false) {
            Ok(glob) => all.filter(|name| glob.matches(name)).cloned().collect(),
            Err(_) => Vec::new(),
        };
        if found.is_empty() {
            return Err(Problem::plain(format!("could not find any target matching {pattern:?}")));
        }
        Ok(found)
    }

    /// Targets behind a name with the place that names them, and the groups on the way. A group within itself, and a
    /// member that is an empty group, stand for a target of their name, which there is not.
    fn expand<'c>(
        &'c self,
        name: &str,
        span: Option<Span>,
        known: &mut HashMap<String, Members<'c>>,
        depth: usize,
    ) -> Result<Members<'c>, Problem> {
        if let Some(members) = known.get(name) {
            return Ok(members.clone());
        }
        let Some(group) = self.groups.iter().find(|group| group.name == name) else {
            return Ok(Members { targets: vec![(name.to_owned(), span)], groups: Vec::new() });
        };
        if depth > DEEPEST {
            return Err(Problem::plain(format!("more than {DEEPEST} groups within each other")).or_at(span));
        }
        known.insert(name.into(), Members::default());
        let mut all = Members { targets: Vec::new(), groups: vec![group] };
        for member in &group.targets {
            let inner = self.expand(member, group.span, known, depth + 1)?;
            if inner.targets.is_empty() {
                all.targets.push((member.clone(), group.span));
            }
            all.targets.extend(inner.targets);
            all.groups.extend(inner.groups);
        }
        let mut seen = HashSet::new();
        all.targets.retain(|(target, _)| seen.insert(target.clone()));
        let mut seen = HashSet::new();
        all.groups.retain(|group| seen.insert(group.name.as_str()));
        known.insert(name.into(), all.clone());
        Ok(all)
    }

    /// A target with all that it inherits, overrides, and the defaults of paths.
    fn resolve(&self, name: &str, overrides: &Overrides, allowed: &mut Allowed) -> Result<Target, Problem> {
        let mut visited = Visited::new();
        let mut target = self.inherited(name, &mut visited, overrides, allowed, 0)?.unwrap_or_default();
        target.inherits.clear();
        if target.context.is_none() {
            let base = target.bases.default.as_deref().filter(|_| target.bases.use_default);
            target.context = Some(base.map_or_else(|| ".".into(), |base| crate::target::rebased(base, ".")));
        }
        if target.dockerfile.as_deref().unwrap_or_default().is_empty() {
            target.dockerfile = Some("Dockerfile".into());
        }
        Ok(target)
    }

    /// None of a target that is being visited: a loop ends there.
    fn inherited(
        &self,
        name: &str,
        visited: &mut Visited,
        overrides: &Overrides,
        allowed: &mut Allowed,
        depth: usize,
    ) -> Result<Option<Target>, Problem> {
        if let Some(known) = visited.get(name) {
            return Ok(known.clone());
        }
        let own = self.targets.iter().find(|target| target.name == name).ok_or_else(|| self.unknown(name))?;
        if depth > DEEPEST {
            let what = format!("more than {DEEPEST} targets inherit from each other");
            return Err(Problem::plain(what).or_at(own.span("inherits")));
        }
        visited.insert(name.into(), None);
        let mut merged = Target { name: name.into(), ..Target::default() };
        for parent in &own.inherits {
            let parent = self.inherited(parent, visited, overrides, allowed, depth + 1);
            if let Some(parent) = parent.map_err(|problem| problem.or_at(own.span("inherits")))? {
                merged.merge(&parent);
            }
        }
        merged.merge(own);
        overrides.apply(&mut merged, allowed)?;
        merged.normalize();
        visited.insert(name.into(), Some(merged.clone()));
        Ok(Some(merged))
    }

    fn unknown(&self, name: &str) -> Problem {
        let problem = Problem::plain(format!("failed to find target {name}"));
        let known = self.targets.iter().map(|target| target.name.as_str());
        match closest(name, known.chain(self.groups.iter().map(|group| group.name.as_str()))) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("`kiln bake --list=targets` shows all targets and groups"),
        }
    }
}
