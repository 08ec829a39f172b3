//! `--cache-from` and `--cache-to`, as plain data.

use super::args;
use super::request::Environment;
use base::attributes::Attributes;
use base::error::{Error, Kind, Result};
use cache::{Wanted, Way};
use registry::Reference;

/// All caches of a build.
pub fn caches(args: &args::Build, env: &Environment<'_>) -> Result<Vec<Wanted>> {
    let from = args.cache_from.iter().map(|text| cache(Way::From, text, env));
    from.chain(args.cache_to.iter().map(|text| cache(Way::To, text, env))).collect()
}

/// Parses `type=local,dest=x`, or the name of a repository.
pub fn cache(way: Way, text: &str, env: &Environment<'_>) -> Result<Wanted> {
    let attributes = match text.contains('=') {
        true => Attributes::parse(text),
        false => Attributes::new("registry", [("ref", text)]),
    };
    if attributes.kind.is_empty() {
        let flag = if way == Way::To { "--cache-to" } else { "--cache-from" };
        return Err(Error::new(Kind::Usage, format!("{flag} {text}: there is no type="))
            .hint("for example `type=registry,ref=registry.example/team/cache`"));
    }
    if let Some(Err(cause)) = attributes.text("ref").map(str::parse::<Reference>) {
        return Err(Error::new(Kind::Usage, cause));
    }
    let mut wanted = Wanted { way, attributes };
    wanted.complete(env.get)?;
    wanted.check()?;
    Ok(wanted)
}
