//! Finds those of many patterns that can match a path, by a text that every match of a pattern contains. Knows no order
//! and no `!`.
//!
//! - A pattern without wildcards is looked up by the whole path, `**/name` by the last name.
//! - Of any other, one text between its wildcards is searched for, all of them in one pass (Aho-Corasick): the text
//!   that the fewest other patterns have too, since it says the most.
//! - What is left (`*`, `?`, `**/*`) can always match.

use crate::glob::Glob;
use aho_corasick::AhoCorasick;
use std::collections::HashMap;

/// Finds the patterns of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Patterns by the only path that they match.
    whole: HashMap<String, Vec<u32>>,
    /// Patterns by the last name of every path that they match.
    names: HashMap<String, Vec<u32>>,
    /// Searches for texts, and the patterns by the number of their text.
    search: Option<AhoCorasick>,
    texts: Vec<Vec<u32>>,
    always: Vec<u32>,
}

impl Index {
    pub(super) fn new<'a>(globs: impl Iterator<Item = &'a Glob> + Clone) -> Index {
        let mut index = Index::default();
        let mut shared: HashMap<&str, usize> = HashMap::new();
        globs.clone().flat_map(Glob::texts).for_each(|text| *shared.entry(text).or_default() += 1);
        let mut texts: Vec<&str> = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for (at, glob) in (0..).zip(globs) {
            // The text that is shared least; of those, the longest.
            let rank = |text: &&str| (shared.get(text).copied().unwrap_or(0), usize::MAX - text.len());
            if glob.is_literal() {
                index.whole.entry(glob.literal_prefix().to_owned()).or_default().push(at);
            } else if let Some(name) = glob.name_anywhere() {
                index.names.entry(name.to_owned()).or_default().push(at);
            } else if let Some(text) = glob.texts().min_by_key(rank) {
                let number = *numbers.entry(text).or_insert_with(|| {
                    texts.push(text);
                    index.texts.push(Vec::new());
                    texts.len() - 1
                });
                index.texts[number].push(at);
            } else {
                index.always.push(at);
            }
        }
        if !texts.is_empty() {
            index.search = AhoCorasick::new(&texts).ok();
        }
        if index.search.is_none() {
            // More than can be searched for.
            index.always.extend(index.texts.drain(..).flatten());
            index.always.sort_unstable();
        }
        index
    }

    /// The patterns that can match a path, in order.
    pub(super) fn candidates(&self, path: &str) -> Vec<u32> {
        let mut found = self.always.clone();
        found.extend(self.whole.get(path).into_iter().flatten());
        if !self.names.is_empty() {
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            found.extend(self.names.get(name).into_iter().flatten());
        }
        if let Some(search) = &self.search {
            let matches = search.find_overlapping_iter(path);
            found.extend(matches.flat_map(|found| &self.texts[found.pattern().as_usize()]));
        }
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        found
    }
}

/// Where exceptions may lie.
#[derive(Clone, Debug, Default)]
pub(super) struct Exceptions {
    /// The beginnings of their paths, in order.
    begins: Vec<String>,
    /// The beginnings of those with wildcards, in order; none begins with another.
    open: Vec<String>,
}

impl Exceptions {
    pub(super) fn new<'a>(globs: impl Iterator<Item = &'a Glob>) -> Exceptions {
        let mut exceptions = Exceptions::default();
        for glob in globs {
            exceptions.begins.push(glob.literal_prefix().to_owned());
            if !glob.is_literal() {
                exceptions.open.push(glob.literal_prefix().to_owned());
            }
        }
        exceptions.begins.sort_unstable();
        exceptions.open.sort_unstable();
        // In order, what another begins with stands right before all that begin with it.
        exceptions.open.dedup_by(|later, kept| later.starts_with(kept.as_str()));
        exceptions
    }

    /// True if a path below a directory may be an exception.
    pub(super) fn may_be_below(&self, dir: &str) -> bool {
        if self.begins.is_empty() {
            return false;
        }
        let below = format!("{dir}/");
        let next = self.begins.partition_point(|begin| *begin < below);
        let inside = self.begins.get(next).is_some_and(|begin| begin.starts_with(&below));
        // Since none begins with another, only the greatest that is not greater can be its beginning.
        let next = self.open.partition_point(|begin| *begin <= below);
        let open = next.checked_sub(1).and_then(|at| self.open.get(at));
        inside || open.is_some_and(|begin| below.starts_with(begin.as_str()))
    }
}
