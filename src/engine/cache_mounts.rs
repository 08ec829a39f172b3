//! Directories that outlive a build: `RUN --mount=type=cache`. They are never part of a layer or a
//! key.
//!
//! ```text
//! <root>/mounts-v1/<64 hex of the id, of what it was filled from, and of owner and mode>/
//!   id          its id in the Dockerfile, for the user
//!   lock        flock: shared by `sharing=shared`, exclusive by `locked`; held while a step runs
//!   data/       the mounted directory
//!   index stats dirty         the state of saves (see `cache::mounts`)
//!   1/ 2/ ...   copies for `sharing=private`: a step takes the first that is not locked
//! ```
//!
//! The time of `lock` is that of the last use. GC rule: the collector removes mounts that no lease
//! names. If the path of a lock no longer exists when a build gets the lock, the build starts again
//! (see `gc`).

use super::Host;
use super::bring::Form;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use base::sync::lock;
use cache::mounts::{Mount, Moved, Saves};
use frontend::op::{CacheDir, Sharing};
use layer::files::resolve;
use layer::rootfs::Rootfs;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use solver::event::told;
use solver::{Event, StepId, Stream};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use store::lease;
use store::remove::remove_tree;

/// The interval at which a locked mount is tried again.
const POLL: Duration = Duration::from_millis(20);
/// The time that a mount may be used by another build before saving it is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most private copies of a mount.
const MOST_PRIVATE: u32 = 1000;

/// A cache mount that the Dockerfile asks for.
pub(super) struct Wanted<'a> {
    pub(super) id: &'a str,
    pub(super) sharing: Sharing,
    pub(super) from: Option<&'a Rootfs>,
    pub(super) source: &'a str,
    pub(super) dir: Option<CacheDir>,
}

/// A cache mount that a step may use while it holds this.
#[derive(Debug)]
pub(super) struct Held {
    /// The directory to mount.
    pub(super) data: PathBuf,
    _lock: File,
    /// The mount to save after the build; `None` for a private copy.
    travels: Option<Used>,
}

/// A cache mount that a step has used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used {
    folder: PathBuf,
    name: String,
    id: String,
}

impl Used {
    fn mount(&self) -> Mount<'_> {
        Mount { folder: &self.folder, name: &self.name, id: &self.id }
    }
}

/// True if the path still names the open file.
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().map(of).is_ok_and(|open| fs::metadata(path).map(of).is_ok_and(|named| named == open))
}

