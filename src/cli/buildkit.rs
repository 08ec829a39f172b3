//! Build arguments and variables for BuildKit and buildx themselves, and their effect here. Those
//! that the frontend reads are only listed.

use super::request::Environment;
use base::attributes::Attributes;
use base::error::{Error, Kind, Result};
use base::words::bool_of;
use cache::{Wanted, Way};
use std::collections::BTreeMap;

type BuildArgs = BTreeMap<String, String>;

/// Build arguments that have the same effect as in BuildKit, or need none.
const HONOURED: &[&str] = &[
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DISABLE_FILEOP",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
];

/// Environment variables that would change the result in buildx.
const NOT_HONOURED: &[(&str, &str)] = &[
    ("BUILDX_GIT_LABELS", "the image gets no labels of the repository"),
    ("BUILDX_DEFAULT_POLICY", "no policy is applied"),
    ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "no policy is applied"),
];

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

fn is_on(args: &BuildArgs, name: &str) -> bool {
    args.get(name).and_then(|text| bool_of(text)).unwrap_or(false)
}

/// Warnings about settings that have no effect here.
pub(super) fn warnings(args: &BuildArgs, env: &Environment<'_>) -> Vec<String> {
    let unknown = |name: &&String| name.starts_with("BUILDKIT_") && !HONOURED.contains(&name.as_str());
    let of_args = args
        .keys()
        .filter(unknown)
        .map(|name| format!("the build argument {name} does nothing here, unless the Dockerfile reads it"));
    let set = |name: &str| (env.get)(name).is_some_and(|value| !value.is_empty() && bool_of(&value) != Some(false));
    let of_env = NOT_HONOURED
        .iter()
        .filter(|(name, _)| set(name))
        .map(|(name, what)| format!("the variable {name} does nothing here: {what}"));
    of_args.chain(of_env).collect()
}

/// Rejects build arguments with an impossible value.
pub(super) fn check(args: &BuildArgs) -> Result<()> {
    if args.get("BUILDKIT_SYNTAX").is_some_and(|text| text.trim().is_empty()) {
        return Err(usage("the build argument BUILDKIT_SYNTAX is empty")
            .hint("`--build-arg BUILDKIT_SYNTAX` without `=` takes it from the environment, if it is there"));
    }
    if is_on(args, "BUILDKIT_DISABLE_FILEOP") {
        return Err(usage("the build argument BUILDKIT_DISABLE_FILEOP asks for what BuildKit 0.11 took away"));
    }
    Ok(())
}

/// Turns BUILDKIT_INLINE_CACHE into `--cache-to type=inline`.
pub(super) fn inline_cache(args: &BuildArgs, caches: &[Wanted]) -> Option<Wanted> {
    let there = caches.iter().any(|cache| cache.way == Way::To && cache.attributes.kind == "inline");
    let wanted = is_on(args, "BUILDKIT_INLINE_CACHE") && !there;
    wanted.then(|| Wanted { way: Way::To, attributes: Attributes::new("inline", []) })
}

/// Reads BUILDKIT_MULTI_PLATFORM: true if the result is an index with a directory for each
/// platform, even for one.
pub(super) fn multi_platform(args: &BuildArgs, platforms: usize) -> Result<bool> {
    let Some(text) = args.get("BUILDKIT_MULTI_PLATFORM").filter(|text| !text.is_empty()) else { return Ok(false) };
    let multi = bool_of(text)
        .ok_or_else(|| usage(format!("the build argument BUILDKIT_MULTI_PLATFORM={text} is neither true nor false")))?;
    if !multi && platforms > 1 {
        return Err(usage(format!("BUILDKIT_MULTI_PLATFORM={text} does not go with {platforms} platforms")));
    }
    Ok(multi)
}

/// Reads BUILDKIT_CONTEXT_KEEP_GIT_DIR: true if repositories keep their `.git` by default.
pub fn keeps_git_dir(args: &BuildArgs) -> bool {
    is_on(args, "BUILDKIT_CONTEXT_KEEP_GIT_DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(pairs: &[(&str, &str)]) -> BuildArgs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_not_honoured_is_told() {
        let env = |name: &str| match name {
            "BUILDX_GIT_LABELS" => Some("full".to_owned()),
            "BUILDX_DEFAULT_POLICY" => Some("0".to_owned()),
            "BUILDX_BUILDER" | "BUILDX_NO_DEFAULT_ATTESTATIONS" => Some("1".to_owned()),
            _ => None,
        };
        let given = args(&[("BUILDKIT_SBOM_SCAN_STAGE", "1"), ("BUILDKIT_INLINE_CACHE", "1"), ("OTHER", "1")]);
        let told = warnings(&given, &Environment { get: &env });
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("BUILDKIT_SBOM_SCAN_STAGE") && told[1].contains("BUILDX_GIT_LABELS"), "{told:?}");
    }

    #[test]
    fn an_inline_cache_is_asked_for_once() {
        let on = args(&[("BUILDKIT_INLINE_CACHE", "True")]);
        let made = inline_cache(&on, &[]).expect("a cache");
        assert!(made.way == Way::To && made.attributes.kind == "inline");
        assert!(inline_cache(&on, &[made]).is_none());
        for off in ["0", "false", "", "yes"] {
            assert!(inline_cache(&args(&[("BUILDKIT_INLINE_CACHE", off)]), &[]).is_none(), "{off}");
        }
    }

    #[test]
    fn the_form_of_several_platforms_is_asked_for_or_refused() {
        let of = |text: &str, platforms| multi_platform(&args(&[("BUILDKIT_MULTI_PLATFORM", text)]), platforms).ok();
        assert_eq!((of("1", 1), of("", 2), of("0", 1)), (Some(true), Some(false), Some(false)));
        assert_eq!((of("false", 2), of("maybe", 1)), (None, None));
        assert!(check(&args(&[("BUILDKIT_SYNTAX", " ")])).is_err());
        assert!(check(&args(&[("BUILDKIT_DISABLE_FILEOP", "1")])).is_err());
        assert!(keeps_git_dir(&args(&[("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "t")])));
    }
}
