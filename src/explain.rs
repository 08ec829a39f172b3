//! Explains why a step was not in the cache: finds the differences from the most similar earlier
//! run. It does not affect the solver, which has already decided. This module does not know
//! Dockerfiles; a step is an op with a name.
//!
//! ```text
//! <root>/explain-v1/
//!   steps/<64 hex>        JSON: the accounts of one Dockerfile and context, the newest first
//!   files/<64 hex>        the files of a copy (see `files`)
//!   removed               the records that the collector removed (see `removed`)
//!   builds/<time>-<pid>   JSON: the outcome of each step of one build (see `builds`)
//! ```
//!
//! An account is the op's description, read by the same walk as its key, and names for the content
//! of its inputs. On a miss the nearest account is searched: among those of the same Dockerfile and
//! context by text, position and fields, so that a renamed stage or an inserted line does not hide
//! it; for a Dockerfile that was never built here, among the most recent builds, by text alone. A
//! build in which every step is cached reads and writes nothing here.
//!
//! Locking rule: none. Files are written under a temporary name and renamed; of two builds at the
//! same time one may lose its accounts. All of it can be lost: then a step counts as never built.
//! GC rule: the collector keeps the newest of each.

mod account;
pub mod builds;
pub mod files;
pub mod removed;
mod words;

use crate::copy::Selection;
use account::{Account, Field};
use base::clock::since_1970;
use base::digest::Digest;
use base::sync::lock;
use cache::Elsewhere;
use frontend::op::{Op, Source};
use layer::rootfs::Rootfs;
use serde::{Deserialize, Serialize};
use solver::{Difference, Graph, Key, Miss, VertexId};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use store::Store;

/// A part of the directory's name.
const VERSION: u32 = 1;
/// The number of accounts kept for one Dockerfile and context, and of these for one position.
const MOST_ACCOUNTS: usize = 512;
const MOST_AT_A_PLACE: usize = 4;
/// The number of differences reported for a step; all of them are counted.
const MOST_DIFFERENCES: usize = 100;
/// The number of other Dockerfiles to compare with, if a Dockerfile was never built here.
const MOST_STRANGERS: usize = 4;
/// The number of Dockerfiles with accounts, the number of file lists, and the size of these lists
/// in bytes.
const MOST_PLACES: usize = 256;
const MOST_LISTS: usize = 512;
const LISTS_BYTES: u64 = 64 << 20;
/// The largest file in bytes.
const LARGEST: u64 = 64 << 20;

const INSTRUCTION: &str = "instruction";
const ARGUMENT: &str = "argument";
const ENVIRONMENT: &str = "environment";
const MOUNT: &str = "mount";
const OPTION: &str = "option";
const BASE: &str = "base";
const FILE: &str = "file";
const INPUT: &str = "input";
const REMOTE: &str = "remote";
const NEW: &str = "new";

/// Every word of [`Miss::cause`] with its meaning, for `kiln explain --help`.
pub const CAUSES: &[(&str, &str)] = &[
    (BASE, "the digest of a base image"),
    (INSTRUCTION, "the instruction's text"),
    (ARGUMENT, "a build argument"),
    (ENVIRONMENT, "a variable of ENV, or of the base"),
    (MOUNT, "a --mount"),
    (OPTION, "user, working directory, network, another flag"),
    (FILE, "a file that is copied: content, size, mode, owner"),
    (INPUT, "the result of an earlier step"),
    ("evicted", "it was cached, and `kiln prune` or the collection after a build removed it"),
    ("unfinished", "it was tried before, but failed or was stopped"),
    ("lost", "it was cached, but a part of it is gone or damaged"),
    ("no-cache", "--no-cache or --no-cache-filter"),
    ("times", "what it copies has other times than before, and something below it is new"),
    (REMOTE, "only another cache has it: one that the build does not name, or whose record is not used"),
    (NEW, "never built here"),
];

/// The directory below a store's root.
pub fn folder(root: &Path) -> PathBuf {
    root.join(format!("explain-v{VERSION}"))
}

/// True if `wanted` selects this step by its stage (`build`), its number (`2/4`, `build 2/4`), or a
/// part of its text.
pub fn names(wanted: &str, name: &str, stage: &str) -> bool {
    let Some((number, text)) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else { return false };
    let wanted = wanted.trim();
    if wanted.is_empty() || number == "internal" {
        return false;
    }
    let bare = wanted.trim_start_matches('[').trim_end_matches(']');
    let same = |one: &str| one.split_whitespace().eq(bare.split_whitespace());
    let fraction = number.split_whitespace().last().unwrap_or("");
    wanted.eq_ignore_ascii_case(stage) || same(number) || same(fraction) || wanted == name || text.contains(wanted)
}

