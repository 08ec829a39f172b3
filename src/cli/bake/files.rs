//! Files of a definition.

use crate::cli::request::Environment;
use ::bake::command::default_files;
use ::bake::problem::Source;
use base::error::{Error, Kind, Result};
use base::read;
use std::io;
use std::path::Path;

/// Larger definitions are refused.
const LARGEST: u64 = 8 << 20;

/// Reads the files that are named; else those of BUILDX_BAKE_FILE; else all usual ones that are
/// there.
pub(super) fn read(named: &[String], env: &Environment<'_>) -> Result<Vec<Source>> {
    let mut names = named.to_vec();
    if names.is_empty() {
        names = of_environment(env);
    }
    let usual = names.is_empty();
    if usual {
        names = default_files().map(str::to_owned).to_vec();
    }
    let mut sources = Vec::new();
    for name in names {
        let name = name.strip_prefix("cwd://").unwrap_or(&name).to_owned();
        match one(&name) {
            Ok(text) => sources.push(Source { name, text }),
            Err(error) if usual && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::new(Kind::Usage, format!("open {name}: {}", words(&error)))),
        }
    }
    Ok(sources)
}

fn of_environment(env: &Environment<'_>) -> Vec<String> {
    let separator = (env.get)("BUILDX_BAKE_PATH_SEPARATOR").filter(|text| !text.is_empty());
    let all = (env.get)("BUILDX_BAKE_FILE").unwrap_or_default();
    let names = all.split(separator.as_deref().unwrap_or(":")).map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn one(name: &str) -> io::Result<Vec<u8>> {
    match name {
        "-" => read::bounded(LARGEST, io::stdin()),
        name => read::bounded(LARGEST, read::open_regular(Path::new(name))?),
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
