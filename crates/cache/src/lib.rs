//! Remote caches: records and layers of one machine's builds, stored for other machines. This crate
//! knows keys, blobs and facts of layers; it does not know Dockerfiles, steps or images.
//!
//! | object | name | content |
//! |---|---|---|
//! | batch | `batch-<time>-<digest>` | records that were pushed together (`batch`) |
//! | index | `index-<time>-<digest>` | copies of batches for one request (`catalog`) |
//! | blob | its digest | a layer's compressed tar, or a pack of a cache mount ([`mounts`]) |
//! | saved mount | `mount-<32 hex>-<scope>` | the index of a cache mount; the newest wins |
//!
//! All objects except blobs have an `envelope`. Each batch has a name of its own, so jobs that
//! write at the same time never overwrite each other. The newest record of a key counts. A batch is
//! written after the blobs that it names, and nothing is changed in place. An object that cannot be
//! read, or does not match its name, is a cache miss and a warning. `guard` limits the time of
//! every call.
//!
//! A backend is one file and one row of [`BACKENDS`]. docs/cache.md describes the key layout of
//! each.

#![warn(unreachable_pub)]

mod batch;
mod beneath;
mod caches;
mod catalog;
mod chunked;
mod commit;
mod copies;
mod envelope;
mod feed;
mod gha;
mod guard;
mod http;
pub mod inline;
#[cfg(test)]
#[path = "../../../tests/common/lacks.rs"]
mod lacks;
mod local;
mod lookup;
pub mod mounts;
mod notes;
mod place;
mod prune;
mod push;
pub mod record;
mod registry;
mod s3;
mod sigv4;
#[cfg(test)]
mod tests;

pub use caches::{Caches, Elsewhere, Plan};
pub use guard::Stopped;
pub use prune::Pruned;

use ::registry::Settings;
use ::registry::client::Watch;
use base::attributes::Attributes;
use base::error::{Error, Kind, Result};
use base::size;
use base::sync::lock;
use layer::{BaseBlob, Compression};
use solver::{Event, Observer};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use store::Store;

/// The largest object in bytes; the size of a blob is in its record.
const LARGEST_OBJECT: u64 = 4 << 20;

/// Stores the objects of a cache. Several threads call it. Names have at most 128 letters, digits,
/// `-`, `_` and `.`.
pub trait Backend: Send + Sync {
    /// Reads a small object; `None` if it does not exist.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;
    /// Writes a small object atomically. `blobs` are the blobs that it names, which were put
    /// before.
    fn put(&self, name: &str, bytes: &[u8], blobs: &[BaseBlob]) -> Result<()>;
    /// True if the blob exists.
    fn has_blob(&self, blob: &BaseBlob) -> Result<bool>;
    /// Downloads a blob into the store and checks it.
    fn get_blob(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()>;
    /// Uploads a blob from a file. The caller has checked that it is missing; a second upload does
    /// no harm.
    fn put_blob(&self, blob: &BaseBlob, from: &Path, watch: &Watch<'_>) -> Result<()>;
    /// Copies a blob from another repository (see [`Backend::origin`]) on the server; false if the
    /// server cannot do that.
    fn take_blob(&self, blob: &BaseBlob, from: &str) -> Result<bool> {
        let _ = (blob, from);
        Ok(false)
    }
    /// The names of all batches and indexes; if the backend cannot list, only the newest index.
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.list("")?.into_iter().map(|listed| listed.name).collect())
    }
    /// True if only the newest index can be found, which must then contain all batches.
    fn newest_only(&self) -> bool {
        false
    }
    /// Batches that are stored beside the others, with their names. Unreadable ones are left out.
    fn extra(&self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
    /// The small objects with this prefix.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>>;
    /// Removes a small object; it may be missing.
    fn remove(&self, name: &str) -> Result<()>;
    /// Removes chunks that are older than a time in seconds since 1970 and belong to none of the
    /// named blobs, and returns their size in bytes. Only for backends without a collector of their
    /// own.
    fn sweep(&self, before: u64, named: &dyn Fn() -> Result<Vec<BaseBlob>>) -> Result<u64> {
        let _ = (before, named);
        Ok(0)
    }
    /// The repository that has the blobs, if it is one: pushing an image mounts them from there.
    fn origin(&self) -> Option<String> {
        None
    }
}

/// A small object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// The time when it was written in seconds since 1970, if the backend knows.
    pub at: Option<u64>,
}

