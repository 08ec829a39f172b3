//! Imports and exports layers between machines: the facts of a layer without its bytes, and a layer
//! made of them, whose blob is downloaded when it is needed. This module does not know where layers
//! come from or go to.
//!
//! An imported layer is treated like a base layer: its plain bytes are checked against its diff id
//! before they are used. It also keeps its kind, its times and its content digest, so that a build
//! on another machine makes the same image and the same keys.

use super::derive::put_text;
use super::{BaseBlob, Compression, LayerId, LayerKind, Layers, Record, json};
use base::digest::{DiffId, Digest};
use base::error::{At, Error, Kind, Result};
use base::sync::lock;
use serde::{Deserialize, Serialize};
use std::fs;
use store::lease;
use store::remove::remove_tree;

/// All facts about a layer except its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The kind of step that made it.
    pub kind: LayerKind,
    /// The creation time in seconds since 1970; 0 for a base layer, whose image has the time.
    pub created: i64,
    /// Start and end of its RUN in seconds and nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<[(i64, u32); 2]>,
    /// The digest of its plain tar.
    pub diff_id: DiffId,
    /// The content digest; for a base layer its diff id.
    pub content: Digest,
    /// The blob with its bytes.
    pub blob: BaseBlob,
    /// The compression of the blob, from which another kiln makes the same blob of the same tree.
    /// Empty for a base layer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub packed: String,
}

impl Layers {
    /// The facts of a layer. Packs its blob if needed; the blob of a base layer is not downloaded.
    pub fn facts(&self, id: &LayerId, how: Compression) -> Result<Facts> {
        let record = self.record(id)?;
        if let (LayerKind::Base, Some(blob)) = (record.kind, &record.blob) {
            let diff_id = self.diff_id(id, None)?;
            let (kind, blob) = (LayerKind::Base, blob.clone());
            return Ok(Facts {
                kind,
                created: 0,
                window: None,
                diff_id,
                content: diff_id.0,
                blob,
                packed: String::new(),
            });
        }
        if record.blob.as_ref().is_some_and(|blob| !self.store().has(&blob.digest)) {
            // The layer was imported itself, and its bytes have not been needed yet.
            let path = self.folder(id).join("facts");
            let bytes = fs::read(&path).at("read", &path)?;
            return serde_json::from_slice(&bytes).at("read", &path);
        }
        let blob = self.blob(id, how, false, None)?;
        Ok(Facts {
            kind: record.kind,
            created: record.created,
            window: record.window,
            diff_id: blob.diff_id,
            content: self.content(id)?,
            blob: BaseBlob { digest: blob.digest, size: blob.size, media_type: blob.media_type },
            packed: how.label(),
        })
    }

    /// Adds a layer of another machine on top of `below`. Its blob may still be missing.
    pub fn import(&self, facts: &Facts, below: Option<&LayerId>) -> Result<LayerId> {
        if facts.kind == LayerKind::Base {
            return self.base(facts.diff_id, &facts.blob, below);
        }
        let text = serde_json::to_string(facts)
            .map_err(|cause| Error::new(Kind::Store, "cannot name a layer").because(cause))?;
        let below_text = below.map(ToString::to_string).unwrap_or_default();
        let id = LayerId(Digest::of(format!("travelled {below_text} {text}").as_bytes()).hex());
        let folder = self.folder(&id);
        if self.keep(std::slice::from_ref(&id)) {
            return Ok(id);
        }
        let label: String = facts.packed.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        let record = Record {
            kind: facts.kind,
            created: facts.created,
            window: facts.window,
            blob: Some(facts.blob.clone()),
            earlier: None,
            below: below.cloned(),
        };
        let bytes = json(&record)?;
        self.store().make(lease::layer(&id), || {
            fs::create_dir_all(&folder).at("make", &folder)?;
            put_text(&folder.join("diff-id"), &facts.diff_id.to_string())?;
            put_text(&folder.join("content"), &facts.content.to_string())?;
            put_text(&folder.join("facts"), &text)?;
            put_text(&folder.join(format!("blob-{label}")), &format!("{} {}", facts.blob.digest, facts.blob.size))?;
            let temp = self.store().temp("record");
            fs::write(&temp, &bytes).at("write", &temp)?;
            fs::rename(&temp, folder.join("record")).at("publish", &folder)
        })?;
        Ok(id)
    }

    /// True if the layer was imported from a build cache, with or without its bytes so far.
    pub fn travelled(&self, id: &LayerId) -> bool {
        self.record(id).is_ok_and(|record| record.kind != LayerKind::Base && record.blob.is_some())
    }

    /// True if a base layer is already known on top of `below`, with this same blob.
    pub fn knows_base(&self, facts: &Facts, below: Option<&LayerId>) -> bool {
        let id = super::base_layer::name(facts.diff_id, below);
        let blob = |record: Record| record.blob.map(|blob| (blob.digest, blob.size));
        self.keep(std::slice::from_ref(&id))
            && self.record(&id).ok().and_then(blob) == Some((facts.blob.digest, facts.blob.size))
    }

    /// Checks the files of an imported layer against the content digest in its record, which the
    /// keys of later steps depend on. Its directory must exist.
    pub fn check_content(&self, id: &LayerId) -> Result<()> {
        if !self.travelled(id) || self.folder(id).join("checked").exists() {
            return Ok(());
        }
        let promised = self.content(id)?;
        let found = self.content_now(id, Some(promised))?;
        if promised != found {
            let message = format!("layer {id} of a cache: its files have the digest {found}");
            return Err(Error::new(Kind::Lost, message));
        }
        put_text(&self.folder(id).join("checked"), "")
    }

    /// Reads the blob of a layer to its end and checks it against the diff id.
    pub fn verify(&self, id: &LayerId) -> Result<()> {
        self.read_plain(id, &mut |_| Ok(()))
    }

    /// Deletes a layer whose bytes cannot be downloaded. Everything that names it is a cache miss
    /// from now on.
    pub fn forget(&self, id: &LayerId) {
        let temp = self.store().temp("lost");
        // A failed removal leaves a directory without a name, which goes with the store's temporary
        // directory.
        let _ = fs::rename(self.folder(id), &temp).and_then(|()| remove_tree(&temp));
        lock(&self.0.trees).remove(id);
        self.0.known.forget(id);
    }
}
