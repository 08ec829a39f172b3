//! type=s3: a bucket of S3 or of a compatible server.
//!
//! ```text
//! <prefix><manifests_prefix>[<name=>/]objects/<name>   small objects
//! <prefix><blobs_prefix>chunks/ab/<64 hex>               see `chunked`
//! ```
//! The default prefixes are BuildKit's, `manifests/` and `blobs/`. The credentials are
//! `access_key_id=`, `secret_access_key=` and `session_token=`, else AWS_ACCESS_KEY_ID and so on
//! (see the row); without them requests are anonymous (to read a public bucket). `sigv4` signs
//! requests. S3 guarantees that a PUT is atomic and that the next GET sees it (S3 is strongly
//! consistent since 2020).

use super::chunked::{self, Chunks};
use super::http::{Answer, Ask, Body, Http};
use super::sigv4::{self, Credentials, Request};
use super::{Backend, LARGEST_OBJECT, Listed, Surroundings, Wanted};
use base::clock;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use layer::BaseBlob;
use registry::client::Watch;
use registry::escaped;
use std::path::Path;
use std::time::SystemTime;
use store::Store;

/// The most pages of a list that are requested.
const MOST_PAGES: usize = 1000;

struct Bucket {
    http: Http,
    store: Store,
    /// `https://host`; `root` is the path of the bucket, without a trailing slash.
    host: String,
    root: String,
    region: String,
    credentials: Option<Credentials>,
    objects: String,
    blobs: String,
}

pub(super) fn open(wanted: &Wanted, around: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
    let value = |key: &str| wanted.attributes.text(key).map(str::to_owned);
    let bucket = wanted.place().to_owned();
    let region = value("region").unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = value("endpoint_url");
    let path_style = wanted.attributes.flag("use_path_style", endpoint.is_some())?;
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let (scheme, authority) = endpoint.trim_end_matches('/').split_once("://").ok_or_else(|| {
        Error::new(Kind::Usage, format!("endpoint_url={endpoint} is no address"))
            .hint("for example https://s3.example.com")
    })?;
    let (host, root) = match path_style {
        true => (format!("{scheme}://{authority}"), format!("/{}", escaped(&bucket, ""))),
        false => (format!("{scheme}://{bucket}.{authority}"), String::new()),
    };
    let id = value("access_key_id");
    let credentials = id.zip(value("secret_access_key")).map(|(id, secret)| Credentials {
        id,
        secret,
        token: value("session_token"),
    });
    let prefix = wanted.attributes.text("prefix").unwrap_or_default();
    // The name keeps caches of one bucket apart that share their blobs; of several names the first
    // is used.
    let name = wanted.attributes.text("name").and_then(|names| names.split(';').next());
    let name = name.filter(|name| !name.is_empty()).map(|name| format!("{name}/")).unwrap_or_default();
    Ok(Box::new(Bucket {
        http: Http::new(&wanted.title(), around.settings),
        store: around.store.clone(),
        host,
        root,
        region,
        credentials,
        objects: format!(
            "{prefix}{}{name}objects/",
            wanted.attributes.text("manifests_prefix").unwrap_or("manifests/")
        ),
        blobs: format!("{prefix}{}", wanted.attributes.text("blobs_prefix").unwrap_or("blobs/")),
    }))
}

impl Bucket {
    /// Sends a request. `key` is empty for the bucket itself.
    fn ask(&self, method: &str, key: &str, query: &str, body: Body<'_>, limit: u64) -> Result<Answer> {
        let path = format!("{}/{}", self.root, escaped(key, "/"));
        let url = format!("{}{path}{}{query}", self.host, if query.is_empty() { "" } else { "?" });
        let host = self.host.split("://").nth(1).unwrap_or_default();
        let hash = match body {
            Body::Bytes(bytes) => Digest::of(bytes).hex(),
            _ => Digest::of(b"").hex(),
        };
        let headers = || {
            let request = Request { method, host, path: &path, query, hash: &hash, region: &self.region };
            match &self.credentials {
                Some(credentials) => sigv4::sign(&request, credentials, SystemTime::now()),
                None => Vec::new(),
            }
        };
        self.http.send(&Ask { method, url: &url, headers: &headers, body, limit })
    }

    /// True if the object does not exist but its bucket does.
    fn is_absent(answer: &Answer) -> bool {
        let body = String::from_utf8_lossy(&answer.body);
        answer.status == 404 && between(&body, "Code").is_none_or(|code| code != "NoSuchBucket")
    }

