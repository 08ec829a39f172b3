//! What became of each step of the last builds: what `kiln explain` shows.
//!
//! `<root>/explain-v1/builds/<microseconds since 1970, 20 digits>-<pid>`, JSON; the newest stay. Builds in which every step
//! was found leave none.

use base::clock::since_1970;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use store::Store;

/// Reports that stay.
const MOST: usize = 32;

/// One build.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Build {
    /// What was built: the Dockerfile, or what stood for it.
    pub dockerfile: String,
    /// `--target`.
    pub target: Option<String>,
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// How long it took.
    pub seconds: f64,
    /// In the order in which they were heard of.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// `[build 2/4] RUN make`.
    pub name: String,
    /// `cached`, `done`, `failed`, `stopped` or `running`.
    pub state: String,
    /// How long it ran.
    pub seconds: f64,
    /// Why it ran.
    pub miss: Option<Missed>,
}

/// Why a step ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Missed {
    /// One word.
    pub cause: String,
    /// One line.
    pub text: String,
    /// What differs.
    pub differences: Vec<Differs>,
}

/// One thing that differs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Differs {
    /// What sort of thing.
    pub cause: String,
    /// Which one.
    pub name: String,
    /// Before.
    pub old: Option<String>,
    /// Now.
    pub new: Option<String>,
}

impl From<&solver::Miss> for Missed {
    fn from(miss: &solver::Miss) -> Missed {
        let differs = |one: &solver::Difference| Differs {
            cause: one.cause.to_owned(),
            name: one.name.clone(),
            old: one.old.clone(),
            new: one.new.clone(),
        };
        let differences = miss.differences.iter().map(differs).collect();
        Missed { cause: miss.cause.to_owned(), text: miss.text.clone(), differences }
    }
}

fn folder(root: &Path) -> PathBuf {
    super::folder(root).join("builds")
}

/// Keeps a report, and lets the oldest go.
pub fn save(store: &Store, build: &Build) {
    let path = folder(store.root()).join(format!("{:020}-{}", since_1970().as_micros(), std::process::id()));
    if let Ok(bytes) = serde_json::to_vec(build) {
        super::write(store, &path, &bytes);
    }
    for old in list(store.root()).iter().skip(MOST) {
        // Another build may have been faster.
        let _ = fs::remove_file(old);
    }
}

/// The reports, the newest first.
fn list(root: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder(root)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all.reverse();
    all
}

/// A report: 1 is that of the last build.
pub fn load(root: &Path, number: usize) -> Option<Build> {
    super::read(list(root).get(number.checked_sub(1)?)?)
}
