//! Records that the collector removed, so that a step that runs again can say so.
//!
//! `<root>/explain-v1/removed` has a line for each removed record: the first 32 digits of its key,
//! the time in milliseconds since 1970, and the rule in words. Lines are appended in one write; the
//! collector, which runs alone, keeps the newest.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The number of lines that are kept.
const MOST_LINES: usize = 8192;

/// One removed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The time in milliseconds since 1970.
    pub at: i64,
    /// The rule in words.
    pub rule: String,
}

impl Removal {
    /// The removal as a sentence part.
    pub fn words(&self) -> String {
        format!("evicted {} by {}", base::clock::rfc3339(self.at / 1000), self.rule)
    }
}

fn path(root: &Path) -> PathBuf {
    super::folder(root).join("removed")
}

fn short(key: &str) -> &str {
    key.get(..32).unwrap_or(key)
}

fn text(root: &Path) -> String {
    // Without the file, nothing was ever removed.
    String::from_utf8_lossy(&super::bytes(&path(root)).unwrap_or_default()).into_owned()
}

/// The removal of the record of a key.
pub fn of(root: &Path, key: &str) -> Option<Removal> {
    let text = text(root);
    let line = text.lines().rev().find(|line| !key.is_empty() && line.starts_with(short(key)))?;
    let (at, rule) = line.split_once(' ')?.1.split_once(' ')?;
    Some(Removal { at: at.parse().ok()?, rule: rule.to_owned() })
}

/// Notes removed records.
pub fn note(root: &Path, keys: &[String], rule: &str) -> std::io::Result<()> {
    note_at(root, keys, super::now(), rule)
}

fn note_at(root: &Path, keys: &[String], at: i64, rule: &str) -> std::io::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(super::folder(root))?;
    let rule = rule.replace(char::is_control, " ");
    let gone: HashSet<&str> = keys.iter().map(|key| short(key)).collect();
    let old = text(root);
    let kept: Vec<&str> = old.lines().filter(|line| !gone.contains(line.split(' ').next().unwrap_or(""))).collect();
    let mut new: Vec<String> = kept.into_iter().map(str::to_owned).collect();
    new.extend(keys.iter().map(|key| format!("{} {at} {rule}", short(key))));
    let skip = new.len().saturating_sub(MOST_LINES);
    let temp = path(root).with_extension(std::process::id().to_string());
    File::create(&temp)?.write_all((new[skip..].join("\n") + "\n").as_bytes())?;
    fs::rename(&temp, path(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_remembered_and_the_log_is_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = |number: usize| format!("{number:064x}").chars().rev().collect::<String>();
        assert_eq!(of(dir.path(), &key(1)), None);
        note_at(dir.path(), &[key(1), key(2)], 7, "kiln prune --all").expect("noted");
        note_at(dir.path(), &[key(2)], 9, "room").expect("noted");
        assert_eq!(of(dir.path(), &key(1)), Some(Removal { at: 7, rule: "kiln prune --all".to_owned() }));
        assert_eq!(of(dir.path(), &key(2)).map(|removal| removal.at), Some(9));
        let many: Vec<String> = (3..MOST_LINES + 3).map(key).collect();
        note_at(dir.path(), &many, 11, "room").expect("noted");
        assert_eq!(of(dir.path(), &key(1)), None);
        assert_eq!(text(dir.path()).lines().count(), MOST_LINES);
    }
}
