//! type=gha: the cache of GitHub Actions, with version 2 of its service: three JSON calls (Twirp),
//! and bytes at signed URLs of Azure Blob Storage. Entries cannot be overwritten and belong to a
//! branch: GitHub does not show entries of a pull request's job to jobs of the main branch.
//!
//! | object | key of its entry |
//! |---|---|
//! | index | `kiln-<scope>-index-<time>-<digest>`: only the newest is read |
//! | blob | `kiln-<scope>-blob-<64 hex>`, or with `.<milliseconds>` added |
//! | saved cache mount | `kiln-<scope>-<name>.<milliseconds>`: only the newest is read |
//!
//! An index contains all batches. A blob gets the longer name if an upload under the first one
//! never ended. A call has a key and a version; kiln's version is the SHA-256 of `kiln cache 1`.
//! Blobs are stored whole: an entry costs three calls, and GitHub allows a few hundred per minute.

use super::catalog::INDEX;
use super::http::{Answer, Ask, Body, Http};
use super::{Backend, LARGEST_OBJECT, Listed, Surroundings, Wanted};
use base::clock::since_1970;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer::BaseBlob;
use registry::client::Watch;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use store::Store;

/// The size of the blocks and ranges in which larger blobs are transferred.
const BLOCK: u64 = 32 << 20;

struct Service {
    http: Http,
    store: Store,
    url: String,
    token: String,
    scope: String,
}

pub(super) fn open(wanted: &Wanted, around: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
    let value = |key: &str, variable: &str| {
        wanted.attributes.text(key).map(str::to_owned).ok_or_else(|| {
            Error::new(Kind::Usage, format!("type=gha needs {key}= or {variable}")).hint(
                "a `run:` step does not have it: `uses: crazy-max/ghaction-github-runtime@v3` before it exports it; see docs/ci.md",
            )
        })
    };
    let url = value("url_v2", "ACTIONS_RESULTS_URL")?;
    Ok(Box::new(Service {
        http: Http::new(&wanted.title(), around.settings),
        store: around.store.clone(),
        url: format!("{}/twirp/github.actions.results.api.v1.CacheService/", url.trim_end_matches('/')),
        token: value("token", "ACTIONS_RUNTIME_TOKEN")?,
        scope: wanted.attributes.text("scope").unwrap_or("default").to_owned(),
    }))
}

impl Service {
    fn key(&self, name: &str) -> String {
        format!("kiln-{}-{name}", self.scope)
    }

    fn blob_key(&self, blob: &BaseBlob) -> String {
        self.key(&format!("blob-{}", blob.digest.hex()))
    }

    /// Calls the service. `None` if there is no such entry, or if it exists already.
    fn call(&self, method: &str, mut question: Value) -> Result<Option<Value>> {
        question["version"] = json!(Digest::of(b"kiln cache 1").hex());
        let bytes = question.to_string().into_bytes();
        let headers = || {
            let pairs = [("content-type", "application/json"), ("authorization", &format!("Bearer {}", self.token))];
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let url = format!("{}{method}", self.url);
        let ask =
            Ask { method: "POST", url: &url, headers: &headers, body: Body::Bytes(&bytes), limit: LARGEST_OBJECT };
        let answer = self.http.send(&ask)?;
        match answer.status {
            // Twirp's not_found and already_exists.
            404 | 409 => return Ok(None),
            _ if !answer.is_good() => return Err(self.http.refused(&answer, ["\"msg\":\"", "\""])),
            _ => {}
        }
        let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else { return self.http.stranger() };
        Ok(Some(value).filter(|value| value["ok"] == json!(true)))
    }

    /// The URL of an entry, and its full key.
    fn find(&self, key: &str, prefixes: &[&str]) -> Result<Option<(String, String)>> {
        let found = self.call("GetCacheEntryDownloadURL", json!({"key": key, "restore_keys": prefixes}))?;
        let Some(found) = found else { return Ok(None) };
        // The service also matches keys by prefix, which may be another entry.
        let matched = found["matched_key"].as_str().unwrap_or(key);
        let exact = matched == key || prefixes.iter().any(|prefix| matched.starts_with(prefix));
        let url = found["signed_download_url"].as_str().filter(|_| exact);
        Ok(url.map(|url| (url.to_owned(), matched.to_owned())))
    }

    /// Finds a blob under either of its names.
    fn find_blob(&self, blob: &BaseBlob) -> Result<Option<String>> {
        let key = self.blob_key(blob);
        Ok(self.find(&key, &[&format!("{key}.")])?.map(|(url, _)| url))
    }

    /// Writes an entry. False if it exists, or if its upload has begun.
    fn write(&self, key: &str, size: u64, body: Body<'_>, progress: &dyn Fn(u64)) -> Result<bool> {
        let Some(made) = self.call("CreateCacheEntry", json!({"key": key}))? else { return Ok(false) };
        let url = made["signed_upload_url"].as_str().unwrap_or_default();
        self.upload(url, size, body, progress)?;
        let done = self.call("FinalizeCacheEntryUpload", json!({"key": key, "size_bytes": size.to_string()}))?;
        let message = "type=gha: the service did not take the entry";
        done.map(|_| true).ok_or_else(|| Error::new(Kind::Export, message))
    }

    /// Uploads with Azure's Put Blob, or with Put Block and Put Block List if it is large.
    fn upload(&self, url: &str, size: u64, body: Body<'_>, progress: &dyn Fn(u64)) -> Result<()> {
        let put = |url: &str, body: Body<'_>| {
            let headers = || vec![("x-ms-blob-type".to_owned(), "BlockBlob".to_owned())];
            let answer = self.http.send(&Ask { method: "PUT", url, headers: &headers, body, limit: LARGEST_OBJECT })?;
            if answer.is_good() { Ok(()) } else { Err(self.http.refused(&answer, ["<Code>", "</Code>"])) }
        };
        let (Body::Part(path, ..), true) = (body, size > BLOCK) else { return put(url, body) };
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for at in 0..size.div_ceil(BLOCK) {
            let id = STANDARD.encode(format!("{at:08}"));
            let part = Body::Part(path, at * BLOCK, BLOCK.min(size - at * BLOCK));
            put(&format!("{url}&comp=block&blockid={}", registry::escaped(&id, "")), part)?;
            progress(size.min((at + 1) * BLOCK));
            list.push_str(&format!("<Latest>{id}</Latest>"));
        }
        list.push_str("</BlockList>");
        put(&format!("{url}&comp=blocklist"), Body::Bytes(list.as_bytes()))
    }