/// A step that missed the cache.
pub struct Step<'a> {
    /// The graph of the step.
    pub graph: &'a Graph<Op>,
    /// Its vertex.
    pub id: VertexId,
    /// The outputs of its inputs.
    pub inputs: &'a [Option<Rootfs>],
    /// The selection of a copy, if it is known.
    pub selection: Option<Arc<Selection>>,
    /// True with `--no-cache`.
    pub fresh: bool,
    /// True if an earlier layer exists, but its files have other times than this build would set.
    pub retimed: bool,
    /// The written key of the step.
    pub written: Option<Key>,
    /// Another cache that has its result.
    pub elsewhere: Option<Elsewhere>,
}

/// The earlier builds of one Dockerfile and context, for comparison.
pub struct Explainer {
    store: Store,
    path: PathBuf,
    earlier: OnceLock<Earlier>,
}

/// Explains the misses of one graph.
pub struct Misses<'a> {
    explainer: &'a Explainer,
    /// The names of the build arguments.
    arguments: BTreeSet<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Vec<Account>,
    /// The misses: the index of the account in `now`, and the first cause in words.
    missed: HashMap<VertexId, (usize, String)>,
    /// The steps that ran again with the same result.
    same: HashSet<VertexId>,
}

/// The accounts of earlier builds.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Earlier {
    accounts: Vec<Account>,
    /// True if they belong to other Dockerfiles.
    #[serde(skip)]
    strangers: bool,
}

impl Explainer {
    /// The explainer for one Dockerfile and context, which `place` identifies.
    pub fn new(store: &Store, place: &str) -> Explainer {
        let path = folder(store.root()).join("steps").join(Digest::of(place.as_bytes()).hex());
        Explainer { store: store.clone(), path, earlier: OnceLock::new() }
    }

    /// Starts with a graph. `arguments` are the names of its build arguments.
    pub fn misses(&self, arguments: BTreeSet<String>) -> Misses<'_> {
        Misses { explainer: self, arguments, state: Mutex::default() }
    }

    fn load(&self) -> Earlier {
        if let Some(earlier) = read::<Earlier>(&self.path) {
            return earlier;
        }
        let paths = newest(&self.path.with_file_name("")).into_iter().take(MOST_STRANGERS);
        let accounts = paths.filter_map(|(path, _)| read::<Earlier>(&path)).flat_map(|earlier| earlier.accounts);
        Earlier { accounts: accounts.take(MOST_ACCOUNTS).collect(), strangers: true }
    }
}

