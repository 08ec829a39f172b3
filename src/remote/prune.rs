//! Old records of a remote cache, removed by whoever owns it: nobody knows whether a record is still read, so age
//! decides. A build that still has such a result pushes it again.
//!
//! A record's age is that of its object where the backend knows it (directory, S3), else that of the youngest layer in it.
//! Cache mounts stay: each is one object that is written anew (`kiln cache rm` removes them). Then the backend
//! removes what no object names any more, if nobody else does that for it ([`Backend::sweep`]). A job that pushes meanwhile may count on a
//! chunk that goes: its record is a miss later, as when any blob is lost.

use super::record::{self, Record};
use super::{Backend, Listed, mounts, side_by_side};
use crate::error::Result;
use crate::layer::BaseBlob;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests at once.
const AT_ONCE: usize = 8;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records that went.
    pub records: u64,
    /// Records that stayed.
    pub kept: u64,
    /// Bytes of blobs that nothing names any more.
    pub bytes: u64,
}

/// Removes the records that are as old as a time, or older, in seconds since 1970.
pub(super) fn prune(backend: &dyn Backend, before: u64) -> Result<Pruned> {
    let all = backend.list("")?;
    let (gone, kept) = (AtomicU64::new(0), AtomicU64::new(0));
    let look = |listed: &Listed| -> Result<bool> {
        if !record::is_name(&listed.name) {
            return Ok(false);
        }
        let at = match listed.at {
            Some(at) => Some(at),
            None => backend.get(&listed.name)?.and_then(|object| made(&listed.name, &object)),
        };
        let old = at.is_some_and(|at| at <= before);
        if old {
            backend.remove(&listed.name)?;
        }
        (if old { &gone } else { &kept }).fetch_add(1, Ordering::Relaxed);
        Ok(old)
    };
    let removed = side_by_side(&all, AT_ONCE, &look).into_iter().collect::<Result<Vec<bool>>>()?;
    let rest: Vec<&str> =
        all.iter().zip(removed).filter(|(_, removed)| !removed).map(|(listed, _)| listed.name.as_str()).collect();
    let named = || {
        let blobs = |name: &&str| Ok(backend.get(name)?.map(|object| blobs_of(name, &object)).unwrap_or_default());
        let all = side_by_side(&rest, AT_ONCE, &blobs).into_iter().collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().flatten().collect())
    };
    let bytes = backend.sweep(before, &named)?;
    Ok(Pruned { records: gone.into_inner(), kept: kept.into_inner(), bytes })
}

/// When the youngest layer of a record was made; nobody knows it of what can't be read, a newer kiln's for example.
fn made(name: &str, object: &[u8]) -> Option<u64> {
    let record = Record::unchecked(name, object)?;
    record.layers.iter().filter_map(|facts| u64::try_from(facts.created).ok()).max()
}

/// The blobs that an object names.
fn blobs_of(name: &str, object: &[u8]) -> Vec<BaseBlob> {
    match Record::unchecked(name, object) {
        Some(record) => record.layers.into_iter().map(|facts| facts.blob).collect(),
        None => mounts::blobs_of(name, object),
    }
}
