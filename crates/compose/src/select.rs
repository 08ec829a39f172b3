//! Selects services by name with their dependencies, and the resources that they use.

use crate::model::Named;
use crate::problem::{Code, Problem, Result};
use crate::project::Project;
use base::words::closest;
use frontend::glob::Glob;
use std::collections::BTreeSet;

impl Project {
    /// Activates the profiles of the named services.
    pub fn enable(&mut self, names: &[String]) {
        let mut profiles = self.profiles.clone();
        for service in names.iter().filter_map(|name| self.disabled.get(name)) {
            profiles.extend(service.profiles.iter().cloned());
        }
        if profiles.len() > self.profiles.len() {
            self.activate(&profiles);
        }
    }

    /// Keeps the named services and their dependencies, and disables the others.
    pub fn keep(&mut self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let kept: BTreeSet<String> = self.closure(names)?.into_iter().collect();
        let all = std::mem::take(&mut self.services);
        let (mut services, rest): (Named<_>, Named<_>) = all.into_iter().partition(|(name, _)| kept.contains(name));
        for service in services.values_mut() {
            service.depends_on.retain(|name, _| kept.contains(name));
        }
        self.services = services;
        self.disabled.extend(rest);
        Ok(())
    }

    /// The services that match the names, and their dependencies. Each dependency comes before its
    /// dependents.
    pub fn closure(&self, names: &[String]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            let matching: Vec<&String> = self.services.keys().filter(|service| matches(name, service)).collect();
            if matching.is_empty() {
                return Err(self.no_service(name));
            }
            for service in matching {
                self.visit(service, &mut seen, &mut order)?;
            }
        }
        Ok(order)
    }

    fn visit(&self, start: &str, seen: &mut BTreeSet<String>, order: &mut Vec<String>) -> Result<()> {
        let mut open = vec![(start.to_owned(), false)];
        while let Some((name, done)) = open.pop() {
            if done {
                order.push(name);
                continue;
            }
            if !seen.insert(name.clone()) {
                continue;
            }
            let Some(service) = self.services.get(&name) else { continue };
            open.push((name, true));
            for (dependency, how) in service.depends_on.iter().rev() {
                match self.services.contains_key(dependency) {
                    true => open.push((dependency.clone(), false)),
                    false if how.required => return Err(self.no_service(dependency)),
                    false => {}
                }
            }
        }
        Ok(())
    }

    fn no_service(&self, name: &str) -> crate::problem::Error {
        let problem = Problem::new(Code::Reference, format!("no such service: {name}"));
        let near = closest(name, self.services.keys().map(String::as_str));
        near.map_or(problem.clone(), |near| problem.help(format!("did you mean `{near}`?"))).into()
    }

    /// Drops the resources that no active service uses.
    pub fn drop_unused(&mut self) {
        let (mut networks, mut volumes) = (BTreeSet::new(), BTreeSet::new());
        let (mut secrets, mut configs, mut models) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for service in self.services.values() {
            networks.extend(service.networks.keys().cloned());
            volumes.extend(
                service.volumes.iter().filter(|mount| mount.kind == "volume").map(|mount| mount.source.clone()),
            );
            secrets.extend(service.secrets.iter().map(|secret| secret.source.clone()));
            secrets.extend(service.build.iter().flat_map(|build| &build.secrets).map(|secret| secret.source.clone()));
            configs.extend(service.configs.iter().map(|config| config.source.clone()));
            models.extend(service.models.keys().cloned());
        }
        self.networks.retain(|name, _| networks.contains(name));
        self.volumes.retain(|name, _| volumes.contains(name));
        self.secrets.retain(|name, _| secrets.contains(name));
        self.configs.retain(|name, _| configs.contains(name));
        self.models.retain(|name, _| models.contains(name));
    }
}

/// True if a name on the command line matches a service: `*`, `?` and `[...]` match as in paths.
fn matches(pattern: &str, name: &str) -> bool {
    pattern == name || Glob::new(pattern, false).is_ok_and(|glob| glob.matches(name))
}
