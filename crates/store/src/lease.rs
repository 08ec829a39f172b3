//! Leases record what a process uses, so that the garbage collector can run beside builds.
//!
//! A lease is a file in the process's own temporary directory. The process holds a lock on it
//! (flock) while it lives; if the lock is free, the process is dead. Its lines name what the
//! process uses: `layer <id>`, `blob <hex>`, `path <path below the root>`. A process checks that an
//! object exists and adds its name in one step under the gate (`<root>/lock`, shared). The
//! collector reads all leases and renames its victims under the gate (exclusive). So an object that
//! was found stays until its finder ends, and one that was removed is a miss.

use base::clock::since_1970;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use base::read;
use base::sync::lock;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The largest lease that is read. A larger one is an error: reading half of it would free what is
/// in use.
const LARGEST: u64 = 64 << 20;

/// The name of a blob in a lease.
pub fn blob(digest: &Digest) -> String {
    format!("blob {}", digest.hex())
}

/// The name of a layer in a lease.
pub fn layer(id: &impl std::fmt::Display) -> String {
    format!("layer {id}")
}

/// The name of a path below the root in a lease.
pub fn path(root: &Path, path: &Path) -> String {
    format!("path {}", path.strip_prefix(root).unwrap_or(path).display())
}

/// The lease of this process on a store.
#[derive(Debug)]
pub(super) struct Lease {
    root: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    file: File,
    names: HashSet<String>,
}

/// A lock on the gate. Shared, it prevents removal; exclusive, it also prevents new uses.
#[derive(Debug)]
pub struct Gate(#[expect(dead_code, reason = "its lock ends with it")] File);

fn open_gate(root: &Path) -> Result<File> {
    let path = root.join("lock");
    OpenOptions::new().create(true).append(true).open(&path).at("open", &path)
}

impl Gate {
    /// Locks the gate exclusively: waits until no process is adding a use, and blocks new ones.
    pub fn close(root: &Path) -> Result<Gate> {
        let file = open_gate(root)?;
        file.lock().at("lock", root.join("lock"))?;
        Ok(Gate(file))
    }

    fn pass(root: &Path) -> Result<Gate> {
        let file = open_gate(root)?;
        file.lock_shared().at("lock", root.join("lock"))?;
        Ok(Gate(file))
    }
}

impl Lease {
    /// Makes this process's own directory below `tmp`, with its lease.
    pub(super) fn begin(root: &Path, tmp: &Path) -> Result<(PathBuf, Lease)> {
        let _gate = Gate::pass(root)?;
        // Processes of two containers may have the same pid.
        let folder = tmp.join(format!("{}-{:x}", std::process::id(), since_1970().as_nanos()));
        fs::create_dir(&folder).at("make", &folder)?;
        let path = folder.join("lease");
        let file = OpenOptions::new().create_new(true).append(true).open(&path).at("make", &path)?;
        file.lock().at("lock", &path)?;
        let held = Mutex::new(Held { file, names: HashSet::new() });
        Ok((folder, Lease { root: root.to_owned(), held }))
    }

    /// See [`super::Store::keep`].
    pub(super) fn keep(&self, names: &[String], there: impl FnOnce() -> bool) -> bool {
        let mut held = lock(&self.held);
        let new: Vec<&String> = names.iter().filter(|name| !held.names.contains(*name)).collect();
        if new.is_empty() {
            drop(held);
            return there();
        }
        let Ok(_gate) = Gate::pass(&self.root) else { return false };
        // An object whose use can't be recorded could be removed while in use, so it counts as
        // missing.
        there() && held.add(&new).is_ok()
    }

    /// See [`super::Store::make`].
    pub(super) fn make<T>(&self, name: String, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut held = lock(&self.held);
        if held.names.contains(&name) {
            drop(held);
            return make();
        }
        let _gate = Gate::pass(&self.root)?;
        held.add(&[&name]).map_err(|cause| {
            Error::new(Kind::Store, "cannot note what is in use")
                .because(cause)
                .hint("is the disk full? `kiln prune` frees what no image needs")
        })?;
        make()
    }
}

impl Held {
    fn add(&mut self, names: &[&String]) -> std::io::Result<()> {
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        self.file.write_all(lines.as_bytes())?;
        self.names.extend(names.iter().map(|name| (*name).clone()));
        Ok(())
    }
}

/// The objects that live processes use, and the directories that dead processes left. Hold the gate
/// exclusively while acting on it.
#[derive(Debug, Default)]
pub struct Leases {
    /// Names, as in the leases.
    pub names: HashSet<String>,
    /// Temporary directories without an owner.
    pub dead: Vec<PathBuf>,
}

impl Leases {
    /// Reads all leases of a store's temporary directory. Fails if one can't be read, because its
    /// objects may be in use.
    pub fn read(tmp: &Path) -> Result<Leases> {
        let mut all = Leases::default();
        let entries = match fs::read_dir(tmp) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(all),
            entries => entries.at("list", tmp)?,
        };
        for entry in entries {
            let folder = entry.at("list", tmp)?.path();
            match living(&folder.join("lease"))? {
                Some(names) => all.names.extend(names.lines().map(str::to_owned)),
                None => all.dead.push(folder),
            }
        }
        Ok(all)
    }
}

