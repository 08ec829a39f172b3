//! `kiln cache`: the cache mounts of this machine, and those saved in a cache.

use super::args::CacheCommand;
use super::caches;
use super::request::Environment;
use crate::engine::cache_mounts::{folder, shown};
use crate::gc::policy;
use base::clock::{rfc3339, since_1970};
use base::error::{At, Error, Kind, Result};
use cache::mounts::Mount;
use cache::{Caches, Plan, Pruned, Wanted, Way};
use layer::Layers;
use solver::Observer;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use store::remove::remove_tree;

/// A cache mount of this machine.
struct Local {
    folder: PathBuf,
    name: String,
    id: String,
}

/// The context of the commands.
pub struct Desk<'a> {
    /// The layers of the store.
    pub layers: &'a Layers,
    /// The environment.
    pub env: &'a Environment<'a>,
    /// The receiver of warnings.
    pub observer: &'a Arc<dyn Observer>,
}

/// Runs a command of `kiln cache`.
pub fn run(command: &CacheCommand, desk: &Desk<'_>, out: &mut dyn Write) -> Result<()> {
    match command {
        CacheCommand::Ls { from: Some(from) } => desk.list_saved(from, out),
        CacheCommand::Ls { from: None } => desk.list(out),
        CacheCommand::Export { to, ids } => desk.export(to, ids, out),
        CacheCommand::Import { from, ids } => desk.import(from, ids, out),
        CacheCommand::Rm { from: Some(from), ids } => desk.remove_saved(from, ids, out),
        CacheCommand::Rm { from: None, ids } => desk.remove(ids, out),
        CacheCommand::Prune { from, keep_duration } => desk.prune(from, keep_duration, out),
    }
}

fn print(out: &mut dyn Write, text: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(out, "{text}").map_err(|cause| Error::new(Kind::Export, "cannot print the answer").because(cause))
}

/// True if `ids` selects `one`. The ids of mounts begin with a slash, which may be omitted.
fn is_asked(ids: &[String], one: &str) -> bool {
    ids.is_empty() || ids.iter().any(|id| id.trim_start_matches('/') == one.trim_start_matches('/'))
}

/// Fails if an id is not among the known ones.
fn all_known<'a>(ids: &[String], known: impl Iterator<Item = &'a str>) -> Result<()> {
    let known: Vec<&str> = known.collect();
    let missing = ids.iter().find(|id| !known.iter().any(|one| is_asked(std::slice::from_ref(id), one)));
    missing.map_or(Ok(()), |id| Err(none(id)))
}

fn none(id: &str) -> Error {
    Error::new(Kind::Usage, format!("there is no cache mount `{id}`")).hint("`kiln cache ls` lists them")
}

