//! The options of a project from the command line and the environment: its files, directory,
//! variables, name and profiles.

use crate::dotenv::Environment;
use crate::filepath;
use crate::host::Host;
use crate::load::{File, Loader, Passes};
use crate::node::Node;
use crate::problem::{Code, Problem, Report, Result};
use crate::read;
use crate::template::{self, Variables};
use base::words::bool_of;
use std::io;

/// The names of the main file, the preferred one first.
const FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The names of the file that is merged into the main one.
const OVERRIDES: [&str; 4] =
    ["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// The options of a project.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--project-name`.
    pub name: Option<String>,
    /// `--project-directory`.
    pub directory: Option<String>,
    /// `--file`, in order.
    pub files: Vec<String>,
    /// `--env-file`, in order.
    pub env_files: Vec<String>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// `--compatibility`.
    pub compatibility: bool,
}

/// The parts of a project before its files are interpolated.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub files: Vec<File>,
    /// The absolute directory that paths are relative to.
    pub directory: String,
    pub environment: Environment,
    pub name: String,
    pub profiles: Vec<String>,
    /// The separator in names of images and containers.
    pub separator: &'static str,
}

/// Finds and reads the files and variables of a project.
pub(crate) fn prepare(loader: &Loader<'_>, options: &Options) -> Result<Prepared> {
    let preparation = Preparation { host: loader.host, report: loader.report, options };
    if let Some(name) = &options.name {
        check_name(name)?;
    }
    let mut environment = preparation.environment()?;
    let paths = preparation.paths(&environment)?;
    let directory = preparation.directory(&paths);
    preparation.dotenv(&mut environment, &directory)?;
    if paths.is_empty() {
        return Err(Problem::new(Code::File, "no configuration file provided: not found")
            .help(format!("the folder and those above it have none of {}", FILES.join(", ")))
            .into());
    }
    if let Some(path) = paths.iter().find(|path| read::is_remote(path)) {
        let problem = Problem::new(Code::File, format!("{path}: compose files of other machines are not supported"));
        return Err(problem.help("fetch the file and name its path").into());
    }
    let files: Vec<File> = paths.iter().map(|path| loader.read(path, None)).collect::<Result<_>>()?;
    for file in &files {
        require_mapping(file)?;
    }
    let name = preparation.name(&files, &environment, &directory, loader.passes)?;
    environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let profiles = preparation.profiles(&environment);
    let compatible = environment.get("COMPOSE_COMPATIBILITY").and_then(|value| bool_of(&value.trim().to_lowercase()));
    let compatible = options.compatibility || compatible.unwrap_or(false);
    let separator = if compatible { "_" } else { "-" };
    Ok(Prepared { files, directory, environment, name, profiles, separator })
}

fn require_mapping(file: &File) -> Result<()> {
    match file.documents.first().map(|document| &document.root) {
        Some(root) if root.as_map().is_none() && !root.is_null() => {
            let problem = Problem::at(root.place, Code::Value, "the top level of a compose file must be a mapping");
            Err(problem.label(format!("this is {}", root.value.kind())).into())
        }
        _ => Ok(()),
    }
}

struct Preparation<'a> {
    host: &'a dyn Host,
    report: &'a Report,
    options: &'a Options,
}

