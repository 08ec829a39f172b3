//! Layers that travel between machines: what is known of one without its bytes, and a layer made of that whose blob is
//! brought when somebody needs it. Knows nothing of where it comes from or goes to.
//!
//! A layer that came so is like one of a base: its plain bytes are checked against its diff id before anything of them
//! is used. Unlike one of a base it keeps its kind, its times and its content digest, so that a build on another machine
//! makes the same image and the same keys.

use super::derive::put_text;
use super::{BaseBlob, Compression, LayerId, LayerKind, Layers, Record, json};
use base::digest::{DiffId, Digest};
use base::error::{At, Error, Kind, Result};
use base::sync::lock;
use serde::{Deserialize, Serialize};
use std::fs;
use store::lease;
use store::remove::remove_tree;

/// All that is known of a layer but its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What made it.
    pub kind: LayerKind,
    /// When, in seconds since 1970; of a base 0, since it is known by its image.
    pub created: i64,
    /// When its RUN ran: seconds and nanoseconds of begin and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<[(i64, u32); 2]>,
    /// Of its plain tar.
    pub diff_id: DiffId,
    /// The content digest; of a base its diff id.
    pub content: Digest,
    /// What its bytes come as.
    pub blob: BaseBlob,
    /// How the blob was packed: another kiln makes the same of the same tree. Empty for a base.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub packed: String,
}

impl Layers {
    /// The facts of a layer. Its blob is packed if need be; that of a base is not brought.
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
            // It travelled here itself, and nobody has needed its bytes yet.
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

    /// Makes a layer of another machine known, on top of `below`. Its blob may still be missing.
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

    /// Whether the bytes of a layer came, or are to come, from another machine's cache.
    pub fn travelled(&self, id: &LayerId) -> bool {
        self.record(id).is_ok_and(|record| record.kind != LayerKind::Base && record.blob.is_some())
    }

    /// Whether a base layer is known already, on top of `below` and with this very blob.
    pub fn knows_base(&self, facts: &Facts, below: Option<&LayerId>) -> bool {
        let id = super::base_layer::name(facts.diff_id, below);
        let blob = |record: Record| record.blob.map(|blob| (blob.digest, blob.size));
        self.keep(std::slice::from_ref(&id))
            && self.record(&id).ok().and_then(blob) == Some((facts.blob.digest, facts.blob.size))
    }

    /// Checks that the content of a layer, whose directory is there, is what its record promised: keys of later steps are
    /// made of it.
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

    /// Reads the blob of a layer to its end: it is what its diff id says, or an error.
    pub fn verify(&self, id: &LayerId) -> Result<()> {
        self.read_plain(id, &mut |_| Ok(()))
    }

    /// Takes a layer away whose bytes can't be had: whatever names it is a miss from now on.
    pub fn forget(&self, id: &LayerId) {
        let temp = self.store().temp("lost");
        // What is left over has no name and goes with the store's temporary folder.
        let _ = fs::rename(self.folder(id), &temp).and_then(|()| remove_tree(&temp));
        lock(&self.0.trees).remove(id);
        self.0.known.forget(id);
    }
}
