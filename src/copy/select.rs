//! What a copy takes: the sources found, patterns matched, directories walked, all with their content digests.

use super::base_name;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::layer::files::{Files, resolve, resolve_parent};
use crate::layer::tree::{Entry, Node, Time, child, parent};
use frontend::diagnostic::closest;
use frontend::glob::{Glob, has_wildcards};
use frontend::ignore::{Ignore, Matched};
use frontend::op::{self, CopySource};
use rayon::prelude::*;
use std::collections::HashMap;

/// Everything that is copied.
#[derive(Debug)]
pub struct Selection {
    /// One a source that was found.
    pub(super) groups: Vec<Group>,
    digest: Digest,
}

/// What one source amounts to.
#[derive(Debug)]
pub(super) struct Group {
    /// Which input it is from.
    pub(super) input: usize,
    /// The name of a file that goes into a directory.
    pub(super) name: Box<[u8]>,
    /// A directory before what is in it; for a file one item without a path.
    pub(super) items: Vec<Item>,
    /// It is more than one file: the destination is a directory.
    pub(super) rooted: bool,
    /// It is what is in one directory, which becomes the destination.
    pub(super) whole: bool,
}

/// One path that is copied.
#[derive(Debug)]
pub(super) struct Item {
    /// Relative to the destination.
    pub(super) path: Box<[u8]>,
    /// Where it is in the source.
    pub(super) source: Box<[u8]>,
    pub(super) entry: Entry,
    digest: Option<Digest>,
    pub(super) inline: Option<Vec<u8>>,
}

impl Group {
    /// A single file, not a directory.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.items.as_slice(), [one] if one.path.is_empty() && matches!(one.entry.node, Node::File { .. }))
    }
}

impl Selection {
    /// What enters a key: everything but times and where the sources were.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Finds the sources of a copy. `files` gives an input by its place.
pub fn select<'a>(copy: &op::Copy, files: &dyn Fn(usize) -> Result<&'a dyn Files>) -> Result<Selection> {
    let exclude = if copy.exclude.is_empty() { None } else { Some(patterns(&copy.exclude)?) };
    let mut groups = Vec::new();
    for source in &copy.sources {
        match source {
            CopySource::Inline { name, data } => groups.push(inline(name, data)),
            CopySource::Tree { input, path } => groups.push(tree(files(*input)?, *input, path)?),
            CopySource::Path { input, path } if copy.parents => groups.push(with_parents(files(*input)?, *input, path, exclude.as_ref())?),
            CopySource::Path { input, path } => {
                let walk = Walk { files: files(*input)?, input: *input, exclude: exclude.as_ref() };
                for found in walk.matches(path)? {
                    groups.push(walk.group(&found)?);
                }
            }
        }
    }
    hash_files(&mut groups, files)?;
    let digest = digest(&groups);
    Ok(Selection { groups, digest })
}

fn patterns(texts: &[String]) -> Result<Ignore> {
    Ignore::from_patterns(texts).map_err(|error| Error::new(Kind::Dockerfile, format!("--exclude: {}", error.message)))
}

fn inline(name: &str, data: &[u8]) -> Group {
    let node = Node::File { size: data.len() as u64, digest: None, offset: None };
    let entry = Entry { node, mode: 0o644, ..Entry::directory(b"", Time::default()) };
    let item = Item { path: Box::default(), source: Box::default(), entry, digest: Some(Digest::of(data)), inline: Some(data.to_vec()) };
    Group { input: usize::MAX, name: base_name(name.as_bytes()), items: vec![item], rooted: false, whole: false }
}

struct Walk<'a> {
    files: &'a dyn Files,
    input: usize,
    exclude: Option<&'a Ignore>,
}

/// Go's path.Clean on a path that begins at the root, without its slash.
fn clean(path: &str) -> Vec<u8> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            let _nothing_above_the_root = parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/").into_bytes()
}

