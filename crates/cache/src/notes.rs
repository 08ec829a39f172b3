//! Notes which records other caches have, as far as builds on this machine have seen: those pushed
//! there and those read from there. A step that runs can then say that a cache has its result. This
//! makes no requests.
//!
//! ```text
//! <root>/remotes-v1/<64 hex of what --cache-from says>
//! ```
//! The file is text: the value for `--cache-from`, the title, then a line for each record: the
//! first 32 digits of its written key, the newest last. It contains no secrets.
//!
//! Locking rule: none. Files are written under a temporary name and renamed; of two builds at the
//! same time one may lose its notes. A build with all steps in the local cache reads and writes
//! nothing. The notes can be lost, and may be outdated, as others remove records too. GC rule: the
//! collector keeps them, because records that it removed here may still exist there. They are
//! limited here to 16 caches of 4096 records: 2 MB.

use crate::record;
use base::digest::Digest;
use base::read;
use solver::Key;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use store::Store;

/// A part of the directory's name.
const VERSION: u32 = 1;
/// The number of caches that are kept, and of records for each.
const MOST_PLACES: usize = 16;
const MOST_KEYS: usize = 4096;
/// The largest file in bytes.
const LARGEST: u64 = 1 << 20;

/// A cache in the notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The value for `--cache-from`.
    pub(super) from: String,
    /// The name for messages.
    pub(super) title: String,
}

/// The notes about one cache.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) place: Place,
    keys: Vec<String>,
}

impl Known {
    /// True if the cache had the record of a written key.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.keys.contains(&short(key))
    }
}

fn folder(root: &Path) -> PathBuf {
    root.join(format!("remotes-v{VERSION}"))
}

fn short(key: &Key) -> String {
    format!("{key}").chars().take(32).collect()
}

/// The notes about every cache, the most recently used first.
pub(super) fn load(root: &Path) -> Vec<Known> {
    newest(root).iter().take(MOST_PLACES).filter_map(|path| parse(path)).collect()
}

/// Notes the keys that a cache has, and removes those that it no longer has.
pub(super) fn save(store: &Store, place: &Place, found: &[Key], gone: &[Key]) {
    // Each is one line of the file, so it must not contain line feeds.
    if [&place.from, &place.title].iter().any(|text| text.contains(char::is_control)) {
        return;
    }
    let path = folder(store.root()).join(Digest::of(place.from.as_bytes()).hex());
    let old = parse(&path).map(|known| known.keys).unwrap_or_default();
    let found: Vec<String> = found.iter().map(short).collect();
    let out: HashSet<String> = gone.iter().map(short).chain(found.iter().cloned()).collect();
    let mut keys: Vec<&String> = old.iter().filter(|key| !out.contains(*key)).collect();
    if found.is_empty() && keys.len() == old.len() {
        return;
    }
    keys.extend(&found);
    let skip = keys.len().saturating_sub(MOST_KEYS);
    let mut text = format!("{}\n{}\n", place.from, place.title);
    keys[skip..].iter().for_each(|key| text.extend([key.as_str(), "\n"]));
    record::remember(store, &path, text.as_bytes());
    for old in newest(store.root()).iter().skip(MOST_PLACES) {
        // Another build may have removed it first.
        let _ = fs::remove_file(old);
    }
}

fn parse(path: &Path) -> Option<Known> {
    let text = String::from_utf8(read::at_most(LARGEST, File::open(path).ok()?).ok()??).ok()?;
    let mut lines = text.lines().map(str::to_owned);
    let place = Place { from: lines.next()?, title: lines.next()? };
    Some(Known { place, keys: lines.take(MOST_KEYS).collect() })
}

/// The note files, the newest first.
fn newest(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(root)).into_iter().flatten().flatten();
    let mut all: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    all.sort_by(|one, two| two.cmp(one));
    all.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use solver::key::key_of;

    fn place(number: usize) -> Place {
        Place { from: format!("type=local,src=/cache/{number}"), title: format!("local /cache/{number}") }
    }

    #[test]
    fn what_was_seen_is_noted_bounded_and_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let key = |number: usize| key_of(move |to: &mut dyn solver::Manifest| to.text("n", &number.to_string()));
        save(&store, &place(0), &[], &[key(1)]);
        assert!(load(dir.path()).is_empty(), "nothing to note");
        save(&store, &place(0), &[key(1), key(2)], &[]);
        save(&store, &place(0), &[key(3)], &[key(1), key(3)]);
        let known = load(dir.path());
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].place, place(0));
        assert_eq!([1, 2, 3].map(|number| known[0].has(&key(number))), [false, true, true]);

        let many: Vec<Key> = (0..MOST_KEYS).map(|number| key(number + 10)).collect();
        save(&store, &place(0), &many, &[]);
        let known = &load(dir.path())[0];
        assert!(!known.has(&key(2)) && known.has(&many[0]) && known.has(&many[MOST_KEYS - 1]));

        (1..=MOST_PLACES).for_each(|number| save(&store, &place(number), &[key(1)], &[]));
        let known = load(dir.path());
        assert_eq!(known.len(), MOST_PLACES);
        assert_eq!(fs::read_dir(folder(dir.path())).expect("a folder").count(), MOST_PLACES);
    }

    #[test]
    fn what_is_damaged_is_not_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let key = key_of(|to: &mut dyn solver::Manifest| to.text("n", "1"));
        save(&store, &Place { from: "type=local,src=/a\nb".to_owned(), ..place(0) }, &[key], &[]);
        assert!(load(dir.path()).is_empty());
        save(&store, &place(0), &[key], &[]);
        for bytes in [&b""[..], b"one line", b"\xff\xfe\n\n"] {
            fs::write(&newest(dir.path())[0], bytes).expect("written");
            assert!(load(dir.path()).iter().all(|known| !known.has(&key)), "{bytes:?}");
        }
    }
}
