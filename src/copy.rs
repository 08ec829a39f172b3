//! COPY, ADD and WORKDIR: turn files into the entries of a layer. This module does not know keys,
//! the storage of layers, or the origin of its sources.
//!
//! There are three steps, so that a key can be computed before anything is written:
//!
//! 1. [`select()`] walks and hashes the sources. Its digest represents them.
//! 2. [`facts`] plans the layer on top of its base. The digest covers everything that was looked up
//!    there: the resolved destination, the entry there, the metadata of parents that the layer
//!    repeats, the ids of names. (With `--link` there is no base.) Archives are read here, to a
//!    temporary file, because the paths of their members depend on links in the target.
//! 3. [`entries`] adds times and readers to the plan. No file is opened before its bytes are
//!    needed.
//!
//! A user's file may change after step 1. Each file is compared with the digest of the selection
//! while it is read: archives here, other files by the writer of the layer.

mod mode;
mod owner;
mod pattern;
mod place;
mod plan;
mod select;
mod selection;
mod unpack;
mod verified;

pub use owner::{Owner, owner};
pub use select::{Sources, below, select};
pub use selection::Selection;

use base::digest::Digest;
use base::error::{Error, Kind, Result};
use frontend::op::{self, CopySource, FileAction};
use layer::Bytes;
use layer::files::Files;
use layer::tree::{Entry, Time, order};
use mode::Chmod;
use place::Placing;
use plan::{Content, Made, Plan};
use selection::Picked;
use store::Store;
use verified::Verified;

/// A planned layer, and the facts of the base that the plan depends on.
pub struct Facts {
    made: Vec<Made>,
    digest: Digest,
}

impl Facts {
    /// The digest of all facts that were looked up in the base.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The paths of files whose times are not the time of the step, with these times.
    pub fn times(&self) -> impl Iterator<Item = (&[u8], Time)> {
        let timed = self.made.iter().filter(|made| !made.now && !made.entry.node.is_dir());
        timed.map(|made| (&*made.entry.path, made.entry.mtime))
    }
}

/// Plans the layer of a copy on its base. The base is `None` for an empty root, and is ignored with
/// `--link`.
pub fn facts(
    op: &op::Copy,
    selection: &Selection,
    sources: Sources<'_, '_>,
    base: Option<&dyn Files>,
    store: &Store,
) -> Result<Facts> {
    let base = base.filter(|_| !op.link);
    let mut plan = Plan::new(base);
    let owner = op.owner.as_deref().map(|text| owned(text, base, &plan)).transpose()?;
    let chmod = op.mode.as_deref().map(Chmod::parse).transpose()?;
    let placing = Placing { dest: &op.dest, owner, chmod };
    for picked in &selection.picked {
        match picked {
            Picked::Path(taken) => {
                if !(taken.unpack && add(taken, sources(taken.input)?, &placing, &mut plan, store)?) {
                    placing.copy(taken, &mut plan)?;
                }
            }
            Picked::Inline(number) => {
                if let Some(CopySource::Inline { name, data }) = op.sources.get(*number) {
                    placing.inline(name, data.len() as u64, *number, &mut plan)?;
                }
            }
        }
    }
    let (made, digest) = plan.finish();
    Ok(Facts { made, digest })
}

/// Unpacks a file if it is an archive.
fn add(
    taken: &selection::Files,
    files: &dyn Files,
    placing: &Placing<'_>,
    plan: &mut Plan<'_>,
    store: &Store,
) -> Result<bool> {
    let file = Verified::open(files, taken.root())?;
    let unpacked = match unpack::archive(file.reader()) {
        Some(archive) => unpack::unpack(archive, &placing.dest(), placing.owner, plan, store).map(|()| true),
        None => Ok(false),
    };
    // The result may come from a file that has changed, so the digest is checked first.
    file.verify()?;
    unpacked.map_err(|error| {
        let name = layer::tree::show(&taken.name);
        error.context(format_args!("cannot unpack `{name}`")).hint("`ADD --unpack=false` copies it as it is")
    })
}

/// Plans the layer of a WORKDIR: the directory and its missing parents; empty if it exists.
pub fn mkdir_facts(action: &FileAction, base: Option<&dyn Files>) -> Result<Facts> {
    let FileAction::Mkdir { path, user } = action;
    let mut plan = Plan::new(base);
    let owner = (!user.is_empty()).then(|| owned(user, base, &plan)).transpose()?;
    let path = pattern::parts(path).join("/").into_bytes();
    let path = plan.resolve(&path)?.path;
    plan.make_dirs(&path, 0o755, owner)?;
    let (made, digest) = plan.finish();
    Ok(Facts { made, digest })
}

/// The layer of a WORKDIR in one step.
pub fn mkdir(action: &FileAction, base: Option<&dyn Files>, now: Time) -> Result<Vec<(Entry, Bytes)>> {
    let facts = mkdir_facts(action, base)?;
    Ok(timed(facts.made, now).map(|(entry, _)| (entry, Bytes::None)).collect())
}

/// The layer of a copy in tree order. `now` is the time of made directories and here-documents.
/// Hard links share a number, and each of them has the bytes.
pub fn entries(
    op: &op::Copy,
    facts: Facts,
    sources: Sources<'_, '_>,
    base: Option<&dyn Files>,
    now: Time,
) -> Result<Vec<(Entry, Bytes)>> {
    let mut result = Vec::with_capacity(facts.made.len());
    for (entry, content) in timed(facts.made, now) {
        let bytes = match content {
            Content::None => Bytes::None,
            Content::Source(input, path) => {
                let files = sources(input)?;
                let open = files.opener(&path);
                if files.lasts() { Bytes::Open(open) } else { Bytes::Watched(open, path) }
            }
            Content::Inline(number) => match op.sources.get(number) {
                Some(CopySource::Inline { data, .. }) => Bytes::Inline(data.clone()),
                _ => return Err(Error::new(Kind::Dockerfile, format!("the copy has no here-document {number}"))),
            },
            Content::Spooled { file, offset, size } => {
                Bytes::Open(Box::new(move || Ok(Box::new(unpack::Part { file, offset, left: size }))))
            }
            Content::Base(path) => base.map_or(Bytes::None, |base| Bytes::Open(base.opener(&path))),
        };
        result.push((entry, bytes));
    }
    Ok(result)
}

/// Looks up the owner with a name, and records it as a fact.
fn owned(text: &str, base: Option<&dyn Files>, plan: &Plan<'_>) -> Result<Owner> {
    let owner = owner(text, base)?;
    plan.record("uid", u64::from(owner.uid));
    plan.record("gid", u64::from(owner.gid));
    Ok(owner)
}

fn timed(mut made: Vec<Made>, now: Time) -> impl Iterator<Item = (Entry, Content)> {
    // The root belongs to no layer.
    made.retain(|made| !made.entry.path.is_empty());
    made.sort_by(|a, b| order(&a.entry.path, &b.entry.path));
    made.into_iter().map(move |made| {
        let mtime = if made.now { now } else { made.entry.mtime };
        (Entry { mtime, ..made.entry }, made.content)
    })
}

#[cfg(test)]
mod tests;
