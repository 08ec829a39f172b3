//! What the machine may have lost when it went down. Nothing of the store is synced when it is made: whatever got its name
//! shortly before the power went may have lost its bytes.
//!
//! ```text
//! <root>/boot    `<boot id> <seconds since 1970>`: when this boot last found, or brought, all that stood here on the disk;
//!                flock: whoever looks through the store holds it, and everybody else waits
//! ```
//!
//! The first process after a boot looks at what is younger than that time (`gc::recover`); what is older is not looked at.
//! So that this is never much, the time moves on by a `syncfs` in the background, at most once an hour. A text that can't be
//! read says that nothing is known: then everything is looked at.

use base::clock::now;
use base::error::{At, Result};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Random for each boot (random(4)); the same for all containers of a machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The time moves on after so many seconds.
const OLD: i64 = 3600;

/// A boot that nobody has looked after yet. Others wait until it is dropped.
#[derive(Debug)]
pub struct Boot {
    file: File,
    id: String,
    began: i64,
    since: i64,
}

/// Whether this boot is a new one for the store. None as well where the kernel does not tell boots apart.
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
    // Somebody else may have looked meanwhile.
    let known = read(&path);
    if known.as_ref().is_some_and(|(known, _)| known == id) {
        return Ok(None);
    }
    Ok(Some(Boot { file, id: id.to_owned(), began, since: known.map_or(0, |(_, since)| since) }))
}

impl Boot {
    /// In seconds since 1970: what was changed then or later may be damaged.
    pub fn since(&self) -> i64 {
        self.since
    }

    /// All of it was looked at.
    pub fn finish(self) -> Result<()> {
        write(&self.file, &self.id, self.began).at("write", "boot")
    }
}

/// Lets another process bring the store to the disk, if that was long ago. Nobody waits for it.
pub fn sync_later(root: &Path) {
    if read(&root.join("boot")).is_some_and(|(_, since)| now() - since >= OLD) {
        let quiet = [Stdio::null(), Stdio::null(), Stdio::null()];
        let [stdin, stdout, stderr] = quiet;
        let mut command = Command::new("/proc/self/exe");
        command.arg("sync").env("KILN_ROOT", root).current_dir("/").stdin(stdin).stdout(stdout).stderr(stderr);
        // Where it can't be, the first build after the next boot looks at more.
        let _ = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn();
    }
}

/// Brings all that stands in the store to the disk, and notes it. What an earlier boot left was looked at before.
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
    // What is named in this second may come after it.
    let before = now() - 1;
    rustix::fs::syncfs(&file).at("sync", root)?;
    write(&file, id, before).at("write", &path)
}

fn read(path: &Path) -> Option<(String, i64)> {
    let text = String::from_utf8(base::read::at_most(100, File::open(path).ok()?).ok()??).ok()?;
    let (id, since) = text.strip_suffix('\n')?.split_once(' ')?;
    Some((id.to_owned(), since.parse().ok()?))
}

/// In place: the lock is on this file.
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
