//! Chooses the image of an index for a platform (OCI image specification, image-index.md). An index
//! may contain indexes, and may omit a platform: then the image's config has it. This module does
//! not know where documents come from.

use base::digest::Digest;
use base::error::{Error, Kind, Result};
use frontend::platform::Platform;
use serde_json::Value;

/// The deepest nesting of indexes.
const DEEPEST: usize = 4;
/// The most documents that are requested.
const MOST: usize = 100;

/// A manifest, an index or a config.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// The digest of the bytes.
    pub(super) digest: Digest,
    /// The bytes, unchanged.
    pub(super) bytes: Vec<u8>,
}

/// The kind of a requested document, as registries have separate endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A manifest or an index.
    Manifest,
    /// A config of this size in bytes.
    Config(u64),
}

/// Fetches a document by its digest, as it is written.
pub(super) type Get<'a> = &'a dyn Fn(Part, &str) -> Result<Document>;

/// Finds the manifest for a platform. A document that is no index is returned unchanged.
pub(super) fn choose(top: Document, name: &str, platform: &Platform, get: Get<'_>) -> Result<Document> {
    let value = parse(&top.bytes, name)?;
    if !is_index(&value) {
        return Ok(top);
    }
    let mut search = Search { name, platform, get, asked: 0, seen: Vec::new() };
    match search.best(&value, 1)? {
        Some((_, found)) => Ok(found),
        None => {
            let seen = if search.seen.is_empty() { "none".to_owned() } else { search.seen.join(", ") };
            Err(Error::new(Kind::Source, format!("{name}: no image for {platform}")).hint(format!("there is {seen}")))
        }
    }
}

/// True if a document lists others. As in Go, `null` equals a missing field.
pub(super) fn is_index(value: &Value) -> bool {
    value.get("manifests").is_some_and(|list| !list.is_null())
}

fn parse(bytes: &[u8], name: &str) -> Result<Value> {
    serde_json::from_slice(bytes)
        .map_err(|cause| Error::new(Kind::Source, format!("{name}: the manifest can't be read")).because(cause))
}

struct Search<'a> {
    name: &'a str,
    platform: &'a Platform,
    get: Get<'a>,
    asked: usize,
    /// The available platforms, for the error.
    seen: Vec<String>,
}

impl Search<'_> {
    /// The best image below an index, with its rank.
    fn best(&mut self, index: &Value, depth: usize) -> Result<Option<(usize, Document)>> {
        if depth > DEEPEST {
            return Err(Error::new(Kind::Source, format!("{}: indexes inside indexes without end", self.name)));
        }
        let listed = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
        let (mut said, mut unsaid) = (Vec::new(), Vec::new());
        for entry in listed.iter().filter(|entry| !is_attestation(entry)) {
            match platform_of(&entry["platform"]) {
                None => unsaid.push(entry),
                Some(found) => match self.platform.rank(&found) {
                    Some(rank) => said.push((rank, entry)),
                    None => self.seen.push(found.to_string()),
                },
            }
        }
        said.sort_by_key(|(rank, _)| *rank);
        for (rank, entry) in said {
            let document = self.bring(Part::Manifest, entry)?;
            let value = parse(&document.bytes, self.name)?;
            if !is_index(&value) {
                return Ok(Some((rank, document)));
            }
            if let Some(found) = self.best(&value, depth + 1)? {
                return Ok(Some(found));
            }
        }
        let mut best: Option<(usize, Document)> = None;
        for entry in unsaid {
            let document = self.bring(Part::Manifest, entry)?;
            let value = parse(&document.bytes, self.name)?;
            let found = match is_index(&value) {
                true => self.best(&value, depth + 1)?,
                false => self.rank_by_config(&value)?.map(|rank| (rank, document)),
            };
            if let Some(found) = found
                && best.as_ref().is_none_or(|(rank, _)| found.0 < *rank)
            {
                best = Some(found);
            }
        }
        Ok(best)
    }

    fn rank_by_config(&mut self, manifest: &Value) -> Result<Option<usize>> {
        let config = &manifest["config"];
        let config = self.bring(Part::Config(config["size"].as_u64().unwrap_or(0)), config)?;
        let config: Value = serde_json::from_slice(&config.bytes).unwrap_or_default();
        let Some(found) = platform_of(&config) else { return Ok(None) };
        let rank = self.platform.rank(&found);
        if rank.is_none() {
            self.seen.push(found.to_string());
        }
        Ok(rank)
    }

    fn bring(&mut self, part: Part, descriptor: &Value) -> Result<Document> {
        self.asked += 1;
        if self.asked > MOST {
            return Err(Error::new(Kind::Source, format!("{}: an index with too many images", self.name)));
        }
        (self.get)(part, descriptor["digest"].as_str().unwrap_or_default())
    }
}

