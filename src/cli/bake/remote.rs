//! Definitions elsewhere: a git repository, an archive, or one file behind a URL.

use super::Definition;
use super::{files, plan};
use crate::cli::request::Environment;
use crate::request::{BuildRequest, fetch};
use crate::source::context::read_beneath;
use ::bake::command::{Plan, default_files};
use ::bake::problem::Source;
use ::bake::remote::is_remote;
use ::bake::target::is_path;
use base::clock::now;
use base::error::{Error, Kind, Result};
use layer::Layers;
use solver::Observer;
use std::path::{Component, Path, PathBuf};

/// A single file may be this large.
const LARGEST: usize = 2 << 20;

/// Operands that begin with a URL.
pub(super) struct Address<'a> {
    /// Where the definition is.
    pub url: &'a str,
    /// BAKE_CMD_CONTEXT.
    pub context: Option<&'a str>,
    /// Targets.
    pub targets: &'a [String],
}

/// Where the definition is, if it is elsewhere.
pub(super) fn address(operands: &[String]) -> Option<Address<'_>> {
    let (url, rest) = operands.split_first().filter(|(first, _)| is_remote(first))?;
    Some(match rest.split_first().filter(|(second, _)| is_remote(second)) {
        Some((context, targets)) => Address { url, context: Some(context), targets },
        None => Address { url, context: None, targets: rest },
    })
}

/// Fetches a definition.
pub(super) fn fetch(
    url: &str,
    named: &[String],
    env: &Environment<'_>,
    layers: &Layers,
    observer: &dyn Observer,
) -> Result<Definition> {
    let mut line = vec!["kiln".to_owned(), "build".to_owned()];
    for id in ["GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"] {
        let variable = format!("BUILDX_BAKE_{id}");
        if (env.get)(&variable).is_some_and(|value| !value.is_empty()) {
            line.push(format!("--secret=id={id},env={variable}"));
        }
    }
    if let Some(paths) = (env.get)("BUILDX_BAKE_GIT_SSH").filter(|paths| !paths.is_empty()) {
        line.push(format!("--ssh=default={paths}"));
    }
    line.extend(["--".to_owned(), url.to_owned()]);
    let mut request = BuildRequest::of(&plan::parsed(line, url)?, env, now())?;
    // With a Dockerfile of its own, none is looked for in the tree.
    const NONE: &[u8] = b"#\n";
    request.dockerfile = NONE.to_vec();
    request.dockerfile_path = None;
    let stop = sandbox::Stop::default();
    fetch::fetch_context(&mut request, layers.store(), &stop, observer)?;
    let Some(folder) = request.fetched.clone() else {
        if request.dockerfile.len() > LARGEST {
            return Err(Error::new(Kind::Usage, format!("{url}: the definition is larger than 2 MiB")));
        }
        let mut sources = vec![Source { name: url.to_owned(), text: request.dockerfile }];
        let local: Vec<String> = named.iter().filter(|name| name.starts_with("cwd://")).cloned().collect();
        if !local.is_empty() {
            sources.extend(files::read(&local, env)?);
        }
        return Ok(Definition { sources, folder: None });
    };
    Ok(Definition { sources: read(&folder, named, env)?, folder: Some(folder) })
}

/// Reads the files that are named, or all usual ones that are there.
fn read(folder: &Path, named: &[String], env: &Environment<'_>) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    if named.is_empty() {
        for name in default_files().iter().filter(|name| folder.join(name).symlink_metadata().is_ok()) {
            sources.push(Source { name: (*name).to_owned(), text: read_beneath(folder, Path::new(name))? });
        }
    }
    for name in named {
        if name == "-" || name.starts_with("cwd://") {
            sources.extend(files::read(std::slice::from_ref(name), env)?);
        } else {
            let text = read_beneath(folder, Path::new(name)).map_err(|error| {
                Error::new(Kind::Usage, format!("the definition's tree has no file `{name}`")).because(error)
            })?;
            sources.push(Source { name: name.clone(), text });
        }
    }
    Ok(sources)
}

/// Finds the contexts that are paths of the tree. None may lead out of it.
pub(super) fn place(plan: &mut Plan, folder: &Path) -> Result<()> {
    for (name, target) in &mut plan.selection.targets {
        for context in target.contexts.values_mut().filter(|context| is_path(context)) {
            *context = text(&within(folder, context)?);
        }
        if !target.inside {
            continue;
        }
        let context = within(folder, target.context.as_deref().unwrap_or("."))?;
        let dockerfile = target.dockerfile.as_deref().unwrap_or("Dockerfile");
        if target.dockerfile_inline.is_none() && !dockerfile.starts_with("cwd://") {
            let file = within(&context, dockerfile).map_err(|error| plan::of_target(error, name))?;
            target.dockerfile = Some(text(&file));
        }
        target.context = Some(text(&context));
    }
    Ok(())
}

/// A path of the tree. `..` at its root stays there; a link out of it is refused.
fn within(folder: &Path, path: &str) -> Result<PathBuf> {
    let mut found = folder.to_owned();
    let mut depth = 0_usize;
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => {
                found.push(name);
                depth += 1;
            }
            Component::ParentDir if depth > 0 => {
                found.pop();
                depth -= 1;
            }
            _ => {}
        }
    }
    let refuse = |why: String| Error::new(Kind::Usage, format!("{path}: {why}"));
    let real =
        found.canonicalize().map_err(|cause| refuse("the definition's tree has no such path".into()).because(cause))?;
    let root = folder.canonicalize().map_err(|cause| refuse("the tree is gone".into()).because(cause))?;
    if real.starts_with(&root) { Ok(real) } else { Err(refuse("this link leads out of the definition's tree".into())) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_tree() {
        let folder = tempfile::tempdir().expect("it works");
        let root = folder.path().canonicalize().expect("it works");
        std::fs::create_dir_all(root.join("tree/app")).expect("it works");
        std::os::unix::fs::symlink("/", root.join("tree/out")).expect("it works");
        let tree = root.join("tree");
        for path in ["app", "/app", "../../app", "app/../app/."] {
            assert_eq!(within(&tree, path).expect("it works"), tree.join("app"), "{path}");
        }
        assert!(within(&tree, "out").is_err() && within(&tree, "out/etc").is_err() && within(&tree, "none").is_err());
    }

    #[test]
    fn a_url_comes_first() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let all = words(&["https://h.test/a.git", "git://h.test/b", "app"]);
        let found = address(&all).expect("it works");
        assert_eq!(
            (found.url, found.context, found.targets),
            ("https://h.test/a.git", Some("git://h.test/b"), &all[2..])
        );
        assert!(address(&words(&["app", "https://h.test/a.git"])).is_none() && address(&[]).is_none());
    }
}
