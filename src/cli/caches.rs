//! `--cache-from` and `--cache-to`, as plain data.

use super::args;
use super::request::Environment;
use crate::attributes::Attributes;
use crate::error::{Error, Kind, Result};
use crate::registry::Reference;
use crate::remote::{Wanted, Way};

/// All caches of a build.
pub fn caches(args: &args::Build, env: &Environment<'_>) -> Result<Vec<Wanted>> {
    let from = args.cache_from.iter().map(|text| cache(Way::From, text, env));
    let mut all = from.chain(args.cache_to.iter().map(|text| cache(Way::To, text, env))).collect::<Result<Vec<_>>>()?;
    let is_inline = |wanted: &Wanted| wanted.way == Way::To && wanted.attributes.kind == "inline";
    if wants_inline(args, env) && !all.iter().any(is_inline) {
        all.push(cache(Way::To, "type=inline", env)?);
    }
    Ok(all)
}

/// Whether the build argument asks for an inline cache by which BuildKit takes that wish from older clients.
fn wants_inline(args: &args::Build, env: &Environment<'_>) -> bool {
    const NAME: &str = "BUILDKIT_INLINE_CACHE";
    let value = args.build_arg.iter().rev().find_map(|text| match text.split_once('=') {
        Some((name, value)) => (name == NAME).then(|| value.to_owned()),
        None => (text == NAME).then(|| (env.get)(NAME)).flatten(),
    });
    // What Go's strconv.ParseBool takes for true.
    value.is_some_and(|value| ["1", "t", "T", "true", "TRUE", "True"].contains(&value.as_str()))
}

/// `type=local,dest=x`, or the name of a repository.
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
