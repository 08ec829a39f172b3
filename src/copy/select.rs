//! Finds and walks the sources of a copy. Reads only the inputs; this module does not know the
//! target.
//!
//! As in BuildKit, a source is resolved with all links, also a link at its end; within a directory
//! links are copied as links. `--exclude` is matched against paths below each source and never
//! against a source itself, so it does not affect files that a wildcard names directly
//! (moby/buildkit#5489). A source without wildcards must exist.

use super::pattern::{self, is_pattern};
use super::selection::{Files as Taken, Item, Picked, Selection};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use frontend::ignore::{Ignore, Matched};
use frontend::op::{Copy, CopySource, Input, Unpack};
use layer::files::{Files, resolve};
use layer::tree::{Entry, Node, child, is_below, parent, split, worth_all_cores};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The files of the inputs that a copy reads.
pub type Sources<'s, 'a> = &'s dyn Fn(Input) -> Result<&'a dyn Files>;

/// More than any image has; beyond it the walk is looping.
const MAX_ITEMS: usize = 16 << 20;
/// The number of links followed in one path, as in `resolve`.
const MAX_LINKS: usize = 255;

/// Selects the files of `op`'s sources, and hashes all of them.
pub fn select(op: &Copy, sources: Sources<'_, '_>) -> Result<Selection> {
    let exclude = match op.exclude.is_empty() {
        true => None,
        false => Some(matcher(&op.exclude, "--exclude")?),
    };
    let mut picked = Vec::new();
    for (number, source) in op.sources.iter().enumerate() {
        match source {
            CopySource::Inline { .. } => picked.push(Picked::Inline(number)),
            CopySource::Path { input, path } | CopySource::Raw { input, path } => {
                let files = sources(*input)?;
                let unpack = op.unpack != Unpack::Never && matches!(source, CopySource::Path { .. });
                for mut taken in pick(op, files, path, exclude.as_ref())? {
                    taken.input = *input;
                    hash(files, &mut taken.items)?;
                    taken.unpack = unpack && matches!(taken.root().node, Node::File { .. });
                    picked.push(Picked::Path(taken));
                }
            }
            CopySource::Tree { input, path } => {
                let files = sources(*input)?;
                let mut items = way(files, path)?;
                hash(files, &mut items)?;
                picked.push(Picked::Path(Taken { input: *input, name: Box::default(), items, unpack: false }));
            }
        }
    }
    Ok(Selection::new(op, picked))
}

/// The digest of the content that a mount of a path shows: the path, with links followed, and
/// everything below it. `None` if it does not exist.
pub fn below(files: &dyn Files, path: &str) -> Result<Option<Digest>> {
    let path = pattern::parts(path).join("/").into_bytes();
    let Some(root) = resolve(files, &path)?.entry else { return Ok(None) };
    let mut items = walk(files, root, None, None)?;
    hash(files, &mut items)?;
    Ok(Some(Taken { input: 0, name: Box::default(), items, unpack: false }.shown()))
}

fn matcher(patterns: &[String], flag: &str) -> Result<Ignore> {
    Ignore::from_patterns(patterns)
        .map_err(|cause| Error::new(Kind::Dockerfile, format!("malformed pattern for `{flag}`")).because(cause.message))
}

/// The files of one source.
fn pick(op: &Copy, files: &dyn Files, path: &str, exclude: Option<&Ignore>) -> Result<Vec<Taken>> {
    let (path, kept) = if op.parents { pattern::pivot(path) } else { (path, "") };
    let include = Include::new(kept)?;
    let required = include.is_some() && !is_pattern(path) && !is_pattern(kept);
    let mut all = Vec::new();
    for path in pattern::expand(files, path)? {
        let root = resolve(files, &path)?.entry.ok_or_else(|| pattern::missing(files, &path))?;
        let name = split(&path).map_or(&b""[..], |(_, name)| name).into();
        let items = walk(files, root, include.as_ref(), exclude)?;
        let taken = Taken { input: 0, name, items, unpack: false };
        if required {
            require(files, &taken, &pattern::parts(kept).join("/").into_bytes())?;
        }
        all.push(taken);
    }
    Ok(all)
}

