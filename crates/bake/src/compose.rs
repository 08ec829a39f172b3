//! Compose files: each service that is built is a target.

mod host;
mod service;

use crate::definition::Config;
use crate::problem::{Problem, Source, Span};
use crate::target::{Bases, Group};
use compose::load::Passes;
use compose::node::{Map, Node, Value};
use compose::options::Options;
use compose::problem::{Error, Report};
use compose::project::{Project, Steps, load_project};
use host::Files;
use std::collections::BTreeMap;

/// Keys of services that a build needs: all others may be anything.
const KEYS: [&str; 4] = ["image", "build", "environment", "env_file"];

/// The machine and the variables that a definition is read with.
pub struct Surroundings<'a> {
    /// The world outside.
    pub host: &'a dyn crate::host::Host,
    /// `--var`.
    pub overrides: &'a BTreeMap<String, String>,
    /// The environment sets variables.
    pub environment: bool,
}

/// True of names of compose files.
pub fn is_compose(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.ends_with(".yml") || lower.ends_with(".yaml")
}

/// Reads compose files, all as one. `numbers` are those of the files among all sources.
pub fn read(
    sources: &[&Source],
    numbers: &[usize],
    surroundings: &Surroundings<'_>,
) -> Result<(Config, Vec<Problem>), Problem> {
    let files = Files::new(sources, surroundings);
    let report = Report::default();
    let problem = |error: &Error| translate(error, &report, &files, numbers);
    let project = load(&files, &report).map_err(|error| problem(&error))?;
    let config = targets(&project)?;
    let warnings = report
        .warnings()
        .into_iter()
        .map(|warning| translate(&Error { problems: vec![warning] }, &report, &files, numbers));
    Ok((config, warnings.collect()))
}

fn load(files: &Files<'_>, report: &Report) -> Result<Project, Error> {
    let options = Options { files: files.names(), profiles: vec!["*".into()], ..Options::default() };
    let passes = Passes { interpolation: true, paths: true, normalization: false, validation: false };
    let steps = Steps { passes, consistency: false, environment: true };
    let project = load_project(files, report, &options, steps)?;
    if let Some(tree) = &project.tree {
        let relevant = relevant(tree);
        if relevant.as_map().is_none_or(Map::is_empty) {
            let what = "empty compose file: it has neither services nor secrets";
            return Err(compose::problem::Problem::at(tree.place, compose::problem::Code::Value, what).into());
        }
        compose::schema::validate(&relevant)?;
    }
    Ok(project)
}

/// The part of a tree that builds need.
fn relevant(tree: &Node) -> Node {
    let mut root = tree.clone();
    if let Some(map) = root.as_map_mut() {
        map.retain(|key, _| matches!(key, "services" | "secrets"));
        let services = map.get_mut("services").and_then(Node::as_map_mut);
        for (_, service) in services.into_iter().flat_map(Map::iter_mut) {
            if service.node.is_null() {
                service.node.value = Value::Map(Map::default());
            }
            if let Some(keys) = service.node.as_map_mut() {
                keys.retain(|key, _| KEYS.contains(&key));
            }
        }
    }
    root
}

fn targets(project: &Project) -> Result<Config, Problem> {
    let mut config = Config::default();
    if project.services.is_empty() {
        return Ok(config);
    }
    let mut default = Group { name: "default".into(), unset: true, ..Group::default() };
    for (name, service) in &project.services {
        let Some(build) = &service.build else { continue };
        let target = service::target(project, name, service, build)?;
        default.targets.push(target.name.clone());
        default.unset = false;
        config.targets.push(target);
    }
    config.groups.push(default);
    Ok(config)
}

/// Sets the folder of the first file, for paths that are relative to it.
pub fn set_bases(config: &mut Config, folder: Option<&str>) {
    let Some(folder) = folder else { return };
    for target in &mut config.targets {
        target.bases = Bases {
            default: Some(folder.to_owned()),
            context: target.context.as_ref().map(|_| folder.to_owned()),
            contexts: target.contexts.keys().map(|name| (name.clone(), folder.to_owned())).collect(),
            ..Bases::default()
        };
    }
}

/// A finding about a compose file, with its place among the sources.
fn translate(error: &Error, report: &Report, files: &Files<'_>, numbers: &[usize]) -> Problem {
    let Some(problem) = error.problems.first() else { return Problem::plain("failed to parse compose file") };
    let mut made = Problem::plain(files.shown(&problem.message));
    made.summary = "failed to parse compose file".into();
    if matches!(problem.code, compose::problem::Code::Syntax) {
        made.summary = "failed to parse yaml".into();
    }
    let mut help = problem.help.clone();
    if let Some(place) = problem.place
        && let Some(source) = report.sources.get(place.file)
    {
        match files.number(&source.name) {
            Some(at) => {
                made.span = numbers.get(at).map(|&file| Span::new(file, place.start as usize..place.end as usize))
            }
            None => {
                let (name, line, column) =
                    report.sources.position(place).unwrap_or_else(|| (source.name.clone(), 1, 1));
                made.detail = format!("{} ({}:{line}:{column})", made.detail, files.shown(&name));
            }
        }
    }
    if let Some(label) = &problem.label {
        made.detail = format!("{}: {}", made.detail, files.shown(label));
    }
    made.help = help.take().map(|help| files.shown(&help));
    made
}