impl Misses<'_> {
    /// The reason why a step runs.
    pub fn missed(&self, step: &Step<'_>) -> Miss {
        let mut state = lock(&self.state);
        let account = account_of(step, &self.arguments);
        let earlier = self.explainer.earlier.get_or_init(|| self.explainer.load());
        let like = |old: &&Account| account.likeness(old, earlier.strangers);
        // `max_by_key` returns the last maximum, which is the newest after `rev`.
        let nearest = earlier.accounts.iter().rev().max_by_key(like).filter(|old| like(old) > 0);
        let follows = state.follows(step);
        let here = self.explain(step, &account, nearest, follows.as_ref());
        let miss = step.elsewhere.as_ref().map_or(here.clone(), |place| words::only_in(place, here));
        let root = follows.filter(|_| miss.cause == INPUT).map_or(miss.text.clone(), |(_, root)| root);
        let place = state.now.len();
        state.now.push(account);
        state.missed.insert(step.id, (place, root));
        miss
    }

    /// Records that the step has a result, for comparison with the next miss.
    pub fn done(&self, id: VertexId, selection: Option<&Selection>) {
        if let Some(selection) = selection {
            files::save(&self.explainer.store, selection);
        }
        let mut state = lock(&self.state);
        let Some(&(place, _)) = state.missed.get(&id) else { return };
        if let Some(account) = state.now.get_mut(place) {
            account.done = true;
            account.selection = selection.map(|selection| selection.digest().to_string());
        }
    }

    /// Records that the result equals that of an earlier run, so later steps do not run because of
    /// it.
    pub fn came_out_the_same(&self, id: VertexId) {
        lock(&self.state).same.insert(id);
    }

    /// Saves the accounts of this build.
    pub fn save(&self) {
        let mut state = lock(&self.state);
        let mut accounts = std::mem::take(&mut state.now);
        if accounts.is_empty() {
            return;
        }
        accounts.reverse();
        // Another build may have saved its accounts meanwhile.
        accounts.extend(read::<Earlier>(&self.explainer.path).unwrap_or_default().accounts);
        let (mut seen, mut places) = (HashSet::new(), HashMap::<_, usize>::new());
        accounts.retain(|account| {
            let place = places.entry((account.stage.clone(), account.number)).or_default();
            *place += 1;
            *place <= MOST_AT_A_PLACE && seen.insert((account.stage.clone(), account.written.clone()))
        });
        accounts.truncate(MOST_ACCOUNTS);
        if let Ok(bytes) = serde_json::to_vec(&Earlier { accounts, strangers: false }) {
            write(&self.explainer.store, &self.explainer.path, &bytes);
        }
        let folder = folder(self.explainer.store.root());
        trim(&folder.join("steps"), MOST_PLACES, LARGEST);
        trim(&folder.join("files"), MOST_LISTS, LISTS_BYTES);
    }

    /// Compares the accounts, cause by cause, with the data of this machine.
    fn explain(
        &self,
        step: &Step<'_>,
        now: &Account,
        old: Option<&Account>,
        follows: Option<&(String, String)>,
    ) -> Miss {
        let plain = |cause, text: String| Miss { cause, text, differences: Vec::new() };
        if step.fresh {
            return plain("no-cache", "--no-cache".to_owned());
        }
        if step.retimed {
            let text = "its files have other times now, and something below them is new";
            return plain("times", text.to_owned());
        }
        let Some(old) = old else {
            return match removed::of(self.explainer.store.root(), &now.written) {
                Some(removal) => plain("evicted", removal.words()),
                None => plain(NEW, "never built here".to_owned()),
            };
        };
        let mut differences = now.compare(old);
        let mut count = differences.len();
        if let (Some(before), Some(selection)) = (&old.selection, &step.selection)
            && *before != selection.digest().to_string()
        {
            let (files, more) = match files::load(&self.explainer.store, before) {
                Some(rows) => files::compare(&rows, &files::rows(selection), MOST_DIFFERENCES),
                None => (Vec::new(), 0),
            };
            // The list is lost, or the names are equal and their order or destination differs.
            let unknown = Difference { cause: FILE, name: String::new(), old: None, new: None };
            let unknown = files.is_empty().then_some(unknown);
            count += more + usize::from(unknown.is_some());
            differences.extend(files.into_iter().chain(unknown));
        }
        // This step with all its inputs existed, so a rebuilt input is not the cause.
        if count == 0 && old.written == now.written && self.removal(now, old).is_some() {
            return self.explain_equal(now, old);
        }
        for (at, fold) in now.inputs.iter().enumerate().filter(|(_, fold)| !fold.is_empty()) {
            let source = matches!(&step.graph.get(step.id).op, Op::Copy(copy) if copy.base != Some(at));
            let known = source && step.selection.is_some() && old.selection.is_some();
            if !known && old.inputs.get(at) != Some(fold) && count == 0 {
                let name = follows.map_or_else(|| name_of_input(step, at), |(name, _)| name.clone());
                let (old, new) = (old.inputs.get(at).cloned(), Some(fold.clone()));
                differences.push(Difference { cause: INPUT, name, old, new });
                count += 1;
            }
        }
        differences.truncate(MOST_DIFFERENCES);
        let Some(first) = differences.first() else { return self.explain_equal(now, old) };
        let mut text = words::of(first, follows.map(|(_, root)| root.as_str()));
        if count > 1 {
            text.push_str(&format!(" (and {} more)", count - 1));
        }
        Miss { cause: first.cause, text, differences }
    }

    /// Explains a miss without a difference.
    fn explain_equal(&self, now: &Account, old: &Account) -> Miss {
        let (cause, text) = match self.removal(now, old) {
            Some(removal) => ("evicted", removal.words()),
            None if !old.done => ("unfinished", format!("it did not end well {}", base::clock::rfc3339(old.at / 1000))),
            None => ("lost", format!("it was built {}, but its result is gone", base::clock::rfc3339(old.at / 1000))),
        };
        Miss { cause, text, differences: Vec::new() }
    }

    /// The removal of the record, unless the step ran again since.
    fn removal(&self, now: &Account, old: &Account) -> Option<removed::Removal> {
        let of = |key: &str| removed::of(self.explainer.store.root(), key).filter(|removal| removal.at >= old.at);
        of(&now.written).or_else(|| of(&old.written))
    }
}

impl State {
    /// The nearest step below that ran in this build with another result: its name, and its cause
    /// in words.
    fn follows(&self, step: &Step<'_>) -> Option<(String, String)> {
        let mut todo: VecDeque<VertexId> = step.graph.get(step.id).inputs.iter().copied().collect();
        let mut seen = HashSet::new();
        while let Some(id) = todo.pop_front() {
            if !seen.insert(id) {
                continue;
            }
            let vertex = step.graph.get(id);
            if let Some((_, root)) = self.missed.get(&id).filter(|_| !self.same.contains(&id)) {
                return Some((vertex.name.clone(), root.clone()));
            }
            todo.extend(vertex.inputs.iter().copied());
        }
        None
    }
}