/// Fails unless a source of `--parents` without wildcards names a file that is copied. Links on the
/// way are not followed, and a link at the end is copied as a link. As in BuildKit, a link in the
/// root must have an existing target.
fn require(files: &dyn Files, taken: &Taken, kept: &[u8]) -> Result<()> {
    let path = if taken.root().path.is_empty() { kept.into() } else { child(&taken.root().path, kept) };
    let named = |item: &&Item| *item.entry.path == *path || is_below(&item.entry.path, &path);
    let there = match taken.items.iter().skip(1).find(named) {
        Some(Item { entry: Entry { path, node: Node::Symlink { .. }, .. }, .. }) if parent(path).is_empty() => {
            resolve(files, path)?.entry.is_some()
        }
        found => found.is_some(),
    };
    if there { Ok(()) } else { Err(pattern::missing(files, &path)) }
}

/// The filter of `--parents`, for paths below the directory that is left out.
struct Include {
    matcher: Ignore,
    /// The parts before the first wildcard: only these have to be read.
    literal: Vec<Box<[u8]>>,
}

impl Include {
    /// `None` for a source that means everything.
    fn new(kept: &str) -> Result<Option<Include>> {
        let parts = pattern::parts(kept);
        if parts.is_empty() {
            return Ok(None);
        }
        let matcher = matcher(&[parts.join("/")], "--parents")?;
        let plain = |part: &&&str| !part.contains(['*', '?', '[', '\\', '!']) && part.trim() == **part;
        let literal = parts.iter().take_while(plain).map(|part| part.as_bytes().into()).collect();
        Ok(Some(Include { matcher, literal }))
    }

    /// The only name in a directory that can lead to a match, if it is known.
    fn only(&self, depth: usize) -> Option<&[u8]> {
        self.literal.get(depth).map(|part| &**part)
    }
}

/// A directory whose children are being read.
struct Frame {
    /// The directory itself, until a file in it is selected.
    waiting: Option<Entry>,
    /// The result of the patterns for it.
    verdict: Verdict,
    children: std::vec::IntoIter<Entry>,
}

/// The result of `--exclude` and `--parents` for a path.
#[derive(Default)]
struct Verdict {
    excluded: bool,
    included: bool,
    exclude: Matched,
    include: Matched,
}

/// The filters of one source.
struct Filter<'a> {
    include: Option<&'a Include>,
    exclude: Option<&'a Ignore>,
}

impl Filter<'_> {
    /// True if everything is copied.
    fn is_empty(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    fn verdict(&self, below: &str, parent: &Verdict) -> Verdict {
        let mut verdict = Verdict { included: true, ..Verdict::default() };
        if let Some(exclude) = self.exclude {
            (verdict.excluded, verdict.exclude) = exclude.enter(below, &parent.exclude);
        }
        if let Some(include) = self.include {
            (verdict.included, verdict.include) = include.matcher.enter(below, &parent.include);
        }
        verdict
    }

    /// True if a path in the directory may be copied.
    fn enters(&self, below: &str, verdict: &Verdict) -> bool {
        !verdict.excluded || self.exclude.is_some_and(|exclude| exclude.may_hold_exception(below))
    }
}

