//! Checks that services and resources fit together: referenced names exist, settings agree, and
//! dependencies have no cycle.

use crate::model::Service;
use crate::place::Place;
use crate::problem::{Code, Error, Problem, Result};
use crate::project::Project;
use base::words::closest;
use std::collections::HashMap;

/// Checks the active services of a project.
pub fn check(project: &mut Project) -> Result<()> {
    for (name, service) in &project.services {
        let check = Check { project, name, service };
        check.image()?;
        check.build()?;
        check.references()?;
        check.dependencies()?;
        check.agreement()?;
        check.health()?;
        check.targets()?;
    }
    for (name, secret) in &project.secrets {
        if !secret.external && secret.file.is_empty() && secret.environment.is_empty() {
            let message = format!("secret \"{name}\" must declare either `file` or `environment`");
            let place = project.place(&["secrets", name]);
            return Err(Problem { place, ..Problem::new(Code::Value, message) }.into());
        }
    }
    for service in project.services.values_mut() {
        if let (Some(scale), Some(deploy)) = (service.scale, service.deploy.as_mut()) {
            deploy.replicas = Some(scale);
        }
    }
    cycles(project)
}

struct Check<'a> {
    project: &'a Project,
    name: &'a str,
    service: &'a Service,
}

impl Check<'_> {
    fn fault(&self, keys: &[&str], code: Code, message: String) -> Problem {
        let keys: Vec<&str> = ["services", self.name].into_iter().chain(keys.iter().copied()).collect();
        Problem { place: self.project.place(&keys), ..Problem::new(code, message) }
    }

    fn conflict(&self, keys: &[&str], message: String) -> Error {
        self.fault(keys, Code::Conflict, message).into()
    }

    fn image(&self) -> Result<()> {
        if self.service.build.is_some() || !self.service.image.is_empty() || self.service.provider.is_some() {
            return Ok(());
        }
        let message = format!("service \"{}\" has neither an image nor a build context specified", self.name);
        Err(self.fault(&[], Code::Value, message).help("add `image` or `build`").into())
    }

    fn build(&self) -> Result<()> {
        let (name, Some(build)) = (self.name, &self.service.build) else { return Ok(()) };
        if !build.dockerfile.is_empty() && !build.dockerfile_inline.is_empty() {
            let message = format!("service \"{name}\" declares mutually exclusive dockerfile and dockerfile_inline");
            return Err(self.conflict(&["build", "dockerfile_inline"], message));
        }
        for (context, value) in &build.additional_contexts.0 {
            let Some(target) = value.strip_prefix("service:") else { continue };
            let keys = ["build", "additional_contexts", context];
            match self.project.services.get(target) {
                None => {
                    let message = format!(
                        "service \"{name}\" declares unknown service \"{target}\" as additional contexts {context}"
                    );
                    return Err(self.near(self.fault(&keys, Code::Reference, message), target).into());
                }
                Some(service) if service.build.is_none() => {
                    let message = format!(
                        "service \"{name}\" declares non-buildable service \"{target}\" as additional contexts {context}"
                    );
                    return Err(self.fault(&keys, Code::Reference, message).into());
                }
                Some(_) => {}
            }
        }
        let platform = &self.service.platform;
        if !build.platforms.is_empty() && !platform.is_empty() && !build.platforms.contains(platform) {
            let message =
                format!("services.{name}: build.platforms must include the platform \"{platform}\" of the service");
            return Err(self.conflict(&["build", "platforms"], message));
        }
        for (at, secret) in build.secrets.iter().enumerate() {
            if !self.project.secrets.contains_key(&secret.source) {
                return Err(self.undefined(
                    "build secret",
                    &secret.source,
                    &["build", "secrets", &at.to_string()],
                    self.project.secrets.keys(),
                ));
            }
        }
        Ok(())
    }

    fn undefined<'n>(&self, what: &str, name: &str, keys: &[&str], known: impl Iterator<Item = &'n String>) -> Error {
        let message = format!("service \"{}\" refers to undefined {what} {name}", self.name);
        let problem = self.fault(keys, Code::Reference, message);
        match closest(name, known.map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => {
                problem.help(format!("define it under `{}s` at the top level", what.rsplit(' ').next().unwrap_or(what)))
            }
        }
        .into()
    }

    fn near(&self, problem: Problem, name: &str) -> Problem {
        match closest(name, self.project.services.keys().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        }
    }

    fn references(&self) -> Result<()> {
        let (project, service) = (self.project, self.service);
        if !service.network_mode.is_empty() && !service.networks.is_empty() {
            let message = format!("service {} declares mutually exclusive `network_mode` and `networks`", self.name);
            return Err(self.conflict(&["network_mode"], message));
        }
        if let Some(name) = service.networks.keys().find(|name| !project.networks.contains_key(*name)) {
            return Err(self.undefined("network", name, &["networks", name], project.networks.keys()));
        }
        for (at, volume) in service.volumes.iter().enumerate() {
            let named = volume.kind == "volume" && !volume.source.is_empty();
            if named && !project.volumes.contains_key(&volume.source) {
                let at = at.to_string();
                return Err(self.undefined("volume", &volume.source, &["volumes", &at], project.volumes.keys()));
            }
        }
        for (at, config) in service.configs.iter().enumerate() {
            if !project.configs.contains_key(&config.source) {
                let at = at.to_string();
                return Err(self.undefined("config", &config.source, &["configs", &at], project.configs.keys()));
            }
        }
        for (at, secret) in service.secrets.iter().enumerate() {
            if !project.secrets.contains_key(&secret.source) {
                let at = at.to_string();
                return Err(self.undefined("secret", &secret.source, &["secrets", &at], project.secrets.keys()));
            }
        }
        match service.models.keys().find(|name| !project.models.contains_key(*name)) {
            Some(name) => Err(self.undefined("model", name, &["models", name], project.models.keys())),
            None => Ok(()),
        }
    }

    fn dependencies(&self) -> Result<()> {
        for (name, dependency) in &self.service.depends_on {
            let disabled = self.project.disabled.get(name);
            if self.project.services.contains_key(name) || (disabled.is_some() && !dependency.required) {
                continue;
            }
            let message = format!("service \"{}\" depends on undefined service \"{name}\"", self.name);
            let problem = self.fault(&["depends_on", name], Code::Reference, message);
            return Err(match disabled {
                Some(service) => problem.help(format!("activate one of its profiles: {}", service.profiles.join(", "))),
                None => self.near(problem, name),
            }
            .into());
        }
        match self.service.network_mode.strip_prefix("service:") {
            Some(name) if !self.project.services.contains_key(name) => {
                let message = format!("service \"{name}\" not found for network_mode 'service:{name}'");
                Err(self.near(self.fault(&["network_mode"], Code::Reference, message), name).into())
            }
            _ => Ok(()),
        }
    }

    /// Checks that settings which can be given by two keys agree.
    fn agreement(&self) -> Result<()> {
        let (name, service) = (self.name, self.service);
        let replicas = service.deploy.as_ref().and_then(|deploy| deploy.replicas);
        let distinct = |one: &str, other: &str| {
            self.conflict(&[one], format!("services.{name}: can't set distinct values on '{one}' and '{other}'"))
        };
        if let (Some(scale), Some(replicas)) = (service.scale, replicas)
            && scale != replicas
        {
            return Err(distinct("scale", "deploy.replicas"));
        }
        for (value, key) in [(service.scale, "scale"), (replicas, "deploy.replicas")] {
            if value.is_some_and(|value| value < 0) {
                let message = format!("services.{name}.{key}: must be greater than or equal to 0");
                return Err(self.conflict(&key.split('.').collect::<Vec<_>>(), message));
            }
        }
        let resources = service.deploy.as_ref().map(|deploy| &deploy.resources);
        if let Some(limits) = resources.and_then(|resources| resources.limits.as_ref()) {
            if service.cpus != 0.0 && limits.cpus != service.cpus {
                return Err(distinct("cpus", "deploy.resources.limits.cpus"));
            }
            if service.mem_limit.0 != 0 && limits.memory != service.mem_limit {
                return Err(distinct("mem_limit", "deploy.resources.limits.memory"));
            }
            if service.pids_limit != 0 && limits.pids != service.pids_limit {
                return Err(distinct("pids_limit", "deploy.resources.limits.pids"));
            }
        }
        if let Some(reservations) = resources.and_then(|resources| resources.reservations.as_ref())
            && service.mem_reservation.0 != 0
            && reservations.memory != service.mem_reservation
        {
            return Err(distinct("mem_reservation", "deploy.resources.reservations.memory"));
        }
        if service.scale.or(replicas).unwrap_or(1) > 1 && !service.container_name.is_empty() {
            let key = if service.scale.is_some() { "scale" } else { "deploy.replicas" };
            let message =
                format!("services.{name}: can't set container_name and {key} as container name must be unique");
            return Err(self.conflict(&["container_name"], message));
        }
        Ok(())
    }

    fn health(&self) -> Result<()> {
        let test = self.service.healthcheck.as_ref().and_then(|check| check.test.0.first());
        if test.is_some_and(|kind| !matches!(kind.as_str(), "CMD" | "CMD-SHELL" | "NONE")) {
            let message = "healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"".to_owned();
            return Err(self.fault(&["healthcheck", "test"], Code::Value, message).into());
        }
        let triggers = self.service.develop.iter().flat_map(|develop| &develop.watch).enumerate();
        for (at, trigger) in triggers {
            if trigger.target.is_empty() && !matches!(trigger.action.as_str(), "rebuild" | "restart") {
                let message =
                    format!("services.{}.develop.watch: target is required for non-rebuild actions", self.name);
                return Err(self.fault(&["develop", "watch", &at.to_string()], Code::Value, message).into());
            }
        }
        Ok(())
    }

    /// Checks that no two mounts have the same target.
    fn targets(&self) -> Result<()> {
        let mut mounts: HashMap<&str, (String, Option<Place>)> = HashMap::new();
        let tmpfs = self.service.tmpfs.iter().enumerate();
        let tmpfs = tmpfs.map(|(at, mount)| ("tmpfs", at, mount.split(':').next().unwrap_or_default()));
        let volumes = self.service.volumes.iter().enumerate().map(|(at, mount)| ("volumes", at, mount.target.as_str()));
        for (key, at, target) in tmpfs.chain(volumes) {
            let here = format!("services.{}.{key}[{at}]", self.name);
            let problem = self.fault(&[key, &at.to_string()], Code::Conflict, String::new());
            if let Some((first, place)) = mounts.get(target) {
                let message = format!("{here}: target {target} already mounted as {first}");
                let problem = Problem { message, ..problem };
                return Err(place.map_or(problem.clone(), |place| problem.also(place, "the first mount")).into());
            }
            mounts.insert(target, (here, problem.place));
        }
        Ok(())
    }
}