impl Preparation<'_> {
    fn absolute(&self, path: &str) -> String {
        filepath::absolute(&self.host.directory(), path)
    }

    /// The variables of the process, and those of the first environment files.
    fn environment(&self) -> Result<Environment> {
        let mut environment: Environment = self.host.environment().into_iter().collect();
        environment.entry("PWD".to_owned()).or_insert_with(|| self.host.directory());
        let directory = self.directory(&self.options.files);
        self.dotenv(&mut environment, &directory)?;
        Ok(environment)
    }

    /// Adds the variables of environment files: of those that are named, or of `.env` in the
    /// directory.
    fn dotenv(&self, environment: &mut Environment, directory: &str) -> Result<()> {
        let named = match self.options.env_files.is_empty() {
            true => variable_list(&self.host.environment(), "COMPOSE_ENV_FILES"),
            false => self.options.env_files.clone(),
        };
        let home = environment.get("HOME").cloned();
        let absolute = |path: &String| self.absolute(&filepath::expand_home(path, home.as_deref()));
        let files: Vec<String> = match named.is_empty() {
            false => named.iter().map(absolute).collect(),
            true if self.is_disabled(environment)? => Vec::new(),
            true => read::default_environment(self.host, directory)?.into_iter().collect(),
        };
        let files: Vec<_> = files.into_iter().map(|path| (path, None)).collect();
        let found = read::environment_files(self.host, self.report, &files, environment)?;
        for (name, value) in found {
            environment.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn is_disabled(&self, environment: &Environment) -> Result<bool> {
        let Some(text) = environment.get("COMPOSE_DISABLE_ENV_FILE") else { return Ok(false) };
        bool_of(text).ok_or_else(|| {
            let message = format!("COMPOSE_DISABLE_ENV_FILE must be a boolean, not {text:?}: invalid syntax");
            Problem::new(Code::Value, message).into()
        })
    }

    fn directory(&self, paths: &[String]) -> String {
        if let Some(directory) = self.options.directory.as_ref().filter(|directory| !directory.is_empty()) {
            return self.absolute(directory);
        }
        match paths.iter().find(|path| *path != "-") {
            Some(path) => filepath::parent(&self.absolute(path)),
            None => self.host.directory(),
        }
    }

    /// The Compose files: those that are named, or those of the nearest directory that has some.
    fn paths(&self, environment: &Environment) -> Result<Vec<String>> {
        let absolute =
            |path: &str| if path == "-" || read::is_remote(path) { path.to_owned() } else { self.absolute(path) };
        if !self.options.files.is_empty() {
            return Ok(self.options.files.iter().map(|path| absolute(path)).collect());
        }
        if let Some(named) = environment.get("COMPOSE_FILE") {
            let separator = environment.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty());
            let paths: Vec<String> = named.split(separator.map_or(":", String::as_str)).map(absolute).collect();
            for path in paths.iter().filter(|path| *path != "-") {
                let fault =
                    |error: io::Error| Problem::new(Code::File, format!("stat {path}: {}", read::words(&error)));
                self.host.kind(path).map_err(fault)?;
            }
            return Ok(paths);
        }
        let mut directory = self.directory(&[]);
        loop {
            if let Some(main) = self.preferred(&FILES, &directory, "config") {
                return Ok([Some(main), self.preferred(&OVERRIDES, &directory, "override")]
                    .into_iter()
                    .flatten()
                    .collect());
            }
            let above = filepath::parent(&directory);
            if above == directory {
                return Ok(Vec::new());
            }
            directory = above;
        }
    }

    fn preferred(&self, names: &[&str], directory: &str, what: &str) -> Option<String> {
        let paths = names.iter().map(|name| filepath::join(directory, name));
        let found: Vec<String> = paths.filter(|path| self.host.kind(path).is_ok()).collect();
        if let [first, _, ..] = found.as_slice() {
            let list = found.join(", ");
            let message = format!("Found multiple {what} files with supported names: {list}. Using {first}");
            self.report.warn(Problem::new(Code::Ambiguous, message));
        }
        found.into_iter().next()
    }

    fn name(&self, files: &[File], environment: &Environment, directory: &str, passes: Passes) -> Result<String> {
        let given = self.options.name.as_ref().or_else(|| environment.get("COMPOSE_PROJECT_NAME"));
        if let Some(name) = given.filter(|name| !name.is_empty()) {
            check_name(name)?;
            return Ok(name.clone());
        }
        let written = |file: &File| -> Option<Node> {
            let mut names = file.documents.iter().filter_map(|document| document.root.find(&["name"]));
            names.rfind(|name| name.as_text() != Some("") && !name.is_null()).cloned()
        };
        let Some(node) = files.iter().filter_map(written).next_back() else {
            return Ok(self.folder_name(directory));
        };
        let mut name = crate::go::sprint(&node);
        if node.as_map().is_some() || node.as_list().is_some() {
            return Err(Problem::at(node.place, Code::Value, "name must be a string").into());
        }
        if passes.interpolation {
            let scope = Scope { environment, report: self.report };
            name = template::substitute(&name, &scope)
                .map_err(|failure| crate::interpolate::failure(failure, node.place, &"name"))?;
        }
        Ok(if passes.normalization { normalize_name(&name) } else { name })
    }

    fn folder_name(&self, directory: &str) -> String {
        let name = filepath::name(directory);
        if let Ok(real) = self.host.canonical(directory)
            && filepath::name(&real) != name
        {
            let message =
                format!("project has been loaded without an explicit name from a symlink. Using name {name:?}");
            self.report.warn(Problem::new(Code::Ambiguous, message));
        }
        normalize_name(name)
    }

    fn profiles(&self, environment: &Environment) -> Vec<String> {
        if !self.options.profiles.is_empty() {
            return self.options.profiles.clone();
        }
        let named = environment.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
        named.split(',').map(|profile| profile.trim().to_owned()).collect()
    }
}

struct Scope<'a> {
    environment: &'a Environment,
    report: &'a Report,
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn unset(&self, name: &str) {
        crate::interpolate::warn_unset(self.report, None, name);
    }
}

fn variable_list(environment: &[(String, String)], name: &str) -> Vec<String> {
    let value = environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default();
    value.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Removes the characters that a project name may not have.
pub fn normalize_name(name: &str) -> String {
    let valid = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let name: String = name.to_lowercase().chars().filter(valid).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

fn check_name(name: &str) -> Result<()> {
    if normalize_name(name) == name {
        return Ok(());
    }
    let message = format!(
        "invalid project name {name:?}: must consist only of lowercase alphanumeric characters, hyphens, and underscores \
         as well as start with a letter or number"
    );
    let problem = Problem::new(Code::Name, message);
    Err(match normalize_name(name) {
        valid if valid.is_empty() => problem,
        valid => problem.help(format!("did you mean `{valid}`?")),
    }
    .into())
}