/// A kind of backend.
pub struct Row {
    /// The value of `type=`.
    pub name: &'static str,
    /// The description for the user.
    pub help: &'static str,
    /// The attributes of both flags.
    attributes: &'static [&'static str],
    /// Attributes of BuildKit that have no effect here, with the reason: they cause a warning.
    unused: &'static [(&'static str, &'static str)],
    /// Attributes that environment variables can set, with the names of the variables.
    variables: &'static [(&'static str, &'static [&'static str])],
    /// The attribute that names the place, for `--cache-to` and `--cache-from`.
    place: [&'static str; 2],
    open: fn(&Wanted, &Surroundings<'_>) -> Result<Box<dyn Backend>>,
}

/// All kinds of backends.
pub const BACKENDS: &[Row] = &[
    Row {
        name: "registry",
        help: "a repository of a registry; the tag of ref= keeps caches of one repository apart",
        attributes: &["image-manifest", "oci-mediatypes", "registry.insecure"],
        unused: &[],
        variables: &[],
        place: ["ref", "ref"],
        open: registry::open,
    },
    Row {
        name: "local",
        help: "a directory",
        attributes: &[],
        unused: &[
            ("tag", "a directory is one cache"),
            ("digest", "a directory is one cache"),
            ("reset", "`kiln cache prune` removes what is old"),
        ],
        variables: &[],
        place: ["dest", "src"],
        open: local::open,
    },
    Row {
        name: "s3",
        help: "a bucket of S3, or of anything that speaks it",
        attributes: &[
            "region",
            "endpoint_url",
            "use_path_style",
            "prefix",
            "blobs_prefix",
            "manifests_prefix",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "name",
        ],
        unused: &[
            ("touch_refresh", "records in use are written again once a week"),
            ("upload_parallelism", "kiln decides how many requests go out at once"),
            ("disable_accept_encoding", "kiln asks for no encoding"),
            ("retry_mode", "kiln tries again as the server wishes"),
            ("retry_max_attempts", "kiln tries again as the server wishes"),
        ],
        variables: &[
            ("region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
            ("endpoint_url", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
            ("access_key_id", &["AWS_ACCESS_KEY_ID"]),
            ("secret_access_key", &["AWS_SECRET_ACCESS_KEY"]),
            ("session_token", &["AWS_SESSION_TOKEN"]),
        ],
        place: ["bucket", "bucket"],
        open: s3::open,
    },
    Row {
        name: "gha",
        help: "the cache of GitHub Actions",
        attributes: &["scope", "url_v2", "token"],
        unused: &[
            ("url", "GitHub has ended version 1 of its cache; url_v2= names the other"),
            ("repository", "the token says which repository it is for"),
            ("ghtoken", "nothing is asked of GitHub's other services"),
        ],
        variables: &[("url_v2", &["ACTIONS_RESULTS_URL"]), ("token", &["ACTIONS_RUNTIME_TOKEN"])],
        place: ["", ""],
        open: gha::open,
    },
    Row {
        name: "inline",
        help: "the image itself: only --cache-to; --cache-from REF reads it",
        attributes: &[],
        unused: &[],
        variables: &[],
        place: ["", ""],
        open: inline::open,
    },
];

/// The attributes of every `--cache-to`.
const TO: &[&str] = &[
    "mode",
    "ignore-error",
    "mounts",
    "mounts-scope",
    "mounts-limit",
    "sign-key",
    "compression",
    "compression-level",
    "force-compression",
    "timeout",
];
/// The attributes of every `--cache-from`.
const FROM: &[&str] = &["mounts", "mounts-scope", "verify-key", "timeout"];
/// Attributes that are secret or belong to one job: no message names them.
const UNSPOKEN: &[&str] = &["access_key_id", "secret_access_key", "session_token", "token", "url_v2"];
/// The largest cache mount that is saved without `mounts-limit=`.
const LARGEST_MOUNT: u64 = 2 << 30;

/// The parts of the host that a backend may need.
pub struct Surroundings<'a> {
    /// The store that blobs are downloaded to.
    pub store: &'a Store,
    /// The settings for registries.
    pub settings: &'a Settings,
}

/// The direction in which a cache is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `--cache-to`.
    To,
    /// `--cache-from`.
    From,
}

/// A `--cache-to` or `--cache-from` option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The flag.
    pub way: Way,
    /// The attributes in the option.
    pub attributes: Attributes,
}

