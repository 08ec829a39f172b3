//! `--output` and `--push`: the destinations of images, as plain data.

use super::args;
use crate::export::Wanted;
use base::attributes::Attributes;
use base::error::{At as _, Error, Kind, Result};
use registry::Settings;
use std::path::{Component, Path, PathBuf};

/// The other settings that outputs need.
pub(super) struct Around<'a> {
    /// The time of the build in seconds since 1970: now, or SOURCE_DATE_EPOCH.
    pub(super) now: i64,
    pub(super) settings: &'a Settings,
    /// True if one platform is exported in the form of several.
    pub(super) multi: bool,
    /// True with `--allow buildx.local.delete`.
    pub(super) may_delete: bool,
}

/// All outputs.
pub(super) fn outputs(args: &args::Build, around: &Around<'_>) -> Result<Vec<Wanted>> {
    let texts = args.output.iter().filter(|text| !text.is_empty());
    let mut all: Vec<Attributes> = texts.map(|text| output(text)).collect::<Result<_>>()?;
    if args.push && !all.iter().any(|output| output.kind == "registry") {
        match all.iter_mut().find(|output| output.kind == "image") {
            Some(image) => image.set("push", "true"),
            None => all.push(Attributes::new("registry", [])),
        }
    }
    let wanted = |attributes| {
        let (names, settings) = (args.tag.clone(), around.settings.clone());
        let wanted = Wanted { attributes, names, now: around.now, settings, multi: around.multi };
        // The exporter is made now, because a wrong attribute must be reported before the build.
        crate::export::exporter(&wanted).map(|_| wanted)
    };
    let all: Vec<Wanted> = all.into_iter().map(wanted).collect::<Result<_>>()?;
    if all.iter().filter(|output| output.is_standard_output()).count() > 1 {
        return Err(Error::new(Kind::Usage, "several outputs can't all go to standard output").hint("give them files"));
    }
    all.iter().filter(|_| !around.may_delete).try_for_each(refuse_to_empty)?;
    Ok(all)
}

/// As in buildx, `mode=delete` works below the current directory; elsewhere it has to be allowed.
fn refuse_to_empty(output: &Wanted) -> Result<()> {
    let Some(dest) = output.emptied() else { return Ok(()) };
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).at("find", ".")?;
    let dest = resolved(&here.join(dest));
    if dest != here && dest.starts_with(&here) {
        return Ok(());
    }
    let text = format!("mode=delete would empty `{}`, which does not lie below the current directory", dest.display());
    Err(Error::new(Kind::Usage, text).hint("add `--allow buildx.local.delete` if that is meant"))
}

/// Resolves the links of a path, as far as it exists. The missing part will be created, so it
/// contains no links.
fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut there = path;
    loop {
        if let Ok(found) = there.canonicalize() {
            let mut whole = found;
            for part in rest.iter().rev() {
                match part {
                    Component::ParentDir => drop(whole.pop()),
                    Component::Normal(name) => whole.push(name),
                    _ => {}
                }
            }
            return whole;
        }
        let (Some(last), Some(parent)) = (there.components().next_back(), there.parent()) else {
            return path.to_owned();
        };
        rest.push(last);
        there = parent;
    }
}

/// Parses `type=oci,dest=x`, a directory, or `-`.
fn output(text: &str) -> Result<Attributes> {
    let output = match text {
        "-" => Attributes::new("tar", [("dest", text)]),
        _ if text.contains('=') => Attributes::parse(text),
        _ => Attributes::new("local", [("dest", text)]),
    };
    if output.kind.is_empty() {
        return Err(Error::new(Kind::Usage, format!("--output {text}: there is no type="))
            .hint("for example `type=oci,dest=image.tar`"));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(dest: &Path) -> Wanted {
        let dest = dest.display().to_string();
        let attributes = Attributes::new("local", [("dest", dest.as_str()), ("mode", "delete")]);
        Wanted { attributes, ..Wanted::default() }
    }

    #[test]
    fn only_a_folder_below_the_current_one_is_emptied_unasked() {
        let elsewhere = tempfile::tempdir().expect("a folder");
        for bad in [".", "..", "/", "x/..", "x/../..", "src/../../y"] {
            assert!(refuse_to_empty(&wanted(Path::new(bad))).is_err(), "{bad}");
        }
        assert!(refuse_to_empty(&wanted(elsewhere.path())).is_err());
        assert!(refuse_to_empty(&wanted(&elsewhere.path().join("new"))).is_err());
        for good in ["src", "no/such/folder", "x/../y"] {
            assert!(refuse_to_empty(&wanted(Path::new(good))).is_ok(), "{good}");
        }
        let copying = Wanted { attributes: Attributes::new("local", [("dest", "/")]), ..Wanted::default() };
        assert!(refuse_to_empty(&copying).is_ok());
    }
}
