//! Reads the variables and labels of services that come from files.

use crate::dotenv::Environment;
use crate::host::Host;
use crate::model::EnvFile;
use crate::place::Place;
use crate::problem::{Code, Problem, Report, Result};
use crate::project::Project;
use crate::read;

/// Reads the environment files of the active services into their variables. The service's own
/// values take precedence.
pub fn environment(project: &mut Project, host: &dyn Host, report: &Report) -> Result<()> {
    let names: Vec<String> = project.services.keys().cloned().collect();
    for name in names {
        let Some(service) = project.services.get(&name) else { continue };
        let mut own = service.environment.0.clone();
        for (variable, value) in &mut own {
            if value.is_none() {
                *value = project.environment.get(variable).cloned();
            }
        }
        let mut all: Environment = Environment::new();
        all.extend(own.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))));
        for (at, file) in service.env_file.iter().enumerate() {
            let place = project.place(&["services", &name, "env_file", &at.to_string()]);
            let lookup = |variable: &str| {
                let known = project.environment.get(variable).cloned();
                known.or_else(|| own.get(variable).cloned().flatten())
            };
            variables(host, report, file, place, &mut all, &lookup)?;
        }
        for (variable, value) in all {
            own.entry(variable).or_insert(Some(value));
        }
        if let Some(service) = project.services.get_mut(&name) {
            service.environment.0 = own;
            service.env_file.clear();
        }
    }
    Ok(())
}

fn variables(
    host: &dyn Host,
    report: &Report,
    file: &EnvFile,
    place: Option<Place>,
    variables: &mut Environment,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    if file.path != "/dev/null"
        && host.kind(&file.path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    {
        if !file.required.0 {
            return Ok(());
        }
        let problem = Problem { place, ..Problem::new(Code::File, format!("env file {} not found", file.path)) };
        return Err(problem.help("set `required: false` if it may be missing").into());
    }
    match file.format.as_str() {
        "" | ".env" => read::dotenv_file(host, report, &file.path, place, variables, lookup),
        "raw" => read::raw_file(host, report, &file.path, place, variables, lookup),
        other => {
            let message = format!("unsupported env_file format {other:?}");
            Err(Problem { place, ..Problem::new(Code::Value, message) }.help("formats are `.env` and `raw`").into())
        }
    }
}

/// Reads the label files of the active services into their labels. The service's own labels take
/// precedence.
pub fn labels(project: &mut Project, host: &dyn Host, report: &Report) -> Result<()> {
    let names: Vec<String> = project.services.keys().cloned().collect();
    for name in names {
        let Some(service) = project.services.get(&name) else { continue };
        let mut all = Environment::new();
        for (at, path) in service.label_file.iter().enumerate() {
            let place = project.place(&["services", &name, "label_file", &at.to_string()]);
            if host.kind(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                let message = format!("label file {path} not found");
                return Err(Problem { place, ..Problem::new(Code::File, message) }.into());
            }
            let earlier = all.clone();
            read::dotenv_file(host, report, path, place, &mut all, &|label| earlier.get(label).cloned())?;
        }
        if let Some(service) = project.services.get_mut(&name) {
            for (label, value) in all {
                service.labels.0.entry(label).or_insert(value);
            }
        }
    }
    Ok(())
}