    fn read(&self, url: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Answer> {
        let headers =
            || range.map(|(from, to)| ("range".to_owned(), format!("bytes={from}-{to}"))).into_iter().collect();
        let answer = self.http.send(&Ask { method: "GET", url, headers: &headers, body: Body::None, limit })?;
        if answer.is_good() { Ok(answer) } else { Err(self.http.refused(&answer, ["<Code>", "</Code>"])) }
    }
}

/// True for names of which the newest entry counts.
fn changes(name: &str) -> bool {
    name.starts_with("mount-")
}

impl Backend for Service {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let key = self.key(name);
        let begin = format!("{key}.");
        let found = if changes(name) { self.find(&begin, &[&begin])? } else { self.find(&key, &[])? };
        found.map(|(url, _)| Ok(self.read(&url, None, LARGEST_OBJECT)?.body)).transpose()
    }

    fn put(&self, name: &str, bytes: &[u8], _: &[BaseBlob]) -> Result<()> {
        let now = since_1970().as_millis();
        let key = if changes(name) { format!("{}.{now}", self.key(name)) } else { self.key(name) };
        match self.write(&key, bytes.len() as u64, Body::Bytes(bytes), &|_| {})? {
            true => Ok(()),
            false => Err(Error::new(Kind::Source, format!("type=gha: there is an entry `{key}` already"))),
        }
    }

    fn has_blob(&self, blob: &BaseBlob) -> Result<bool> {
        Ok(self.find_blob(blob)?.is_some())
    }

    fn newest_only(&self) -> bool {
        true
    }

    fn names(&self) -> Result<Vec<String>> {
        let begin = self.key(INDEX);
        let found = self.find(&begin, &[&begin])?;
        let scope = self.key("");
        Ok(found.iter().filter_map(|(_, key)| key.strip_prefix(&scope).map(str::to_owned)).collect())
    }

    fn get_blob(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        let url = self.find_blob(blob)?;
        let url = url.ok_or_else(|| Error::new(Kind::Source, format!("blob {} is not there", blob.digest)))?;
        let mut writer = self.store.blob_of(&blob.digest)?;
        while writer.size() < blob.size {
            if (watch.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            let to = (writer.size() + BLOCK).min(blob.size) - 1;
            let answer = self.read(&url, Some((writer.size(), to)), blob.size)?;
            // A server without range requests sends the whole blob.
            let skip = if answer.status == 206 { 0 } else { writer.size() };
            let bytes = answer.body.get(usize::try_from(skip).unwrap_or(usize::MAX)..).unwrap_or_default();
            if bytes.is_empty() {
                return Err(Error::new(Kind::Source, format!("blob {} ends too early", blob.digest)));
            }
            writer.write_all(bytes).at("write", "a blob")?;
            (watch.progress)(writer.size());
        }
        writer.complete_as(&blob.digest, Some(blob.size)).map(drop)
    }

    fn put_blob(&self, blob: &BaseBlob, from: &Path, watch: &Watch<'_>) -> Result<()> {
        let key = self.blob_key(blob);
        let body = Body::Part(from, 0, blob.size);
        if !self.write(&key, blob.size, body, watch.progress)? && self.find_blob(blob)?.is_none() {
            // Another upload of the entry has begun: it is running, or its job was killed and it
            // will never end.
            let key = format!("{key}.{}", since_1970().as_millis());
            self.write(&key, blob.size, body, watch.progress)?;
        }
        (watch.progress)(blob.size);
        Ok(())
    }

    fn list(&self, _: &str) -> Result<Vec<Listed>> {
        Err(Error::new(Kind::Usage, "type=gha lists nothing to a job")
            .hint("`gh cache list` does, and old entries go by themselves"))
    }

    fn remove(&self, _: &str) -> Result<()> {
        Err(Error::new(Kind::Usage, "type=gha removes nothing for a job").hint("`gh cache delete` does"))
    }
}
