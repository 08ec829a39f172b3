//! The outcome of each step of the last builds, for `kiln explain`.
//!
//! `<root>/explain-v1/builds/<microseconds since 1970, 20 digits>-<pid>`, JSON; the newest are
//! kept. Builds in which every step was cached leave none.

use base::clock::since_1970;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use store::Store;

/// The number of reports that are kept.
const MOST: usize = 32;

/// One build.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Build {
    /// The Dockerfile, or its substitute.
    pub dockerfile: String,
    /// `--target`.
    pub target: Option<String>,
    /// The start time in seconds since 1970.
    pub at: i64,
    /// The duration in seconds.
    pub seconds: f64,
    /// The steps in the order of their first event.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// `[build 2/4] RUN make`.
    pub name: String,
    /// `cached`, `done`, `failed`, `stopped` or `running`.
    pub state: String,
    /// The duration in seconds.
    pub seconds: f64,
    /// The reason why it ran.
    pub miss: Option<Missed>,
}

/// The reason why a step ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Missed {
    /// The cause in one word.
    pub cause: String,
    /// The cause in one line.
    pub text: String,
    /// The differences.
    pub differences: Vec<Differs>,
}

/// One difference.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Differs {
    /// The kind of the difference, as a cause.
    pub cause: String,
    /// The name of the part that differs.
    pub name: String,
    /// The earlier value.
    pub old: Option<String>,
    /// The new value.
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

/// Saves a report and removes the oldest.
pub fn save(store: &Store, build: &Build) {
    let path = folder(store.root()).join(format!("{:020}-{}", since_1970().as_micros(), std::process::id()));
    if let Ok(bytes) = serde_json::to_vec(build) {
        super::write(store, &path, &bytes);
    }
    for old in list(store.root()).iter().skip(MOST) {
        // Another build may have removed it first.
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

/// A report by its number; 1 is the last build.
pub fn load(root: &Path, number: usize) -> Option<Build> {
    super::read(list(root).get(number.checked_sub(1)?)?)
}