impl Walk<'_> {
    /// The paths that a source names: itself, or all that its pattern matches.
    fn matches(&self, source: &str) -> Result<Vec<Box<[u8]>>> {
        let path = clean(source);
        let text = String::from_utf8_lossy(&path).into_owned();
        if !has_wildcards(&text) {
            let found = resolve(self.files, &path)?;
            return match found.entry {
                Some(_) => Ok(vec![path.into()]),
                None => Err(not_found(self.files, source, &path)),
            };
        }
        let mut found = vec![Box::<[u8]>::default()];
        for part in text.split('/') {
            let glob = Glob::new(part, false).map_err(|_| Error::new(Kind::Dockerfile, format!("syntax error in pattern `{source}`")))?;
            let mut next = Vec::new();
            for dir in &found {
                let real = resolve(self.files, dir)?;
                if !real.entry.is_some_and(|entry| entry.is_dir()) {
                    continue;
                }
                for name in self.files.list(&real.path)? {
                    if glob.matches(&String::from_utf8_lossy(&name)) {
                        next.push(child(dir, &name));
                    }
                }
            }
            found = next;
        }
        Ok(found)
    }

    /// A source that exists: a directory stands for what is in it. Links in its own path are followed.
    fn group(&self, path: &[u8]) -> Result<Group> {
        let found = resolve(self.files, path)?;
        let entry = found.entry.ok_or_else(|| not_found(self.files, &String::from_utf8_lossy(path), path))?;
        let mut group = Group { input: self.input, name: base_name(path), items: Vec::new(), rooted: false, whole: false };
        if entry.is_dir() {
            self.below(&found.path, &mut |path, source, entry| {
                group.items.push(Item { path, source, entry, digest: None, inline: None });
            })?;
            // Marks the group as a directory even if there is nothing in it.
            (group.rooted, group.whole) = (true, true);
        } else {
            let item = Item { path: Box::default(), source: found.path, entry, digest: None, inline: None };
            let name = String::from_utf8_lossy(&group.name).into_owned();
            if !self.exclude.is_some_and(|exclude| exclude.ignored(&name)) {
                group.items.push(item);
            }
        }
        Ok(group)
    }

    /// Everything below a directory, with paths relative to it. What is excluded is left out, but for the way to
    /// an exception.
    fn below(&self, dir: &[u8], take: &mut dyn FnMut(Box<[u8]>, Box<[u8]>, Entry)) -> Result<()> {
        let mut todo: Vec<(Box<[u8]>, Matched)> = vec![(Box::default(), Matched::default())];
        let mut ways: Vec<(Box<[u8]>, Box<[u8]>, Entry)> = Vec::new();
        while let Some((inside, matched)) = todo.pop() {
            let at = join(dir, &inside);
            for name in self.files.list(&at)? {
                let (path, source) = (child(&inside, &name), child(&at, &name));
                let Some(entry) = self.files.lookup(&source)? else { continue };
                let (ignored, handed) = match self.exclude {
                    Some(exclude) => exclude.enter(&String::from_utf8_lossy(&path), &matched),
                    None => (false, Matched::default()),
                };
                if entry.is_dir() {
                    let text = String::from_utf8_lossy(&path).into_owned();
                    if !ignored || self.exclude.is_some_and(|exclude| exclude.may_hold_exception(&text)) {
                        todo.push((path.clone(), handed));
                    }
                    if ignored {
                        ways.push((path, source, entry));
                        continue;
                    }
                }
                if !ignored {
                    // Directories that are only a way to this one.
                    ways.retain(|(way, at, entry)| {
                        let needed = path.len() > way.len() && path.starts_with(way) && path[way.len()] == b'/';
                        if needed {
                            take(way.clone(), at.clone(), entry.clone());
                        }
                        !needed
                    });
                    take(path, source, entry);
                }
            }
        }
        Ok(())
    }
}

fn join(dir: &[u8], inside: &[u8]) -> Box<[u8]> {
    match (dir.is_empty(), inside.is_empty()) {
        (_, true) => dir.into(),
        (true, false) => inside.into(),
        (false, false) => child(dir, inside),
    }
}

/// `--parents`: what matches, with its path from the root or from the `/./` in it.
fn with_parents(files: &dyn Files, input: usize, source: &str, exclude: Option<&Ignore>) -> Result<Group> {
    let (root, pattern) = source.split_once("/./").map_or(("/", source), |(root, pattern)| (root, pattern));
    let (root, pattern) = (clean(root), clean(pattern));
    let root = resolve(files, &root)?.path;
    let text = String::from_utf8_lossy(&pattern).into_owned();
    let mut group = Group { input, name: Box::default(), items: Vec::new(), rooted: true, whole: false };
    let mut add = |path: Box<[u8]>, entry: Entry| {
        let source = join(&root, &path);
        group.items.push(Item { path, source, entry, digest: None, inline: None });
    };
    if has_wildcards(&text) {
        let wanted = patterns(&[text])?;
        let mut found = Vec::new();
        Walk { files, input, exclude }.below(&root, &mut |path, _, entry| found.push((path, entry)))?;
        for (path, entry) in found {
            if wanted.ignored(&String::from_utf8_lossy(&path)) {
                ways(files, &root, &path, &mut add)?;
                add(path, entry);
            }
        }
    } else {
        let at = join(&root, &pattern);
        let Some(entry) = files.lookup(&at)? else { return Err(not_found(files, source, &at)) };
        ways(files, &root, &pattern, &mut add)?;
        if !pattern.is_empty() {
            add(pattern.clone().into(), entry.clone());
        }
        if entry.is_dir() {
            let walk = Walk { files, input, exclude: None };
            let mut found = Vec::new();
            walk.below(&at, &mut |inside, _, entry| found.push((join(&pattern, &inside), entry)))?;
            for (path, entry) in found.into_iter().filter(|(path, _)| !exclude.is_some_and(|exclude| exclude.ignored(&String::from_utf8_lossy(path)))) {
                add(path, entry);
            }
        }
    }
    dedup(&mut group);
    Ok(group)
}

