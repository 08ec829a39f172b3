//! The paths of sources as text: cleans them, splits them at the first wildcard and at the pivot of
//! `--parents`, and makes the error for a missing source. This module does not copy.

use base::error::{Error, Kind, Result};
use base::words::distance_of;
use frontend::glob::Glob;
use layer::files::{Files, resolve};
use layer::tree::{child, show};

/// Distances take quadratic time, so longer names, and larger directories, get no hint.
const MAX_HINT_NAME: usize = 100;
const MAX_HINT_NAMES: usize = 10_000;

/// The parts of a path without empty ones and dots; `..` removes the part before it and stops at
/// the root.
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

/// True if a path or a part of one is a pattern.
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

/// Splits a source of `--parents` into the directory that is left out and the pattern that is kept.
pub(super) fn pivot(path: &str) -> (&str, &str) {
    path.split_once("/./").unwrap_or(("", path))
}

/// The paths that a source means, in order; links at their end are not followed. A path without
/// wildcards means itself, even if it is missing; wildcards may match nothing.
///
/// As in BuildKit, the path before the first wildcard is resolved, and the rest is matched part by
/// part against the existing files: `**` equals `*`, and no link is followed.
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
        // An invalid pattern matches nothing.
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

/// The error for a missing source, with a similar name as a hint.
pub(super) fn missing(files: &dyn Files, path: &[u8]) -> Error {
    let error = Error::new(Kind::Dockerfile, format!("`{}` was not found", show(path)));
    match near(files, path) {
        Some(near) => error.hint(format!("did you mean `{}`?", show(&near))),
        None => error,
    }
}

/// The path with its first missing part replaced by the most similar existing name.
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

/// The edit distance of two names, ignoring case.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().max(b.len()) > MAX_HINT_NAME {
        return usize::MAX;
    }
    distance_of(&a.to_ascii_lowercase(), &b.to_ascii_lowercase())
}
