//! Reads the files of a project through the host, within limits, and reports failures.

use crate::dotenv::{self, Environment};
use crate::filepath;
use crate::host::{Host, Kind};
use crate::interpolate::warn_unset;
use crate::place::{FileId, Place};
use crate::problem::{Code, Problem, Report, Result};
use std::io;

/// The largest environment file, in bytes.
const LARGEST_ENVIRONMENT: u64 = 4 << 20;

/// An error of the host, without its number.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Reads the text of a file. `place` is where another file names it, if one does.
pub fn file(
    host: &dyn Host,
    report: &Report,
    path: &str,
    limit: u64,
    place: Option<Place>,
) -> Result<(FileId, String)> {
    let fault = |message: String| Problem { place, ..Problem::new(Code::File, message) };
    let bytes = match path {
        "-" => host.input(limit),
        "/dev/null" => Ok(Vec::new()),
        _ => host.read(path, limit, place.is_none()),
    };
    let bytes = bytes.map_err(|error| fault(format!("open {path}: {}", words(&error))))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        fault(format!("{path} is not UTF-8: invalid byte at offset {at}"))
    })?;
    Ok((report.sources.add(path, &text), text))
}

/// Reads the variables of environment files. In expansions, `known` takes precedence.
pub fn environment_files(
    host: &dyn Host,
    report: &Report,
    files: &[(String, Option<Place>)],
    known: &Environment,
) -> Result<Environment> {
    let mut variables = Environment::new();
    for (path, place) in files {
        let fault = |message: String| Problem { place: *place, ..Problem::new(Code::File, message) };
        let kind = if path == "/dev/null" { Ok(Kind::File) } else { host.kind(path) };
        match kind {
            Err(error) => return Err(fault(format!("couldn't find env file: {path}: {}", words(&error))).into()),
            Ok(Kind::Directory) => return Err(fault(format!("{path} is a directory")).into()),
            Ok(_) => {}
        }
        dotenv_file(host, report, path, *place, &mut variables, &|name| known.get(name).cloned())?;
    }
    Ok(variables)
}

/// Reads one environment file into `variables`.
pub fn dotenv_file(
    host: &dyn Host,
    report: &Report,
    path: &str,
    place: Option<Place>,
    variables: &mut Environment,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let (id, text) = file(host, report, path, LARGEST_ENVIRONMENT, place)?;
    let unset = |name: &str| warn_unset(report, None, name);
    dotenv::parse(&text, id, variables, lookup, &unset).map_err(|error| in_file(error, path, report))
}

/// Reads one file in the raw format into `variables`.
pub fn raw_file(
    host: &dyn Host,
    report: &Report,
    path: &str,
    place: Option<Place>,
    variables: &mut Environment,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let (id, text) = file(host, report, path, LARGEST_ENVIRONMENT, place)?;
    dotenv::raw::parse(&text, id, variables, lookup).map_err(|error| in_file(error, path, report))
}

fn in_file(mut error: crate::problem::Error, path: &str, report: &Report) -> crate::problem::Error {
    for problem in &mut error.problems {
        let line = problem.place.and_then(|place| report.sources.position(place)).map_or(0, |(_, line, _)| line);
        problem.message = format!("failed to read {path}: line {line}: {}", problem.message);
    }
    error
}

/// The default environment file of a directory, if there is one.
pub fn default_environment(host: &dyn Host, directory: &str) -> Result<Option<String>> {
    let path = filepath::join(directory, ".env");
    match host.kind(&path) {
        Ok(Kind::Directory) => Ok(None),
        Ok(_) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::new(Code::File, format!("stat {path}: {}", words(&error))).into()),
    }
}

/// True if a file is named by a URL, not by a path.
pub fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@") || path.starts_with("github.com/")
}
