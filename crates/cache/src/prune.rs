//! Removes old records of a remote cache for its owner. Nobody knows whether a record is still
//! read, so age decides. A build pushes a record again if the record is more than a week old.
//!
//! Records are removed by the batch. The age of a batch is in its name, unless the backend reports
//! an older time. Cache mounts stay, as each is one object that is overwritten (`kiln cache rm`
//! removes them). Then the backend removes unnamed blobs, if it has no collector of its own
//! ([`Backend::sweep`]). A job that pushes meanwhile may rely on a removed chunk: its record is a
//! miss later, as with any lost blob.
//!
//! Records of the previous format are objects of their own, and the backend decides their age. If
//! it reports no time (a registry), they stay: there, equal records of several tags are one
//! manifest.

use super::batch::{self, PREFIX, time_of};
use super::catalog::INDEX;
use super::{Backend, Listed, mounts, side_by_side};
use base::error::Result;
use layer::BaseBlob;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of concurrent requests.
const AT_ONCE: usize = 8;

/// The result of pruning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The number of removed records.
    pub records: u64,
    /// The number of kept records.
    pub kept: u64,
    /// The size of removed blobs in bytes.
    pub bytes: u64,
}

/// Removes the records that are at least as old as a time in seconds since 1970.
pub(super) fn prune(backend: &dyn Backend, before: u64) -> Result<Pruned> {
    let all = backend.list("")?;
    let newest = all.iter().map(|listed| listed.name.as_str()).filter(|name| time_of(INDEX, name).is_some()).max();
    let (gone, kept) = (AtomicU64::new(0), AtomicU64::new(0));
    let look = |listed: &Listed| -> Result<bool> {
        let name = listed.name.as_str();
        if time_of(INDEX, name).is_some() {
            // Only the newest index is read, and its entries for missing batches are ignored.
            let old = Some(name) != newest || time_of(INDEX, name).is_some_and(|at| at / 1000 <= before);
            return if old { backend.remove(name).map(|()| true) } else { Ok(false) };
        }
        let Some(at) = age(listed) else { return Ok(false) };
        let records = if at <= before || time_of(PREFIX, name).is_some() { count(backend, name)? } else { 1 };
        if at <= before {
            backend.remove(name)?;
        }
        (if at <= before { &gone } else { &kept }).fetch_add(records, Ordering::Relaxed);
        Ok(at <= before)
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

/// The time of a batch, or of a record of the previous format, in seconds since 1970; `None` for
/// other objects.
fn age(listed: &Listed) -> Option<u64> {
    match time_of(PREFIX, &listed.name) {
        Some(at) => Some(listed.at.unwrap_or(u64::MAX).min(at / 1000)),
        None => listed.at.filter(|_| is_of_version_1(&listed.name)),
    }
}

/// True if an object is a record of the format before batches.
fn is_of_version_1(name: &str) -> bool {
    let key = ["written-", "settled-", "described-", "same-"].iter().find_map(|shelf| name.strip_prefix(shelf));
    key.is_some_and(|key| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The number of records in an object; an unreadable one counts as one.
fn count(backend: &dyn Backend, name: &str) -> Result<u64> {
    let batch = backend.get(name)?.and_then(|object| batch::open(name, &object, None).ok());
    Ok(batch.map_or(1, |batch| batch.records().count() as u64))
}

/// The blobs that an object names, without checking its signature.
fn blobs_of(name: &str, object: &[u8]) -> Vec<BaseBlob> {
    match batch::open(name, object, None) {
        Ok(batch) => batch.blobs().cloned().collect(),
        Err(_) => match mounts::blobs_of(name, object) {
            blobs if blobs.is_empty() => old_blobs_of(object),
            blobs => blobs,
        },
    }
}

/// The blobs of a record in the previous format.
fn old_blobs_of(object: &[u8]) -> Vec<BaseBlob> {
    let body = object.windows(2).position(|pair| pair == b"\n\n").and_then(|end| object.get(end + 2..));
    let value: serde_json::Value = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let layers = value["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    layers.iter().filter_map(|layer| serde_json::from_value(layer["blob"].clone()).ok()).collect()
}
