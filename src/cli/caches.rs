//! `--cache-from` and `--cache-to`, as plain data.

use super::args;
use super::output::fields;
use super::request::Environment;
use crate::error::{Error, Kind, Result};
use crate::registry::Reference;
use crate::remote::{Wanted, Way};
use std::collections::BTreeMap;

/// All caches of a build.
pub fn caches(args: &args::Build, env: &Environment<'_>) -> Result<Vec<Wanted>> {
    let from = args.cache_from.iter().map(|text| cache(Way::From, text, env));
    from.chain(args.cache_to.iter().map(|text| cache(Way::To, text, env))).collect()
}

/// `type=local,dest=x`, or the name of a repository.
pub fn cache(way: Way, text: &str, env: &Environment<'_>) -> Result<Wanted> {
    let mut wanted = Wanted { way, kind: String::new(), attributes: BTreeMap::new() };
    if !text.contains('=') {
        wanted.kind = "registry".to_owned();
        wanted.attributes.insert("ref".to_owned(), text.to_owned());
    } else {
        for field in fields(text) {
            let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
            match key.trim() {
                "type" => wanted.kind = value.to_owned(),
                key => drop(wanted.attributes.insert(key.to_owned(), value.to_owned())),
            }
        }
    }
    if wanted.kind.is_empty() {
        let flag = if way == Way::To { "--cache-to" } else { "--cache-from" };
        return Err(Error::new(Kind::Usage, format!("{flag} {text}: there is no type="))
            .hint("for example `type=registry,ref=registry.example/team/cache`"));
    }
    if let Some(Err(cause)) = wanted.attributes.get("ref").map(|name| name.parse::<Reference>()) {
        return Err(Error::new(Kind::Usage, cause));
    }
    wanted.complete(env.get)?;
    wanted.check()?;
    Ok(wanted)
}