impl Host {
    /// Takes a cache mount, and waits for it if the sharing requires that. The wait ends with the
    /// build.
    pub(super) fn hold_cache_mount(&self, wanted: &Wanted<'_>, step: StepId) -> Result<Held> {
        let name = self.cache_name(wanted)?;
        let base = folder(self.store.root()).join(&name);
        let used = Used { folder: base.clone(), name, id: wanted.id.to_owned() };
        let mut copy = 0;
        loop {
            let dir = if copy == 0 { base.clone() } else { base.join(copy.to_string()) };
            let path = dir.join("lock");
            let open = || OpenOptions::new().create(true).append(true).open(&path);
            let lock = match open() {
                Err(_) => {
                    let made = fs::create_dir_all(&dir);
                    // For `kiln du`.
                    let _ = fs::write(base.join("id"), wanted.id);
                    made.and_then(|()| open())
                }
                opened => opened,
            };
            let lock = match lock {
                // The collector removed the directory at this moment.
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
                lock => lock.at("open", &path)?,
            };
            if copy == 0 && lock.try_lock().is_ok() {
                self.restore(&used, wanted, step)?;
                lock.unlock().at("unlock", &path)?;
            }
            let taken = match wanted.sharing {
                Sharing::Shared => lock.try_lock_shared(),
                Sharing::Private | Sharing::Locked => lock.try_lock(),
            };
            match taken {
                Ok(()) => {
                    let name = lease::path(self.store.root(), &base);
                    if !self.store.keep(&[name], || is_same(&lock, &path)) {
                        if is_same(&lock, &path) {
                            return Err(Error::new(Kind::Store, "cannot note that a cache mount is in use")
                                .hint("is the disk full? `kiln prune` frees what no image needs"));
                        }
                        // The collector removed it between open and lock.
                        continue;
                    }
                    // The time of the file is that of the last use.
                    let _ = lock.set_modified(SystemTime::now());
                    let data = dir.join("data");
                    self.fill(&data, wanted, step)?;
                    let travels = (copy == 0).then(|| used.clone());
                    if travels.is_some() {
                        fs::write(dir.join("dirty"), b"").at("write", &dir)?;
                    }
                    return Ok(Held { data, _lock: lock, travels });
                }
                Err(TryLockError::Error(cause)) => return Err(cause).at("lock", &path),
                Err(TryLockError::WouldBlock) if wanted.sharing == Sharing::Private && copy < MOST_PRIVATE => copy += 1,
                Err(TryLockError::WouldBlock) if self.stop.is_stopped() => {
                    return Err(Error::new(Kind::Interrupted, "stopped while waiting for a cache mount"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
            }
        }
    }

    /// Restores the mount from another machine, unless the local content is newer.
    fn restore(&self, used: &Used, wanted: &Wanted<'_>, step: StepId) -> Result<()> {
        let path = used.folder.join("id");
        if !path.exists() {
            fs::write(&path, wanted.id).at("write", &path)?;
        }
        let moved =
            self.remote_caches.restores_mounts().then(|| self.remote_caches.restore_mount(&used.mount())).flatten();
        if let Some(moved) = moved {
            let data = used.folder.join("data");
            set_owner(&data, wanted)?;
            let text = format!("cache mount {} restored: {}\n", wanted.id, shown(moved));
            self.tell(step, text);
        }
        Ok(())
    }

    /// Marks the mounts of a successful step for saving.
    pub(super) fn note_cache_mounts(&self, held: &[Held]) {
        if self.remote_caches.saves_mounts() {
            lock(&self.shared.used).extend(held.iter().filter_map(|held| held.travels.clone()));
        }
    }

    /// Saves the cache mounts that steps of this build have used. A failure is a warning, or an
    /// error with `ignore-error=false`.
    pub fn save_cache_mounts(&self, step: StepId) -> Result<()> {
        let used = std::mem::take(&mut *lock(&self.shared.used));
        if used.is_empty() {
            return Ok(());
        }
        told(&*self.observer, step, "saving cache mounts".to_owned(), || {
            let mut result = Ok(());
            for used in &used {
                let saves = self.save_cache_mount(used)?;
                for moved in saves.moved {
                    self.tell(step, format!("{}: {}\n", used.id, shown(moved)));
                }
                for (must, error) in saves.failures {
                    if must {
                        result = result.and(Err(error));
                    } else {
                        let text = error.to_string();
                        self.observer.event(SystemTime::now(), &Event::Warning { text });
                    }
                }
            }
            result
        })
    }

    fn save_cache_mount(&self, used: &Used) -> Result<Saves> {
        let path = used.folder.join("lock");
        let held = OpenOptions::new().create(true).append(true).open(&path).at("open", &path)?;
        let since = Instant::now();
        while held.try_lock().is_err() {
            if since.elapsed() > PATIENCE || self.stop.is_stopped() {
                let error = Error::new(Kind::Export, format!("cache mount `{}` is in use and not saved", used.id));
                return Ok(Saves { failures: vec![(false, error)], ..Saves::default() });
            }
            std::thread::sleep(POLL);
        }
        Ok(self.remote_caches.save_mount(&used.mount()))
    }

    fn tell(&self, step: StepId, text: String) {
        let event = Event::Output { step, stream: Stream::Out, bytes: text.into_bytes() };
        self.observer.event(SystemTime::now(), &event);
    }

    fn cache_name(&self, wanted: &Wanted<'_>) -> Result<String> {
        let mut name = format!("{}:{}", wanted.id.len(), wanted.id);
        for layer in wanted.from.map(|from| from.layers.as_slice()).unwrap_or_default() {
            name.push_str(&format!(" {}", self.layers.content(layer)?));
        }
        if wanted.from.is_some() {
            name.push_str(wanted.source);
        }
        // As in BuildKit, another owner or mode means another cache.
        if let Some(CacheDir { mode, uid, gid }) = wanted.dir {
            name.push_str(&format!(" {mode:o} {uid}:{gid}"));
        }
        Ok(Digest::of(name.as_bytes()).hex())
    }

    /// Makes the directory if it is missing. It is completed under a temporary name, so that a
    /// killed build leaves no partial one.
    fn fill(&self, data: &Path, wanted: &Wanted<'_>, step: StepId) -> Result<()> {
        if data.exists() {
            return Ok(());
        }
        let new = self.store.temp("cache");
        match wanted.from.filter(|_| wanted.dir.is_none()) {
            Some(from) => {
                let view = self.view(from, Form::Dir, step)?;
                let top = resolve(&view, wanted.source.as_bytes())?;
                if top.entry.is_none() {
                    return Err(Error::new(
                        Kind::Step,
                        format!("`{}` is not in the source of the cache mount", wanted.source),
                    ));
                }
                layer::unpack::write_tree(&view, &top.path, &new, self.layers.flavour())?;
            }
            None => {
                fs::create_dir(&new).at("make", &new)?;
                set_owner(&new, wanted)?;
            }
        }
        match fs::rename(&new, data) {
            // Another step that shares the mount was faster.
            Err(_) if data.exists() => remove_tree(&new).at("remove", &new),
            done => done.at("make", data),
        }
    }
}

/// The directory of a store's cache mounts.
pub fn folder(root: &Path) -> PathBuf {
    root.join("mounts-v1")
}

fn set_owner(dir: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let CacheDir { mode, uid, gid } = wanted.dir.unwrap_or_default();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(CWD, dir, Some(uid), Some(gid), AtFlags::empty()).at("change the owner of", dir)?;
    rustix::fs::chmodat(CWD, dir, Mode::from(mode), AtFlags::empty()).at("set the mode of", dir)
}

/// The amount for the user: `1.2 of 80.0 MB moved`.
pub fn shown(moved: Moved) -> String {
    format!("{:.1} of {:.1} MB moved", moved.bytes as f64 / 1e6, moved.of as f64 / 1e6)
}
