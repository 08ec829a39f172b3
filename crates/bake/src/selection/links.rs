//! Targets whose results are contexts of others: `contexts = { name = "target:other" }`.

use super::Overrides;
use crate::allow::Allowed;
use crate::definition::Config;
use crate::entry::Export;
use crate::problem::Problem;
use crate::target::Target;
use std::collections::{BTreeMap, HashSet};

/// Links from one target to the next.
const DEEPEST: usize = 200;

struct Links<'a> {
    config: &'a Config,
    overrides: &'a Overrides,
    allowed: &'a mut Allowed,
    /// Targets that are done: their links need no second look.
    done: HashSet<String>,
}

/// Adds the targets that the selected ones link to.
pub fn load(
    config: &Config,
    targets: &mut BTreeMap<String, Target>,
    overrides: &Overrides,
    allowed: &mut Allowed,
) -> Result<(), Problem> {
    let mut links = Links { config, overrides, allowed, done: HashSet::new() };
    for name in targets.keys().cloned().collect::<Vec<_>>() {
        links.follow(&name, targets, &mut Vec::new())?;
    }
    Ok(())
}

impl Links<'_> {
    fn follow(
        &mut self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        path: &mut Vec<String>,
    ) -> Result<(), Problem> {
        if self.done.contains(name) {
            return Ok(());
        }
        if path.len() >= DEEPEST {
            let what = format!("more than {DEEPEST} targets link to each other");
            return Err(Problem::plain(what).or_at(targets[name].span("contexts")));
        }
        path.push(name.to_owned());
        let contexts: Vec<String> = targets[name].contexts.values().cloned().collect();
        let span = targets[name].span("contexts");
        for linked in contexts.iter().filter_map(|context| context.strip_prefix("target:")) {
            let wrong = |what: String| Err(Problem::plain(what).or_at(span));
            if linked == name {
                return wrong(format!("target {linked} cannot link to itself"));
            }
            if path.iter().any(|known| known == linked) {
                return wrong(format!("infinite loop from {name} to {linked}"));
            }
            if !targets.contains_key(linked) {
                let resolved = self.config.resolve(linked, self.overrides, self.allowed);
                let mut target = resolved.map_err(|problem| problem.or_at(span))?;
                target.outputs = Some(vec![Export { kind: "cacheonly".into(), ..Export::default() }]);
                target.linked = true;
                targets.insert(linked.to_owned(), target);
            }
            self.follow(linked, targets, path)?;
            let (entitlements, platforms) = (targets[linked].entitlements.clone(), targets[linked].platforms.clone());
            let target = targets.entry(name.to_owned()).or_default();
            for entitlement in entitlements.into_iter().flatten() {
                let own = target.entitlements.get_or_insert_default();
                if !own.contains(&entitlement) {
                    own.push(entitlement);
                }
            }
            let (own, other) = (target.platforms.as_deref().unwrap_or_default(), platforms.unwrap_or_default());
            if own.len() > 1 && other.len() > 1 && !own.iter().all(|platform| other.contains(platform)) {
                return wrong(format!(
                    "target {linked} can't be used by {name} because its platforms [{}] are not a subset of [{}]",
                    own.join(" "),
                    other.join(" ")
                ));
            }
        }
        path.pop();
        self.done.insert(name.to_owned());
        Ok(())
    }
}