/// The source and the selected paths below it; directories come before their content.
fn walk(files: &dyn Files, root: Entry, include: Option<&Include>, exclude: Option<&Ignore>) -> Result<Vec<Item>> {
    let skip = if root.path.is_empty() { 0 } else { root.path.len() + 1 };
    let filter = Filter { include, exclude };
    let mut frames = Vec::new();
    if root.node.is_dir() {
        if filter.is_empty() {
            files.ahead(&root.path)?;
        }
        let children = children(files, &root.path, include, 0)?;
        frames.push(Frame { waiting: None, verdict: Verdict::default(), children });
    }
    let mut items = vec![Item { entry: root, carried: false }];
    while let Some(frame) = frames.last_mut() {
        let Some(entry) = frame.children.next() else {
            frames.pop();
            continue;
        };
        let below = match filter.is_empty() {
            true => Cow::Borrowed(""),
            false => String::from_utf8_lossy(entry.path.get(skip..).unwrap_or_default()),
        };
        let verdict = filter.verdict(&below, &frame.verdict);
        let dir = (entry.node.is_dir() && filter.enters(&below, &verdict)).then(|| entry.path.clone());
        let mut waiting = None;
        if verdict.included && !verdict.excluded {
            let carried = frames.iter_mut().filter_map(|frame| frame.waiting.take());
            items.extend(carried.map(|entry| Item { entry, carried: true }));
            items.push(Item { entry, carried: false });
        } else {
            waiting = Some(entry);
        }
        if let Some(dir) = dir {
            let children = children(files, &dir, include, frames.len())?;
            frames.push(Frame { waiting, verdict, children });
        }
        if items.len() > MAX_ITEMS {
            return Err(Error::new(Kind::Dockerfile, format!("the source holds more than {MAX_ITEMS} files")));
        }
    }
    Ok(items)
}

/// A path with everything on the way to it from the root, including links: a mount of the path
/// needs them.
fn way(files: &dyn Files, path: &str) -> Result<Vec<Item>> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![pattern::parts(path).join("/").into_bytes()];
    for _ in 0..MAX_LINKS {
        let Some(path) = ahead.pop() else {
            let root = files.lookup(b"")?.ok_or_else(|| pattern::missing(files, b""))?;
            let entries = std::iter::once(root).chain(found.into_values());
            return Ok(entries.map(|entry| Item { entry, carried: false }).collect());
        };
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.chain((!path.is_empty()).then_some(path.len())) {
            let entry = files.lookup(&path[..end])?.ok_or_else(|| pattern::missing(files, &path))?;
            found.insert(entry.path.clone(), entry.clone());
            if let Node::Symlink { target } = &entry.node {
                let dir = if target.starts_with(b"/") {
                    &b""[..]
                } else {
                    split(&path[..end]).map_or(&b""[..], |(dir, _)| dir)
                };
                ahead.push(clean(&[dir, b"/", target, &path[end..]].concat()));
                break;
            }
        }
        if ahead.is_empty() {
            let end = files.lookup(&path)?.ok_or_else(|| pattern::missing(files, &path))?;
            let below = walk(files, end, None, None)?;
            found.extend(
                below
                    .into_iter()
                    .filter(|item| !item.entry.path.is_empty())
                    .map(|item| (item.entry.path.clone(), item.entry)),
            );
        }
    }
    Err(Error::new(Kind::Dockerfile, format!("`{path}` leads through too many symlinks")))
}

fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn children(
    files: &dyn Files,
    dir: &[u8],
    include: Option<&Include>,
    depth: usize,
) -> Result<std::vec::IntoIter<Entry>> {
    let entries = match include.and_then(|include| include.only(depth)) {
        Some(name) => files.lookup(&child(dir, name))?.into_iter().collect(),
        None => files.children(dir)?,
    };
    Ok(entries.into_iter())
}

/// Hashes every file, on all cores.
fn hash(files: &dyn Files, items: &mut [Item]) -> Result<()> {
    let unknown = |item: &&mut Item| matches!(item.entry.node, Node::File { digest: None, .. });
    let mut unknown: Vec<&mut Item> = items.iter_mut().filter(unknown).collect();
    let give = |item: &mut &mut Item| {
        let found = files.digest(&item.entry.path)?;
        if let Node::File { digest, .. } = &mut item.entry.node {
            *digest = Some(found);
        }
        Ok(())
    };
    match worth_all_cores(unknown.iter().map(|item| &item.entry.node)) {
        true => unknown.par_iter_mut().try_for_each(give),
        false => unknown.iter_mut().try_for_each(give),
    }
}