/// Reads a lease, if a process holds it. The rest of a killed collector may hold anything, but no
/// lease of a live process.
fn living(path: &Path) -> Result<Option<String>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Err(cause) if !matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(cause).at("look at", path);
        }
        _ => return Ok(None),
    }
    let file = match File::open(path) {
        // Its owner has just ended.
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.at("open", path)?,
    };
    if file.try_lock().is_ok() {
        return Ok(None);
    }
    let bytes = read::at_most(LARGEST, file).at("read", path)?.ok_or_else(|| {
        Error::new(Kind::Store, format!("`{}` is larger than {LARGEST} bytes", path.display()))
            .hint("a build that runs uses too much at once; try again when it has ended")
    })?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    #[test]
    fn what_is_in_use_is_named_until_its_user_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let tmp = dir.path().join("store-v1/tmp");
        let (one, two) = (Store::open(dir.path()).expect("a store"), Store::open(dir.path()).expect("a store"));
        assert!(one.keep(&["layer a".to_owned()], || true));
        assert!(!two.keep(&["layer b".to_owned()], || false));
        let known = one.put_blob(b"x").expect("a blob");
        let leases = Leases::read(&tmp).expect("leases");
        assert_eq!(leases.names, HashSet::from(["layer a".to_owned(), blob(&known.digest)]));
        assert!(leases.dead.is_empty());
        drop(one);
        assert!(two.has(&known.digest));
        assert_eq!(Leases::read(&tmp).expect("leases").names, HashSet::from([blob(&known.digest)]));
        // A killed process leaves its directory, and no process holds the lease in it.
        let left = tmp.join("4711-x");
        fs::create_dir(&left).expect("a folder");
        fs::write(left.join("lease"), "layer c\n").expect("a lease");
        let leases = Leases::read(&tmp).expect("leases");
        assert_eq!((leases.names.len(), leases.dead), (1, vec![left]));
    }

    #[test]
    fn a_lease_that_is_held_is_read_whole_or_nothing_is_collected() {
        let dir = tempfile::tempdir().expect("a folder");
        // A symbolic link is no lease, whatever its target. A lease must be read whole.
        let left = dir.path().join("collected-1");
        fs::create_dir(&left).expect("a folder");
        std::os::unix::fs::symlink("lease", left.join("lease")).expect("a link to itself");
        assert_eq!(Leases::read(dir.path()).expect("leases").dead, [left]);
        let large = dir.path().join("4711-x");
        fs::create_dir(&large).expect("a folder");
        let lease = File::create(large.join("lease")).expect("a file");
        lease.set_len(LARGEST + 1).expect("longer");
        lease.lock().expect("held");
        assert!(Leases::read(dir.path()).is_err());
        drop(lease);
        assert_eq!(Leases::read(dir.path()).expect("leases").dead.len(), 2);
    }

    #[test]
    fn nothing_is_taken_into_use_while_the_gate_is_closed() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let blob = store.put_blob(b"x").expect("a blob");
        let other = Store::open(dir.path()).expect("a store");
        let gate = Gate::close(dir.path()).expect("closed");
        let path = store.blob_path(&blob.digest);
        let finder = std::thread::spawn(move || other.has(&blob.digest));
        fs::remove_file(path).expect("removed");
        drop(gate);
        assert!(!finder.join().expect("an answer"), "found what was removed before the gate was opened");
    }
}
