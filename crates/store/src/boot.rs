//! Finds what a crash of the machine may have lost. Kiln syncs nothing of the store when it makes
//! it, so a file that got its name shortly before a power failure may have lost its content.
//!
//! ```text
//! <root>/boot    `<boot id> <seconds since 1970>`: the boot, and the last time when its check or
//!                its sync ensured that the whole store was on the disk;
//!                flock: the process that checks the store holds it, and others wait
//! ```
//!
//! The first process after a boot checks what is younger than that time (`gc::recover`), and
//! nothing older. To keep that little, a `syncfs` in the background advances the time, at most once
//! an hour. If the file can't be read, nothing is known and everything is checked.

use base::clock::now;
use base::error::{At, Result};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A random id for each boot (random(4)), the same in all containers of a machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The time advances after this many seconds.
const OLD: i64 = 3600;

/// A boot after which the store has not been checked yet. Other processes wait until this is
/// dropped.
#[derive(Debug)]
pub struct Boot {
    file: File,
    id: String,
    began: i64,
    since: i64,
}

/// Returns a [`Boot`] if the store has not been checked since this boot. None also if the kernel
/// has no boot id.
pub fn begin(root: &Path) -> Result<Option<Boot>> {
    let Ok(id) = fs::read_to_string(BOOT_ID) else { return Ok(None) };
    begin_as(root, id.trim(), now())
}

fn begin_as(root: &Path, id: &str, began: i64) -> Result<Option<Boot>> {
    let path = root.join("boot");
    if read(&path).is_some_and(|(known, _)| known == id) {
        return Ok(None);
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    file.lock().at("lock", &path)?;
    // Another process may have checked the store meanwhile.
    let known = read(&path);
    if known.as_ref().is_some_and(|(known, _)| known == id) {
        return Ok(None);
    }
    Ok(Some(Boot { file, id: id.to_owned(), began, since: known.map_or(0, |(_, since)| since) }))
}

impl Boot {
    /// Seconds since 1970. What was changed at this time or later may be damaged.
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Records that the whole store was checked.
    pub fn finish(self) -> Result<()> {
        write(&self.file, &self.id, self.began).at("write", "boot")
    }
}

/// Starts a process that syncs the store, if the last sync was long ago. Does not wait for it.
pub fn sync_later(root: &Path) {
    if read(&root.join("boot")).is_some_and(|(_, since)| now() - since >= OLD) {
        let quiet = [Stdio::null(), Stdio::null(), Stdio::null()];
        let [stdin, stdout, stderr] = quiet;
        let mut command = Command::new("/proc/self/exe");
        command.arg("sync").env("KILN_ROOT", root).current_dir("/").stdin(stdin).stdout(stdout).stderr(stderr);
        // If this fails, the first build after the next boot checks more.
        let _ = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn();
    }
}

/// Syncs the store to the disk and records the time. Does nothing if the store was not checked
/// since this boot.
pub fn sync(root: &Path) -> Result<()> {
    match fs::read_to_string(BOOT_ID) {
        Ok(id) => sync_as(root, id.trim()),
        Err(_) => Ok(()),
    }
}

fn sync_as(root: &Path, id: &str) -> Result<()> {
    let path = root.join("boot");
    let file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
    file.lock().at("lock", &path)?;
    if read(&path).is_none_or(|(known, _)| known != id) {
        return Ok(());
    }
    // A file that gets its name in this second may come after the sync.
    let before = now() - 1;
    rustix::fs::syncfs(&file).at("sync", root)?;
    write(&file, id, before).at("write", &path)
}

fn read(path: &Path) -> Option<(String, i64)> {
    let text = String::from_utf8(base::read::at_most(100, File::open(path).ok()?).ok()??).ok()?;
    let (id, since) = text.strip_suffix('\n')?.split_once(' ')?;
    Some((id.to_owned(), since.parse().ok()?))
}

/// Writes in place, because the lock is on this file.
fn write(file: &File, id: &str, since: i64) -> std::io::Result<()> {
    let text = format!("{id} {since}\n");
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_of_each_boot_looks_at_what_is_younger_than_the_last_confirmed_time() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        let first = begin_as(root, "one", 1000).unwrap().unwrap();
        assert_eq!(first.since(), 0, "nothing is known of a new store");
        first.finish().unwrap();
        assert!(begin_as(root, "one", 2000).unwrap().is_none());
        let second = begin_as(root, "two", 3000).unwrap().unwrap();
        assert_eq!(second.since(), 1000);
        // Killed while it looked: the next one does it.
        drop(second);
        let again = begin_as(root, "two", 4000).unwrap().unwrap();
        assert_eq!(again.since(), 1000);
        again.finish().unwrap();
        let before = now();
        sync_as(root, "one").unwrap();
        assert_eq!(read(&root.join("boot")), Some(("two".to_owned(), 4000)), "nobody has looked at it in that boot");
        sync_as(root, "two").unwrap();
        let third = begin_as(root, "three", 5000).unwrap().unwrap();
        assert!((before - 1..=now()).contains(&third.since()), "{}", third.since());
        drop(third);
        fs::write(root.join("boot"), [0; 40]).unwrap();
        assert_eq!(begin_as(root, "three", 6000).unwrap().unwrap().since(), 0, "nothing is known of a damaged text");
    }

    #[test]
    fn whoever_comes_while_somebody_looks_waits_for_it() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().to_owned();
        let first = begin_as(&root, "one", 1).unwrap().unwrap();
        assert!(File::open(root.join("boot")).unwrap().try_lock().is_err(), "nobody else can begin");
        let other = std::thread::spawn(move || begin_as(&root, "one", 2).unwrap().is_none());
        first.finish().unwrap();
        assert!(other.join().unwrap(), "it was done meanwhile");
    }
}
