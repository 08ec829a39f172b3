//! `compose config`: prints the resolved project, or a list of one part of it.

use crate::consistency;
use crate::host::Host;
use crate::model::encode::{Encode, Form, raw};
use crate::node::Node;
use crate::options::Options;
use crate::print;
use crate::problem::{Code, Problem, Report, Result};
use crate::project::{Project, Steps, load_project, load_tree};
use crate::resolve;
use crate::template::variables::variables;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The output of `config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Print {
    /// The whole project.
    #[default]
    Project,
    /// The names of the services.
    Services,
    /// The names of the volumes.
    Volumes,
    /// The names of the networks.
    Networks,
    /// The models.
    Models,
    /// The profiles.
    Profiles,
    /// The images.
    Images,
    /// The variables that the files use.
    Variables,
    /// The variables that the files may use, with their values.
    Environment,
    /// The config hashes of services; `*` means all.
    Hash(String),
}

/// The format of a whole project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    #[default]
    Yaml,
    /// JSON.
    Json,
    /// A table; YAML for a whole project.
    Table,
}

impl Format {
    /// The format of a name. An empty name means the default.
    pub fn named(name: &str) -> Result<Format> {
        match name {
            "" => Ok(Format::Table),
            "yaml" => Ok(Format::Yaml),
            "json" => Ok(Format::Json),
            other => {
                let problem = Problem::new(Code::Value, format!("unsupported format {other:?}"));
                Err(problem.help("formats are `yaml` and `json`").into())
            }
        }
    }
}

/// The request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The part to print.
    pub print: Print,
    /// The format.
    pub format: Format,
    /// The requested services. None means all.
    pub services: Vec<String>,
    /// True to print resources that no service uses.
    pub all_resources: bool,
}

/// Runs `config` and returns its output.
pub fn config(host: &dyn Host, report: &Report, options: &Options, steps: Steps, request: &Request) -> Result<String> {
    let without_environment = Steps { environment: false, ..steps };
    let load =
        |steps: Steps, services: &[String]| selected(host, report, options, steps, services, request.all_resources);
    match &request.print {
        Print::Project if !steps.passes.interpolation => {
            unfiltered(report, request, "--no-interpolate is set, the full model");
            let tree = load_tree(host, report, options, steps.passes)?;
            Ok(formatted(&raw(&tree), request.format))
        }
        Print::Project => {
            let mut project = load(steps, &request.services)?;
            if steps.environment {
                resolve::environment(&mut project, host, report)?;
            }
            if steps.consistency {
                consistency::container_names(&project)?;
            }
            let form = if request.format == Format::Json { Form::Json } else { Form::Yaml };
            Ok(formatted(&tree_of(&project, form), request.format).replace('$', "$$"))
        }
        Print::Services if !steps.passes.interpolation => {
            let tree = load_tree(host, report, options, steps.passes)?;
            let services = tree.find(&["services"]).and_then(Node::as_map);
            Ok(lines(services.into_iter().flat_map(|map| map.iter().map(|(name, _)| name))))
        }
        Print::Services => {
            let project = load(without_environment, &[])?;
            let names: Vec<String> = project.services.keys().cloned().collect();
            let order = if names.is_empty() { names } else { project.closure(&names)? };
            Ok(lines(order.iter().map(String::as_str)))
        }
        Print::Volumes => Ok(lines(load(without_environment, &[])?.volumes.keys().map(String::as_str))),
        Print::Networks => Ok(lines(load(without_environment, &[])?.networks.keys().map(String::as_str))),
        Print::Models => {
            let project = load(without_environment, &[])?;
            Ok(lines(project.models.values().map(|model| model.model.as_str()).filter(|name| !name.is_empty())))
        }
        Print::Profiles => {
            let project = load(steps, &request.services)?;
            let all = project.services.values().chain(project.disabled.values());
            let profiles: BTreeSet<&str> = all.flat_map(|service| &service.profiles).map(String::as_str).collect();
            Ok(lines(profiles.into_iter()))
        }
        Print::Images => Ok(images(&load(steps, &request.services)?)),
        Print::Variables => {
            unfiltered(report, request, "--variables is set, variables from the full model");
            let mut passes = steps.passes;
            (passes.interpolation, passes.validation) = (false, false);
            Ok(variable_table(&load_tree(host, report, options, passes)?, request.format))
        }
        Print::Environment => {
            let project = load(steps, &request.services)?;
            let mut all: Vec<String> =
                project.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
            all.sort();
            Ok(lines(all.iter().map(String::as_str)))
        }
        Print::Hash(names) => hashes(host, report, load(without_environment, &[])?, names, steps),
    }
}

/// Loads the project and keeps the requested services, their dependencies, and the resources that
/// they use.
pub fn selected(
    host: &dyn Host,
    report: &Report,
    options: &Options,
    steps: Steps,
    services: &[String],
    all_resources: bool,
) -> Result<Project> {
    let mut project = load_project(host, report, options, steps)?;
    project.enable(services);
    project.keep(services)?;
    if !all_resources {
        project.drop_unused();
    }
    Ok(project)
}

fn unfiltered(report: &Report, request: &Request, why: &str) {
    if !request.services.is_empty() {
        let message = format!("service filtering is not applied when {why} will be rendered");
        report.warn(Problem::new(Code::Ignored, message));
    }
}

fn formatted(tree: &Value, format: Format) -> String {
    match format {
        Format::Json => print::json(tree) + "\n",
        Format::Yaml | Format::Table => print::yaml(tree),
    }
}

fn lines<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.fold(String::new(), |mut out, name| {
        let _ = writeln!(out, "{name}");
        out
    })
}

/// The tree of a project, in the order of Docker Compose's output.
pub fn tree_of(project: &Project, form: Form) -> Value {
    let mut out = Map::new();
    out.insert("name".to_owned(), project.name.clone().into());
    out.insert("services".to_owned(), project.services.encode(form));
    let mut put = |key: &str, empty: bool, value: Value| {
        if !empty {
            out.insert(key.to_owned(), value);
        }
    };
    put("networks", project.networks.is_empty(), project.networks.encode(form));
    put("volumes", project.volumes.is_empty(), project.volumes.encode(form));
    put("secrets", project.secrets.is_empty(), project.secrets.encode(form));
    let mut configs = project.configs.clone();
    for config in configs.values_mut().filter(|config| !config.environment.is_empty()) {
        config.content.clear();
    }
    put("configs", configs.is_empty(), configs.encode(form));
    if form == Form::Yaml {
        put("models", project.models.is_empty(), project.models.encode(form));
    }
    for (key, entry) in project.extensions.iter() {
        put(key, false, raw(&entry.node));
    }
    if form == Form::Json {
        out.sort_keys();
    }
    Value::Object(out)
}

fn images(project: &Project) -> String {
    let mut all = Vec::new();
    for (name, service) in &project.services {
        let image = project.image_of(name, service);
        let hooks = service.pre_start.iter().map(|hook| &hook.image).filter(|hook| !hook.is_empty() && **hook != image);
        all.extend(hooks.cloned());
        all.push(image);
    }
    lines(all.iter().map(String::as_str))
}

fn variable_table(tree: &Node, format: Format) -> String {
    let all = variables(tree);
    match format {
        Format::Json => {
            let entry = |(name, variable): (&String, &crate::template::variables::Variable)| {
                let value = json!({
                    "Name": name, "DefaultValue": variable.default, "PresenceValue": variable.presence,
                    "Required": variable.required,
                });
                (name.clone(), value)
            };
            print::compact(&Value::Object(all.iter().map(entry).collect())) + "\n"
        }
        Format::Yaml => {
            let entry = |(name, variable): (&String, &crate::template::variables::Variable)| {
                let value = json!({
                    "name": name, "defaultvalue": variable.default, "presencevalue": variable.presence,
                    "required": variable.required,
                });
                (name.clone(), value)
            };
            print::yaml(&Value::Object(all.iter().map(entry).collect()))
        }
        Format::Table => {
            let rows = all.iter().map(|(name, variable)| {
                [name.clone(), variable.required.to_string(), variable.default.clone(), variable.presence.clone()]
            });
            let header = ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"].map(str::to_owned);
            table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
        }
    }
}

fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + 3;
    let widths = [width(0), width(1), width(2), 0];
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(out, "{}", cells.collect::<String>().trim_end());
    }
    out
}

fn hashes(host: &dyn Host, report: &Report, mut project: Project, names: &str, steps: Steps) -> Result<String> {
    if names != "*" {
        let wanted: Vec<String> = names.split(',').map(str::to_owned).collect();
        let kept: BTreeSet<String> =
            project.closure(&wanted)?.into_iter().filter(|name| wanted.contains(name)).collect();
        project.services.retain(|name, _| kept.contains(name));
    }
    if steps.environment {
        resolve::environment(&mut project, host, report)?;
    }
    let mut out = String::new();
    for (name, service) in &project.services {
        let _ = writeln!(out, "{name} {}", hash(service));
    }
    Ok(out)
}

/// The config hash of a service: a container is recreated if it differs.
pub fn hash(service: &crate::model::Service) -> String {
    let mut service = service.clone();
    service.build = None;
    service.pull_policy.clear();
    service.scale = None;
    if let Some(deploy) = &mut service.deploy {
        deploy.replicas = None;
    }
    service.depends_on.clear();
    service.profiles.clear();
    let digest = Sha256::digest(print::compact(&service.encode(Form::Json)));
    digest.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