impl Desk<'_> {
    fn open(&self, way: Way, text: &str) -> Result<Caches> {
        let mut wanted: Wanted = caches::cache(way, text, self.env)?;
        wanted.attributes.set("mounts", "true");
        Caches::open(Plan {
            wanted: &[wanted],
            settings: &super::login::settings(self.env),
            layers: self.layers,
            observer: self.observer,
            has_base: Box::new(|_, _| false),
            stopped: Arc::new(|| false),
        })
    }

    /// The mounts on this machine that `ids` selects. A mount that an old kiln version used has no
    /// id and is left out.
    fn mounts(&self, ids: &[String]) -> Result<Vec<Local>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder(self.layers.store().root())).into_iter().flatten().flatten() {
            let Ok(id) = fs::read_to_string(entry.path().join("id")) else { continue };
            let (folder, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            all.push(Local { folder, name, id });
        }
        all_known(ids, all.iter().map(|mount| mount.id.as_str()))?;
        all.retain(|mount| is_asked(ids, &mount.id));
        all.sort_by(|one, two| (&one.id, &one.name).cmp(&(&two.id, &two.name)));
        Ok(all)
    }

    fn list(&self, out: &mut dyn Write) -> Result<()> {
        print(out, format_args!("{:<40} {:>12}  LAST USED", "ID", "SIZE"))?;
        for mount in self.mounts(&[])? {
            let data = mount.folder.join("data");
            let used = ["dirty", "stats"]
                .iter()
                .filter_map(|name| fs::metadata(mount.folder.join(name)).ok()?.modified().ok());
            let used = used.filter_map(|time| time.duration_since(UNIX_EPOCH).ok()).max().unwrap_or_default().as_secs();
            let used = rfc3339(i64::try_from(used).unwrap_or_default());
            print(out, format_args!("{:<40} {:>9.1} MB  {used}", mount.id, size(&data) as f64 / 1e6))?;
        }
        Ok(())
    }

    fn list_saved(&self, from: &str, out: &mut dyn Write) -> Result<()> {
        print(out, format_args!("{:<40} {:<20} {:>12} {:>8}  SAVED", "ID", "SCOPE", "SIZE", "FILES"))?;
        for saved in self.open(Way::From, from)?.saved_mounts()? {
            let at = rfc3339(i64::try_from(saved.at).unwrap_or_default());
            let size = saved.size as f64 / 1e6;
            print(out, format_args!("{:<40} {:<20} {size:>9.1} MB {:>8}  {at}", saved.id, saved.scope, saved.files))?;
        }
        Ok(())
    }

    fn export(&self, to: &str, ids: &[String], out: &mut dyn Write) -> Result<()> {
        let caches = self.open(Way::To, to)?;
        for mount in self.mounts(ids)? {
            let _held = hold(&mount.folder, &mount.id)?;
            let saves = caches.save_mount(&Mount { folder: &mount.folder, name: &mount.name, id: &mount.id });
            if let Some((_, error)) = saves.failures.into_iter().next() {
                return Err(error);
            }
            match saves.moved.first() {
                Some(moved) => print(out, format_args!("{}: {}", mount.id, shown(*moved)))?,
                None => print(out, format_args!("{}: nothing new", mount.id))?,
            }
        }
        Ok(())
    }

    fn import(&self, from: &str, ids: &[String], out: &mut dyn Write) -> Result<()> {
        let caches = self.open(Way::From, from)?;
        let mut all = caches.saved_mounts()?;
        all_known(ids, all.iter().map(|saved| saved.id.as_str()))?;
        all.retain(|saved| is_asked(ids, &saved.id));
        all.dedup_by(|one, two| one.name == two.name);
        for saved in all {
            // The name becomes a directory name, so it must be 64 hex digits.
            if saved.name.len() != 64 || !saved.name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                continue;
            }
            let folder = folder(self.layers.store().root()).join(&saved.name);
            fs::create_dir_all(&folder).at("make", &folder)?;
            let _held = hold(&folder, &saved.id)?;
            let path = folder.join("id");
            fs::write(&path, &saved.id).at("write", &path)?;
            match caches.restore_mount(&Mount { folder: &folder, name: &saved.name, id: &saved.id }) {
                Some(moved) => print(out, format_args!("{}: {}", saved.id, shown(moved)))?,
                None => print(out, format_args!("{}: nothing new, or used here since", saved.id))?,
            }
        }
        Ok(())
    }

    fn remove(&self, ids: &[String], out: &mut dyn Write) -> Result<()> {
        for mount in self.mounts(ids)? {
            let _held = hold(&mount.folder, &mount.id)?;
            remove_tree(&mount.folder).at("remove", &mount.folder)?;
            print(out, format_args!("{}", mount.id))?;
        }
        Ok(())
    }

    fn prune(&self, from: &str, keep: &str, out: &mut dyn Write) -> Result<()> {
        let keep = u64::try_from(policy::duration(keep)?).unwrap_or_default();
        let before = since_1970().as_secs().saturating_sub(keep);
        let Pruned { records, kept, bytes } = self.open(Way::From, from)?.prune(before)?;
        let freed = if bytes > 0 { format!(", {:.1} MB of chunks removed", bytes as f64 / 1e6) } else { String::new() };
        print(out, format_args!("{records} records removed, {kept} kept{freed}"))
    }

    fn remove_saved(&self, from: &str, ids: &[String], out: &mut dyn Write) -> Result<()> {
        let caches = self.open(Way::From, from)?;
        let all = caches.saved_mounts()?;
        all_known(ids, all.iter().map(|saved| saved.id.as_str()))?;
        for saved in all.iter().filter(|saved| is_asked(ids, &saved.id)) {
            caches.forget_mount(saved)?;
            print(out, format_args!("{} {}", saved.id, saved.scope))?;
        }
        Ok(())
    }
}

/// Locks a mount against other users.
fn hold(folder: &Path, id: &str) -> Result<File> {
    let path = folder.join("lock");
    let lock = OpenOptions::new().create(true).append(true).open(&path).at("open", &path)?;
    let busy = |_| {
        Error::new(Kind::Usage, format!("cache mount `{id}` is in use")).hint("try again when that build has ended")
    };
    lock.try_lock().map_err(busy)?;
    Ok(lock)
}

fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    match metadata.is_dir() {
        true => fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum(),
        false => metadata.len(),
    }
}
