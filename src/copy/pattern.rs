//! The paths of sources as text: cleaned, split at their first wildcard, split at the pivot of `--parents`; and what
//! to say for a source that is not there. Knows nothing of copying.

use base::error::{Error, Kind, Result};
use base::words::distance_of;
use frontend::glob::Glob;
use layer::files::{Files, resolve};
use layer::tree::{child, show};

/// Distances are quadratic; nobody wants a hint for longer names, or out of so many.
const MAX_HINT_NAME: usize = 100;
const MAX_HINT_NAMES: usize = 10_000;

/// The parts of a path without empty ones and dots; `..` takes the one before away and stops at the root.
pub(super) fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// Whether a path or a part of one is a pattern.
pub(super) fn is_pattern(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    false
}

/// A source of `--parents`: the directory that is left away and the pattern that is kept below it.
pub(super) fn pivot(path: &str) -> (&str, &str) {
    path.split_once("/./").unwrap_or(("", path))
}

/// The paths that a source means, in order, links not yet followed at their end. A path without wildcards
/// means itself, whether it is there or not; wildcards may match nothing.
///
/// As in BuildKit, what stands before the first wildcard is resolved, what comes after it is matched part by part
/// against what really is there: `**` is no more than `*`, and no link is followed.
pub(super) fn expand(files: &dyn Files, path: &str) -> Result<Vec<Box<[u8]>>> {
    let parts = parts(path);
    let literal = parts.iter().take_while(|part| !is_pattern(part)).count();
    let (before, patterns) = parts.split_at(literal);
    let before = before.join("/").into_bytes();
    if patterns.is_empty() {
        return Ok(vec![before.into()]);
    }
    let found = resolve(files, &before)?;
    if found.entry.is_none() {
        return Err(missing(files, &before));
    }
    let mut level = match found.entry.is_some_and(|entry| entry.node.is_dir()) {
        true => vec![found.path],
        false => Vec::new(),
    };
    for (depth, pattern) in patterns.iter().enumerate() {
        let last = depth + 1 == patterns.len();
        // A pattern that can't be read matches nothing.
        let Ok(glob) = Glob::new(pattern, false) else { return Ok(Vec::new()) };
        let mut next = Vec::new();
        for dir in level {
            for name in files.list(&dir)? {
                let path = child(&dir, &name);
                if glob.matches(&String::from_utf8_lossy(&name)) && (last || is_dir(files, &path)?) {
                    next.push(path);
                }
            }
        }
        level = next;
    }
    Ok(level)
}

fn is_dir(files: &dyn Files, path: &[u8]) -> Result<bool> {
    Ok(files.lookup(path)?.is_some_and(|entry| entry.node.is_dir()))
}

/// The error for a source that is not there, with the name that was perhaps meant.
pub(super) fn missing(files: &dyn Files, path: &[u8]) -> Error {
    let error = Error::new(Kind::Dockerfile, format!("`{}` was not found", show(path)));
    match near(files, path) {
        Some(near) => error.hint(format!("did you mean `{}`?", show(&near))),
        None => error,
    }
}

/// The path with its first missing part replaced by the most similar name there is.
fn near(files: &dyn Files, path: &[u8]) -> Option<Box<[u8]>> {
    let (mut here, mut at) = (Box::<[u8]>::default(), 0);
    for part in path.split(|byte| *byte == b'/') {
        at += part.len() + 1;
        let found = resolve(files, &child(&here, part)).ok()?;
        if found.entry.is_some() {
            here = found.path;
            continue;
        }
        let names = files.list(&here).ok()?;
        let limit = (part.len() / 3).max(1);
        let distances = names.into_iter().take(MAX_HINT_NAMES).map(|name| (distance(part, &name), name));
        let (_, name) = distances.filter(|(distance, _)| *distance <= limit).min()?;
        let before = path.get(..at - 1 - part.len()).unwrap_or_default();
        return Some([before, &name, path.get(at - 1..).unwrap_or_default()].concat().into());
    }
    None
}

/// How far two names are from each other, no matter the case.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().max(b.len()) > MAX_HINT_NAME {
        return usize::MAX;
    }
    distance_of(&a.to_ascii_lowercase(), &b.to_ascii_lowercase())
}