impl Wanted {
    /// Sets missing attributes from the environment.
    pub fn complete(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for (key, names) in self.row()?.variables {
            let mut set = names.iter().filter_map(|name| env(name)).filter(|value| !value.is_empty());
            if let (false, Some(value)) = (self.attributes.has(key), set.next()) {
                self.attributes.set(key, &value);
            }
        }
        Ok(())
    }

    /// Checks that the backend knows all attributes. This runs before the build, which a wrong
    /// attribute must not delay.
    pub fn check(&self) -> Result<()> {
        let row = self.row()?;
        let place = row.place[usize::from(self.way == Way::From)];
        let common = if self.way == Way::To { TO } else { FROM };
        let unused = row.unused.iter().map(|(key, _)| *key);
        let places = [place].into_iter().filter(|p| !p.is_empty());
        let known: Vec<&str> = row.attributes.iter().chain(common).copied().chain(places).chain(unused).collect();
        if let Some(key) = self.attributes.keys().find(|key| !known.contains(key)) {
            return Err(Error::unknown(&format!("attribute of {} type={}", self.flag_name(), row.name), key, known));
        }
        if !place.is_empty() && self.attributes.text(place).is_none() {
            return Err(Error::new(Kind::Usage, format!("{} type={} needs {place}=", self.flag_name(), row.name)));
        }
        self.mode()?;
        self.compression()?;
        self.timeout()?;
        self.mounts_limit()?;
        if self.attributes.kind == "inline" && self.way == Way::From {
            return Err(Error::new(Kind::Usage, "--cache-from type=inline is no place")
                .hint("write the name of the image: --cache-from REF"));
        }
        let flags = ["ignore-error", "mounts", "force-compression", "registry.insecure"];
        flags.iter().try_for_each(|key| self.attributes.flag(key, false).map(drop))
    }