/// The directories on the way to a path.
fn ways(files: &dyn Files, root: &[u8], path: &[u8], add: &mut dyn FnMut(Box<[u8]>, Entry)) -> Result<()> {
    for prefix in super::prefixes(parent(path)) {
        if let Some(entry) = files.lookup(&join(root, prefix))? {
            add(prefix.into(), entry);
        }
    }
    Ok(())
}

/// A path for a mount: with every link on the way to it, and what they lead to.
fn tree(files: &dyn Files, input: usize, source: &str) -> Result<Group> {
    let mut group = Group { input, name: Box::default(), items: Vec::new(), rooted: true, whole: false };
    let mut todo = vec![clean(source)];
    let mut seen = 0;
    while let Some(path) = todo.pop() {
        seen += 1;
        if seen > 255 {
            return Err(Error::new(Kind::Dockerfile, format!("too many levels of symbolic links on `{source}`")));
        }
        // The first link on the way is taken as it is; then what it stands for.
        let mut link = None;
        for prefix in super::prefixes(&path) {
            let Some(entry) = files.lookup(prefix)? else { return Err(not_found(files, source, prefix)) };
            group.items.push(Item { path: prefix.into(), source: prefix.into(), entry: entry.clone(), digest: None, inline: None });
            if let Node::Symlink { target } = &entry.node {
                let rest = &path[prefix.len()..];
                let base: &[u8] = if target.starts_with(b"/") { b"" } else { parent(prefix) };
                link = Some([base, b"/", target, rest].concat());
                break;
            }
        }
        match link {
            Some(next) => todo.push(clean(&String::from_utf8_lossy(&next))),
            None => {
                let found = resolve_parent(files, &path)?;
                if found.entry.is_some_and(|entry| entry.is_dir()) {
                    let walk = Walk { files, input, exclude: None };
                    walk.below(&path, &mut |inside, at, entry| {
                        group.items.push(Item { path: join(&path, &inside), source: at, entry, digest: None, inline: None });
                    })?;
                }
            }
        }
    }
    dedup(&mut group);
    Ok(group)
}

fn dedup(group: &mut Group) {
    group.items.sort_by(|one, two| crate::layer::tree::order(&one.path, &two.path));
    group.items.dedup_by(|one, two| one.path == two.path);
}

fn hash_files<'a>(groups: &mut [Group], files: &dyn Fn(usize) -> Result<&'a dyn Files>) -> Result<()> {
    for group in groups.iter_mut().filter(|group| group.input != usize::MAX) {
        let source = files(group.input)?;
        group.items.par_iter_mut().try_for_each(|item| -> Result<()> {
            if matches!(item.entry.node, Node::File { .. }) {
                item.digest = Some(source.digest(&item.source)?);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn digest(groups: &[Group]) -> Digest {
    let mut hasher = Hasher::default();
    let part = |hasher: &mut Hasher, bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for group in groups {
        part(&mut hasher, b"group");
        // The name of a directory says nothing about the result.
        part(&mut hasher, if group.rooted { b"" } else { &group.name });
        let mut links: HashMap<u32, usize> = HashMap::new();
        for (at, item) in group.items.iter().enumerate() {
            let Item { path, entry, digest, .. } = item;
            part(&mut hasher, path);
            match &entry.node {
                Node::Dir { .. } => part(&mut hasher, b"d"),
                Node::File { size, .. } => {
                    part(&mut hasher, b"f");
                    part(&mut hasher, &size.to_le_bytes());
                    part(&mut hasher, &digest.map_or([0; 32], |digest| digest.0));
                }
                Node::Symlink { target } => {
                    part(&mut hasher, b"l");
                    part(&mut hasher, target);
                }
                node => part(&mut hasher, format!("{node:?}").as_bytes()),
            }
            [entry.mode, entry.uid, entry.gid].iter().for_each(|number| part(&mut hasher, &number.to_le_bytes()));
            for (key, value) in &entry.xattrs {
                part(&mut hasher, key);
                part(&mut hasher, value);
            }
            let first = entry.link.map(|link| *links.entry(link).or_insert(at));
            part(&mut hasher, &first.filter(|first| *first != at).map_or(0, |first| first as u64 + 1).to_le_bytes());
        }
    }
    hasher.finish()
}

/// The message, with what was most likely meant.
fn not_found(files: &dyn Files, source: &str, path: &[u8]) -> Error {
    let error = Error::new(Kind::Dockerfile, format!("{source:?}: not found"));
    let (dir, last) = (parent(path), String::from_utf8_lossy(crate::layer::tree::name(path)).into_owned());
    let names: Vec<String> = files.list(dir).unwrap_or_default().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    match closest(&last, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("there is `{near}`")),
        None => error.hint("check the path; it is relative to the context, and .dockerignore may exclude it"),
    }
}
