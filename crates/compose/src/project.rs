//! A project: the typed model of its files, with the services that are active.

use crate::consistency;
use crate::dotenv::Environment;
use crate::host::Host;
use crate::load::{Loader, Passes, Scope};
use crate::model::decode::Decode;
use crate::model::{Config, Model, Named, Network, Secret, Service, Volume};
use crate::node::{Map, Node, Value};
use crate::normalize;
use crate::options::{self, Options, Prepared};
use crate::path::Path;
use crate::place::Place;
use crate::problem::{Code, Problem, Report, Result};
use crate::resolve;

/// The parts of loading that are done.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The passes over the tree.
    pub passes: Passes,
    /// Check that services and resources fit together.
    pub consistency: bool,
    /// Read the environment files of services.
    pub environment: bool,
}

impl Default for Steps {
    fn default() -> Steps {
        let passes = Passes { interpolation: true, paths: true, normalization: true, validation: true };
        Steps { passes, consistency: true, environment: true }
    }
}

/// A project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// The directory that its paths are relative to.
    pub directory: String,
    /// Its compose files.
    pub files: Vec<String>,
    /// The active services.
    pub services: Named<Service>,
    /// The services that are disabled, because none of their profiles is active.
    pub disabled: Named<Service>,
    /// Its networks.
    pub networks: Named<Network>,
    /// Its volumes.
    pub volumes: Named<Volume>,
    /// Its secrets.
    pub secrets: Named<Secret>,
    /// Its configs.
    pub configs: Named<Config>,
    /// Its models.
    pub models: Named<Model>,
    /// The keys of the top level that begin with `x-`.
    pub extensions: Map,
    /// The variables of its files.
    pub environment: Environment,
    /// The active profiles.
    pub profiles: Vec<String>,
    /// The separator in names of images and containers: `-`, or `_` as in Compose v1.
    pub separator: &'static str,
    /// The tree that it was read from, for the places of its values.
    pub tree: Option<Node>,
}

/// The tree of a project, merged and in the long form, without types.
pub fn load_tree(host: &dyn Host, report: &Report, options: &Options, passes: Passes) -> Result<Node> {
    let (node, _) = load(host, report, options, passes)?;
    Ok(node)
}

/// The typed model of a project.
pub fn load_project(host: &dyn Host, report: &Report, options: &Options, steps: Steps) -> Result<Project> {
    let (mut tree, prepared) = load(host, report, options, steps.passes)?;
    if let Some(map) = tree.as_map_mut() {
        map.remove("name");
    }
    let mut project = typed(tree, prepared)?;
    project.activate(&project.profiles.clone());
    if steps.consistency {
        consistency::check(&mut project)?;
    }
    if steps.environment {
        resolve::environment(&mut project, host, report)?;
    }
    resolve::labels(&mut project, host, report)?;
    if project.name.is_empty() {
        return Err(no_name());
    }
    Ok(project)
}

fn load(host: &dyn Host, report: &Report, options: &Options, passes: Passes) -> Result<(Node, Prepared)> {
    let home = host.environment().into_iter().find(|(name, _)| name == "HOME").map(|(_, value)| value);
    let loader = Loader::new(host, report, home, passes);
    let prepared = options::prepare(&loader, options)?;
    let scope = Scope {
        environment: &prepared.environment,
        directory: prepared.directory.clone(),
        absolute: prepared.directory.clone(),
        files: prepared.directory.clone(),
        paths: passes.paths,
        included: Vec::new(),
    };
    let Some(mut tree) = loader.model(&prepared.files, &scope)? else {
        let name = prepared.files.first().map(|file| file.name.clone()).unwrap_or_default();
        return Err(Problem::new(Code::Value, format!("empty compose file: {name}")).into());
    };
    if passes.validation && prepared.name.is_empty() {
        return Err(no_name());
    }
    if passes.normalization {
        normalize::normalize(&mut tree, &prepared.name, &prepared.environment);
    }
    Ok((tree, prepared))
}

fn no_name() -> crate::problem::Error {
    let problem = Problem::new(Code::Name, "project name must not be empty");
    problem.help("name the project with `--project-name`, COMPOSE_PROJECT_NAME, or the key `name`").into()
}

fn typed(tree: Node, prepared: Prepared) -> Result<Project> {
    let mut project = Project {
        name: prepared.name,
        directory: prepared.directory,
        files: prepared.files.into_iter().map(|file| file.name).collect(),
        environment: prepared.environment,
        profiles: prepared.profiles,
        separator: prepared.separator,
        ..Project::default()
    };
    let root = Path::ROOT;
    for (key, entry) in tree.as_map().into_iter().flat_map(Map::iter) {
        let (node, path) = (&entry.node, root.key(key));
        match key {
            "services" => project.services = section(node, &path)?,
            "networks" => project.networks = section(node, &path)?,
            "volumes" => project.volumes = section(node, &path)?,
            "secrets" => project.secrets = section(node, &path)?,
            "configs" => project.configs = section(node, &path)?,
            "models" => project.models = section(node, &path)?,
            key if key.starts_with("x-") => project.extensions.put(key, entry.clone()),
            _ => {}
        }
    }
    project.tree = Some(tree);
    Ok(project)
}

/// Reads a section. An entry without a value has all defaults.
fn section<T: Decode>(node: &Node, path: &Path<'_>) -> Result<Named<T>> {
    let mut all = Named::new();
    for (name, entry) in node.as_map().into_iter().flat_map(Map::iter) {
        let empty = Node::new(Value::Map(Map::default()), entry.node.place);
        let node = if entry.node.is_null() { &empty } else { &entry.node };
        all.insert(name.to_owned(), T::decode(node, &path.key(name))?);
    }
    Ok(all)
}

impl Project {
    /// The place of a value. If the files do not hold it, the place of the nearest value above it.
    pub fn place(&self, keys: &[&str]) -> Option<Place> {
        let mut node = self.tree.as_ref()?;
        let mut place = None;
        for key in keys {
            let (next, at) = match &node.value {
                Value::Map(map) => match map.entry(key) {
                    Some(entry) => (&entry.node, entry.key),
                    None => break,
                },
                Value::List(list) => match key.parse().ok().and_then(|at: usize| list.get(at)) {
                    Some(item) => (item, item.place),
                    None => break,
                },
                _ => break,
            };
            place = Some(at);
            node = next;
        }
        place
    }

    /// Activates the services that have one of these profiles or no profile, and disables the
    /// others.
    pub fn activate(&mut self, profiles: &[String]) {
        let mut all = std::mem::take(&mut self.services);
        all.append(&mut self.disabled);
        let active = |service: &Service| {
            let named = |profile: &String| profiles.iter().any(|active| active == "*" || active == profile);
            service.profiles.is_empty()
                || service.profiles.iter().any(named)
                || profiles.iter().any(|active| active == "*")
        };
        (self.services, self.disabled) = all.into_iter().partition(|(_, service)| active(service));
        self.profiles = profiles.to_vec();
    }

    /// The image of a service, or the name that its build gets.
    pub fn image_of(&self, name: &str, service: &Service) -> String {
        match service.image.as_str() {
            "" => format!("{}{}{name}", self.name, self.separator),
            image => image.to_owned(),
        }
    }
}