fn name_of_input(step: &Step<'_>, at: usize) -> String {
    let input = step.graph.get(step.id).inputs.get(at);
    input.map_or_else(String::new, |input| step.graph.get(*input).name.clone())
}

fn account_of(step: &Step<'_>, arguments: &BTreeSet<String>) -> Account {
    let vertex = step.graph.get(step.id);
    let mut fields: Vec<Field> = Vec::new();
    let mut inputs = Vec::new();
    for (at, input) in vertex.inputs.iter().enumerate() {
        let op = &step.graph.get(*input).op;
        if let Op::Source(Source::Image { name, digest, .. }) = op {
            fields.push(account::base(fields.len(), name, digest));
        }
        let linked = matches!(&vertex.op, Op::Copy(copy) if copy.link && copy.base == Some(at));
        let read = !linked && !matches!(op, Op::Source(_));
        let rootfs = step.inputs.get(at).and_then(Option::as_ref).filter(|_| read);
        inputs.push(rootfs.map_or_else(String::new, fold));
    }
    fields.extend(account::fields(&vertex.op, arguments));
    let text = match vertex.name.split_once("] ") {
        Some((_, text)) => text.to_owned(),
        // A step that is not in the Dockerfile: files for a mount.
        None => format!("internal {}", fields.iter().map(|field| field.value.as_str()).collect::<Vec<_>>().join(" ")),
    };
    let before = step.graph.iter().take(step.id.index()).filter(|(_, other)| other.stage == vertex.stage);
    Account {
        text,
        stage: vertex.stage.clone(),
        number: before.count(),
        written: step.written.map(|key| key.to_string()).unwrap_or_default(),
        at: now(),
        done: false,
        fields,
        inputs,
        selection: step.selection.as_ref().map(|selection| selection.digest().to_string()),
    }
}

/// A short name for all layers of a rootfs.
fn fold(rootfs: &Rootfs) -> String {
    let all: String = rootfs.layers.iter().map(|layer| format!("{layer} ")).collect();
    Digest::of(all.as_bytes()).hex().chars().take(16).collect()
}

/// The files of a directory with their sizes, the newest first.
fn newest(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let known = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        Some((metadata.modified().ok()?, entry.path(), metadata.len()))
    };
    let mut all: Vec<_> = entries.filter_map(known).collect();
    all.sort_by(|one, two| two.cmp(one));
    all.into_iter().map(|(_, path, size)| (path, size)).collect()
}

/// Removes the oldest files of a directory.
fn trim(folder: &Path, most: usize, bytes: u64) {
    let mut sum = 0;
    for (at, (path, size)) in newest(folder).into_iter().enumerate() {
        sum += size;
        if at >= most || sum > bytes {
            // Another build may have removed it first.
            let _ = fs::remove_file(path);
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&bytes(path)?).ok()
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    base::read::at_most(LARGEST, File::open(path).ok()?).ok()?
}

/// Writes a file under a temporary name and renames it. A failed write is ignored.
fn write(store: &Store, path: &Path, bytes: &[u8]) {
    let temp = store.temp("explain");
    let folder = path.parent().unwrap_or(path);
    let rename = || fs::rename(&temp, path);
    let _ =
        fs::write(&temp, bytes).and_then(|()| rename().or_else(|_| fs::create_dir_all(folder).and_then(|()| rename())));
}

/// Milliseconds since 1970.
fn now() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_oldest_goes_when_there_is_too_much() {
        let dir = tempfile::tempdir().expect("a folder");
        let names = || newest(dir.path()).len();
        for (age, name) in ["a", "b", "c", "d"].iter().enumerate() {
            let path = dir.path().join(name);
            fs::write(&path, vec![0; 100]).expect("written");
            let time = SystemTime::now() - Duration::from_secs(60 * age as u64);
            File::open(&path).and_then(|file| file.set_modified(time)).expect("a time");
        }
        trim(dir.path(), 4, 400);
        assert_eq!(names(), 4);
        trim(dir.path(), 3, 400);
        trim(dir.path(), 3, 299);
        assert_eq!(names(), 2);
        assert!(dir.path().join("a").exists() && !dir.path().join("c").exists());
    }

    #[test]
    fn steps_are_named_as_they_are_shown() {
        let name = "[linux/arm64 build  3/14] RUN make all";
        for wanted in ["build", "BUILD", "3/14", "linux/arm64 build 3/14", "[linux/arm64 build 3/14]", "make", name] {
            assert!(names(wanted, name, "build"), "{wanted}");
        }
        for wanted in ["", " ", "4/14", "other", "RUN  make"] {
            assert!(!names(wanted, name, "build"), "{wanted}");
        }
        assert!(!names("load", "[internal] load metadata for x", ""), "no step of the Dockerfile");
    }
}