    fn row(&self) -> Result<&'static Row> {
        BACKENDS.iter().find(|row| row.name == self.attributes.kind).ok_or_else(|| {
            Error::unknown(
                &format!("type of {}", self.flag_name()),
                &self.attributes.kind,
                BACKENDS.iter().map(|row| row.name),
            )
        })
    }

    /// The name for messages, as `registry localhost:5000/cache`.
    pub fn title(&self) -> String {
        let place = self.row().map(|row| row.place).unwrap_or(["", ""]);
        let place = place.iter().find_map(|key| self.attributes.text(key)).unwrap_or_default();
        format!("{} {place}", self.attributes.kind).trim_end().to_owned()
    }

    /// The same cache as another build would name it, for the notes.
    fn noted(&self) -> notes::Place {
        let row = self.row().ok();
        let mut from = format!("type={}", self.attributes.kind);
        let place = match self.attributes.kind.as_str() {
            // Another build may start in another directory.
            "local" => std::path::absolute(self.place()).map(|path| path.display().to_string()).unwrap_or_default(),
            _ => self.place().to_owned(),
        };
        let key = row.map(|row| row.place[1]).unwrap_or_default();
        let others = row.iter().flat_map(|row| row.attributes).filter(|key| !UNSPOKEN.contains(key));
        let others = others.filter_map(|key| Some((*key, self.attributes.text(key)?.to_owned())));
        for (key, value) in [(key, place)].into_iter().filter(|(key, _)| !key.is_empty()).chain(others) {
            let field = format!("{key}={value}");
            let quoted = field.contains(',').then(|| format!("\"{field}\""));
            from.extend([",", quoted.as_ref().unwrap_or(&field)]);
        }
        notes::Place { from, title: self.title() }
    }

    /// A text that is equal for two options with the same place.
    fn identity(&self) -> String {
        let row = self.row();
        let attributes =
            row.iter().flat_map(|row| row.attributes).map(|key| self.attributes.text(key).unwrap_or_default());
        let place = Some(self.place()).into_iter();
        [self.attributes.kind.as_str()].into_iter().chain(place).chain(attributes).collect::<Vec<_>>().join("\n")
    }

    fn open(&self, surroundings: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
        (self.row()?.open)(self, surroundings)
    }

    fn flag_name(&self) -> &'static str {
        if self.way == Way::To { "--cache-to" } else { "--cache-from" }
    }

    /// The value of the attribute that names the place.
    fn place(&self) -> &str {
        let key = self.row().map(|row| row.place[usize::from(self.way == Way::From)]).unwrap_or_default();
        self.attributes.text(key).unwrap_or_default()
    }

    /// The mode: `max` pushes every step, `min` only those of the image.
    fn mode(&self) -> Result<Mode> {
        match self.attributes.text("mode") {
            None | Some("max") => Ok(Mode::Max),
            Some("min") => Ok(Mode::Min),
            Some(other) => Err(Error::unknown("mode", other, ["min", "max"])),
        }
    }

    /// The allowed silence: seconds, or minutes as BuildKit's `10m`.
    fn timeout(&self) -> Result<Duration> {
        let Some(text) = self.attributes.text("timeout") else { return Ok(Duration::from_secs(10)) };
        let (number, unit) = match text.strip_suffix('m') {
            Some(minutes) => (minutes, 60),
            None => (text.strip_suffix('s').unwrap_or(text), 1),
        };
        let number = number.parse::<u64>().ok().map(|number| number.saturating_mul(unit));
        number.filter(|number| (1..=3600).contains(number)).map(Duration::from_secs).ok_or_else(|| {
            Error::new(Kind::Usage, format!("timeout={text} is no number of seconds")).hint("for example 10s")
        })
    }

    /// The compression of layers.
    fn compression(&self) -> Result<Compression> {
        Compression::wanted(&self.attributes)
    }

    /// True if it can be opened. Warns about attributes without effect.
    fn is_usable(&self, observer: &Arc<dyn Observer>) -> bool {
        let warn = |text: String| observer.event(SystemTime::now(), &Event::Warning { text });
        let row = self.row().ok();
        for (key, why) in row.iter().flat_map(|row| row.unused).filter(|(key, _)| self.attributes.has(key)) {
            warn(format!("{} type={}: {key}= has no effect: {why}", self.flag_name(), self.attributes.kind));
        }
        let missing = |key: &&str| self.attributes.text(key).is_none();
        let missing = if self.attributes.kind == "gha" { ["url_v2", "token"].into_iter().find(missing) } else { None };
        if let Some(key) = missing {
            warn(format!(
                "{} type=gha is not used: it needs {key}=, and there is nothing in {}; a `run:` step does not have it: \
                 `uses: crazy-max/ghaction-github-runtime@v3` before it exports it (docs/ci.md)",
                self.flag_name(),
                if key == "token" { "ACTIONS_RUNTIME_TOKEN" } else { "ACTIONS_RESULTS_URL" },
            ));
        }
        missing.is_none()
    }

    /// The scopes of cache mounts: the first is written, all are read in order.
    fn scopes(&self) -> Vec<String> {
        let scopes = self.attributes.text("mounts-scope").unwrap_or("default").split(';').map(str::trim);
        scopes.filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
    }

    /// The largest cache mount in bytes.
    fn mounts_limit(&self) -> Result<u64> {
        let Some(text) = self.attributes.text("mounts-limit") else { return Ok(LARGEST_MOUNT) };
        size::parse(text).ok_or_else(|| {
            Error::new(Kind::Usage, format!("mounts-limit={text} is no size")).hint("for example 500m or 2g")
        })
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.attributes.text(key).map(PathBuf::from)
    }
}

/// The steps that are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The steps of the image.
    Min,
    /// Every step.
    Max,
}

/// The description of all backends for the user.
pub fn help() -> String {
    BACKENDS
        .iter()
        .map(|row| {
            let place = if row.place[0].is_empty() {
                row.attributes.first().copied().unwrap_or("compression").to_owned()
            } else if row.place[0] == row.place[1] {
                row.place[0].to_owned()
            } else {
                row.place.join("= or ")
            };
            format!("  type={:<10}{} ({place}=)\n", row.name, row.help)
        })
        .collect()
}

/// Calls `work` for each item on threads of its own, several at once: waiting for a network must
/// not occupy the cores that compress. The results are in the order of the items; after a failure
/// no new item is started.
pub fn side_by_side<T: Sync, R: Send>(
    things: &[T],
    at_once: usize,
    work: &(dyn Fn(&T) -> Result<R> + Sync),
) -> Vec<Result<R>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(things.len()) {
            scope.spawn(|| {
                while !failed.load(Ordering::SeqCst) {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(thing) = things.get(at) else { return };
                    let result = work(thing);
                    failed.fetch_or(result.is_err(), Ordering::SeqCst);
                    lock(&results).push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