    fn refused<T>(&self, answer: &Answer) -> Result<T> {
        let error = self.http.refused(answer, ["<Code>", "</Code>"]);
        Err(match answer.status {
            401 | 403 => error.hint("check the key and its rights: s3:GetObject, s3:PutObject, s3:ListBucket"),
            _ => error,
        })
    }

    fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.ask("GET", key, "", Body::None, limit)? {
            answer if answer.is_good() => Ok(Some(answer.body)),
            answer if Bucket::is_absent(&answer) => Ok(None),
            answer => self.refused(&answer),
        }
    }

    fn write(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let answer = self.ask("PUT", key, "", Body::Bytes(bytes), LARGEST_OBJECT)?;
        match answer.is_good() {
            true if answer.tagged => Ok(()),
            true => self.http.stranger(),
            false => self.refused(&answer),
        }
    }
}

/// The text of an XML element without child elements.
fn between(text: &str, element: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    Some(unescaped(rest.split_once(&format!("</{element}>"))?.0))
}

/// Replaces the character and entity references of XML text (XML 1.0, sections 4.1 and 4.6).
fn unescaped(text: &str) -> String {
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.split_once(';').and_then(|(name, rest)| Some((character(name)?, rest)));
        match named {
            Some((character, rest)) => {
                out.push(character);
                out.push_str(rest);
            }
            None => {
                out.push('&');
                out.push_str(part);
            }
        }
    }
    out
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)
        }
    }
}

impl Chunks for Bucket {
    fn has(&self, name: &Digest) -> Result<bool> {
        match self.ask("HEAD", &format!("{}{}", self.blobs, chunked::path(name)), "", Body::None, LARGEST_OBJECT)? {
            answer if answer.is_good() && answer.tagged => Ok(true),
            answer if answer.is_good() => self.http.stranger(),
            // Without the right to list, S3 answers 403 for a missing object; if access is denied,
            // the following PUT fails.
            answer if matches!(answer.status, 403 | 404) => Ok(false),
            answer => self.refused(&answer),
        }
    }
    fn get(&self, name: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        self.read(&format!("{}{}", self.blobs, chunked::path(name)), limit)
    }
    fn put(&self, name: &Digest, bytes: &[u8]) -> Result<()> {
        self.write(&format!("{}{}", self.blobs, chunked::path(name)), bytes)
    }
}

impl Backend for Bucket {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(&format!("{}{name}", self.objects), LARGEST_OBJECT)
    }
    fn put(&self, name: &str, bytes: &[u8], _: &[BaseBlob]) -> Result<()> {
        self.write(&format!("{}{name}", self.objects), bytes)
    }
    fn has_blob(&self, blob: &BaseBlob) -> Result<bool> {
        chunked::has(self, blob)
    }
    fn get_blob(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        chunked::get(self, blob, &self.store, watch)
    }
    fn put_blob(&self, blob: &BaseBlob, from: &Path, watch: &Watch<'_>) -> Result<()> {
        chunked::put(self, blob, from, watch)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let (mut all, mut more) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            // The parameters are sorted by name, as the signature requires.
            let query = format!("{more}list-type=2&prefix={}", escaped(&format!("{}{prefix}", self.objects), ""));
            let answer = self.ask("GET", "", &query, Body::None, 16 << 20)?;
            if !answer.is_good() {
                return self.refused(&answer);
            }
            let text = String::from_utf8_lossy(&answer.body);
            if !text.contains("<ListBucketResult") {
                return self.http.stranger();
            }
            let listed = |entry: &str| {
                let name = between(entry, "Key")?.strip_prefix(&self.objects)?.to_owned();
                Some(Listed { name, at: between(entry, "LastModified").and_then(|time| clock::seconds(&time)) })
            };
            all.extend(text.split("<Contents>").skip(1).filter_map(listed));
            match between(&text, "NextContinuationToken") {
                Some(token) => more = format!("continuation-token={}&", escaped(&token, "")),
                None => break,
            }
        }
        Ok(all)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let answer = self.ask("DELETE", &format!("{}{name}", self.objects), "", Body::None, LARGEST_OBJECT)?;
        if answer.is_good() || answer.status == 404 { Ok(()) } else { self.refused(&answer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_says_what_it_means() {
        let listed = "<Contents><Key>a &amp; b/&lt;x&gt;&#39;&#x41;&quot;</Key><Size>1</Size></Contents>";
        assert_eq!(between(listed, "Key").as_deref(), Some("a & b/<x>'A\""));
        assert_eq!(between(listed, "Size").as_deref(), Some("1"));
        assert_eq!(between(listed, "Owner"), None);
        assert_eq!(unescaped("a & b &nothing; &#xD800; &amp;lt;"), "a & b &nothing; &#xD800; &lt;");
    }
}