/// Checks that dependencies have no cycle.
fn cycles(project: &Project) -> Result<()> {
    let mut done: HashMap<&str, ()> = HashMap::new();
    for start in project.services.keys() {
        // The path to the current service. Each entry holds the dependencies that are still to be
        // followed.
        let mut path: Vec<(&str, Vec<&str>)> = vec![(start, dependencies(project, start))];
        while let Some((name, rest)) = path.last_mut() {
            let (name, next) = (*name, rest.pop());
            let Some(next) = next else {
                done.insert(name, ());
                path.pop();
                continue;
            };
            if let Some(at) = path.iter().position(|(name, _)| *name == next) {
                let chain: Vec<&str> = path[at..].iter().map(|(name, _)| *name).chain([next]).collect();
                let place = project.place(&["services", name, "depends_on", next]);
                let message = format!("dependency cycle detected: {}", chain.join(" -> "));
                return Err(Problem { place, ..Problem::new(Code::Cycle, message) }.into());
            }
            if !done.contains_key(next) {
                path.push((next, dependencies(project, next)));
            }
        }
    }
    Ok(())
}

fn dependencies<'a>(project: &'a Project, name: &str) -> Vec<&'a str> {
    let service = project.services.get(name);
    let names = service.into_iter().flat_map(|service| service.depends_on.keys());
    let mut names: Vec<&str> = names.filter(|name| project.services.contains_key(*name)).map(String::as_str).collect();
    names.reverse();
    names
}

/// Checks that no two services have the same container name.
pub fn container_names(project: &Project) -> Result<()> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (name, service) in project.services.iter().filter(|(_, service)| !service.container_name.is_empty()) {
        let container = service.container_name.as_str();
        if let Some(first) = names.insert(container, name) {
            let message = format!("services.{name}: container name {container:?} is already in use by service {first}");
            let place = project.place(&["services", name, "container_name"]);
            return Err(Problem { place, ..Problem::new(Code::Conflict, message) }.into());
        }
    }
    Ok(())
}