/// True for an attestation: an index lists them beside images, under an unknown platform.
fn is_attestation(entry: &Value) -> bool {
    entry["annotations"]["vnd.docker.reference.type"].is_string() || entry["platform"]["os"] == "unknown"
}

/// The platform in a descriptor or a config, if there is one.
fn platform_of(value: &Value) -> Option<Platform> {
    let field = |key: &str| value[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Platform { os: field("os")?, architecture: field("architecture")?, variant: field("variant") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Shelf(BTreeMap<String, Vec<u8>>);

    impl Shelf {
        fn put(&mut self, value: &Value) -> String {
            let bytes = value.to_string().into_bytes();
            let digest = Digest::of(&bytes).to_string();
            self.0.insert(digest.clone(), bytes);
            digest
        }

        /// An image whose config has its platform.
        fn image(&mut self, architecture: &str) -> String {
            let config = self.put(&json!({"os": "linux", "architecture": architecture}));
            self.put(&json!({"config": {"digest": config}}))
        }

        fn index(&mut self, entries: &[(&str, Option<&str>)]) -> String {
            let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
            let entry = |(digest, of): &(&str, Option<&str>)| json!({"digest": digest, "platform": of.map(platform)});
            self.put(&json!({"manifests": entries.iter().map(entry).collect::<Vec<_>>()}))
        }

        fn choose(&self, top: &str, platform: &str) -> Result<String> {
            let get = |_: Part, digest: &str| {
                let bytes = self.0.get(digest).cloned();
                let bytes = bytes.ok_or_else(|| Error::new(Kind::Source, "not there"))?;
                Ok(Document { digest: Digest::of(&bytes), bytes })
            };
            choose(get(Part::Manifest, top)?, "x", &Platform::parse(platform).expect("one"), &get)
                .map(|found| found.digest.to_string())
        }
    }

    #[test]
    fn images_are_found_in_nested_indexes_and_by_their_config() {
        let mut shelf = Shelf::default();
        let (amd, arm, old) = (shelf.image("amd64"), shelf.image("arm64"), shelf.image("386"));
        let flat = shelf.index(&[(&arm, Some("arm64")), (&amd, Some("amd64"))]);
        let silent = shelf.index(&[(&old, None), (&arm, None), (&amd, None)]);
        let nested = shelf.index(&[(&flat, None)]);
        let twice = shelf.index(&[(&nested, None)]);
        let named = shelf.index(&[(&flat, Some("amd64"))]);
        for top in [&flat, &silent, &nested, &twice, &named] {
            assert_eq!(shelf.choose(top, "linux/amd64").ok(), Some(amd.clone()), "{top}");
        }
        assert_eq!(shelf.choose(&twice, "linux/arm64").ok(), Some(arm.clone()));
        assert_eq!(shelf.choose(&amd, "linux/arm64").ok(), Some(amd));
        let refused = shelf.choose(&silent, "linux/s390x").expect_err("none");
        assert!(refused.hints().join("").contains("linux/arm64"), "{refused} {:?}", refused.hints());
    }

    #[test]
    fn indexes_without_end_and_without_an_image_are_refused() {
        let mut shelf = Shelf::default();
        let mut top = shelf.image("amd64");
        for _ in 0..=DEEPEST {
            top = shelf.index(&[(&top, None)]);
        }
        assert!(shelf.choose(&top, "linux/amd64").is_err());
        let image = shelf.image("amd64");
        let many = vec![(image.as_str(), None); MOST + 1];
        let top = shelf.index(&many);
        assert!(shelf.choose(&top, "linux/arm64").is_err());
        let top = shelf.put(&json!({"manifests": [{"platform": null, "digest": null}, null, 7]}));
        assert!(shelf.choose(&top, "linux/amd64").is_err());
        let top = shelf.put(&json!({"manifests": [], "layers": null}));
        assert!(shelf.choose(&top, "linux/amd64").is_err());
    }
}
