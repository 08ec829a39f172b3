//! Files from URLs, for ADD and for contexts. A file that the server reports as unchanged (ETag,
//! Last-Modified) is not downloaded again. A download must have the requested digest. This module
//! does not know archives.

use super::fetched;
use base::digest::Hasher;
use base::error::{At as _, Error, Kind, Result};
use frontend::remote::{Http, Url, User, redacted};
use registry::Settings;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use ureq::http::Response;

/// The largest file in bytes.
const LARGEST: u64 = 64 << 30;
/// The most redirects that are followed.
const MOST_REDIRECTS: u32 = 10;
/// The number of tries for a broken request.
const TRIES: u32 = 4;

/// A fetched file.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The directory that contains only this file.
    pub folder: PathBuf,
    /// The name of the file.
    pub name: String,
    /// The modification time from the server, in seconds.
    pub modified: Option<i64>,
}

/// The record of a URL.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    etag: Option<String>,
    modified: Option<String>,
    digest: String,
    name: String,
}

/// Fetches files.
pub struct Fetcher<'a> {
    /// The store for the files.
    pub store: &'a Store,
    /// The proxies.
    pub settings: &'a Settings,
    /// The user's secrets, by id: `HTTP_AUTH_TOKEN_<host>`, `HTTP_AUTH_HEADER_<host>`.
    pub secret: &'a dyn Fn(&str) -> Option<String>,
    /// Returns true if the fetch should stop.
    pub stop: &'a dyn Fn() -> bool,
}

impl Fetcher<'_> {
    /// Fetches a file, or finds it in the store.
    pub fn fetch(&self, http: &Http) -> Result<Fetched> {
        let place = fetched::place(self.store, "http", http.url.secret())?;
        fetched::keep(self.store, &place);
        let known = fs::read(place.join("record.json")).ok();
        let known: Option<Record> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let known = known.filter(|record| place.join(&record.digest).join(&record.name).is_file());
        let wanted = http.checksum.as_deref().map(checksum).transpose()?;
        if let (Some(record), Some((_, wanted))) = (&known, &wanted)
            && record.digest == *wanted
        {
            return Ok(found(&place, record));
        }
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                self.settings.stop.sleep(Duration::from_millis(200 << attempt))?;
            }
            if (self.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            match self.attempt(http, known.as_ref(), &place, wanted.as_ref()) {
                Err(Failure::Passing(error)) => last = Some(error),
                Err(Failure::Final(error)) => return Err(error),
                Ok(record) => {
                    fetched::keep(self.store, &place);
                    return Ok(found(&place, &record));
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::new(Kind::Source, format!("cannot fetch {}", http.url))))
    }

    fn attempt(
        &self,
        http: &Http,
        known: Option<&Record>,
        place: &std::path::Path,
        wanted: Option<&(Algorithm, String)>,
    ) -> Result<Record, Failure> {
        let answer = self.follow(&http.url, known)?;
        if let (304, Some(known)) = (answer.status().as_u16(), known) {
            // The file is unchanged, but has another checksum.
            if let Some((_, wanted)) = wanted {
                return Err(Failure::Final(mismatch(http, &known.digest, wanted)));
            }
            return Ok(known.clone());
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (etag, modified) = (header("etag"), header("last-modified"));
        let total = header("content-length").and_then(|length| length.parse().ok());
        let (folder, digest) = self.download(http, answer, total, wanted)?;
        if let Some(time) = modified.as_deref().and_then(http_date) {
            set_time(&folder.join(http.file_name()), time)?;
        }
        let record = Record { etag, modified, digest, name: http.file_name() };
        fs::create_dir_all(place).at("make", place)?;
        fetched::publish(&folder, &place.join(&record.digest))?;
        let temporary = self.store.temp("record");
        let text = serde_json::to_vec(&record).map_err(|cause| Error::new(Kind::Store, cause.to_string()))?;
        fs::write(&temporary, text).at("write", &temporary)?;
        fs::rename(&temporary, place.join("record.json")).at("publish", place)?;
        Ok(record)
    }

    /// Sends a request and follows redirects, without credentials for another origin.
    fn follow(&self, url: &Url, known: Option<&Record>) -> Result<Response<ureq::Body>, Failure> {
        let credentials = self.credentials(url);
        let mut at = url.bare();
        let first = origin(&at);
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.settings.agent(&at, false)?.get(&at);
            if let Some(credentials) = credentials.as_ref().filter(|_| origin(&at) == first) {
                request = request.header("authorization", credentials);
            }
            if let Some(etag) = known.and_then(|record| record.etag.as_ref()) {
                request = request.header("if-none-match", etag);
            } else if let Some(modified) = known.and_then(|record| record.modified.as_ref()) {
                request = request.header("if-modified-since", modified);
            }
            let answer = request.call().map_err(|cause| {
                let error = Error::new(Kind::Source, format!("cannot fetch {url}")).because(cause);
                Failure::Passing(error.hint("check the name and the network"))
            })?;
            let status = answer.status().as_u16();
            match status {
                200 | 304 => return Ok(answer),
                301 | 302 | 303 | 307 | 308 => {
                    let to = answer.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or("");
                    at = joined(&at, to).ok_or_else(|| {
                        Failure::Final(Error::new(Kind::Source, format!("{url} leads to `{}`", redacted(to))))
                    })?;
                }
                status => {
                    let error = Error::new(Kind::Source, format!("invalid response status {status} from {url}"));
                    let passing = matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504);
                    return Err(if passing { Failure::Passing(error) } else { Failure::Final(error) });
                }
            }
        }
        Err(Failure::Final(Error::new(Kind::Source, format!("{url} leads from one place to the next"))))
    }

    fn credentials(&self, url: &Url) -> Option<String> {
        let origin = origin(&url.bare())?;
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let text = |secret: String| Some(secret.trim().to_owned()).filter(|text| !text.is_empty());
        let header = (self.secret)(&format!("HTTP_AUTH_HEADER_{host}")).and_then(text);
        let token = || (self.secret)(&format!("HTTP_AUTH_TOKEN_{host}")).and_then(text);
        header
            .or_else(|| token().map(|token| format!("Bearer {token}")))
            .or_else(|| url.user().map(|user| format!("Basic {}", encoded(&user))))
    }

    fn download(
        &self,
        http: &Http,
        answer: Response<ureq::Body>,
        total: Option<u64>,
        wanted: Option<&(Algorithm, String)>,
    ) -> Result<(PathBuf, String), Failure> {
        let folder = self.store.temp("download");
        fs::create_dir(&folder).at("make", &folder)?;
        let path = folder.join(http.file_name());
        let mut file = File::create_new(&path).at("make", &path)?;
        // The mode of a file that ADD fetches.
        file.set_permissions(fs::Permissions::from_mode(0o600)).at("change the mode of", &path)?;
        let mut body = answer.into_body().into_reader();
        let mut hashes = Hashes::new(wanted.map(|(algorithm, _)| *algorithm));
        let (mut buffer, mut done) = (vec![0; 256 << 10], 0_u64);
        loop {
            let count = body.read(&mut buffer).map_err(|cause| {
                Failure::Passing(Error::new(Kind::Source, format!("{} broke off", http.url)).because(cause))
            })?;
            if count == 0 {
                break;
            }
            done += count as u64;
            if done > LARGEST {
                let message = format!("{} is longer than {LARGEST} bytes", http.url);
                return Err(Failure::Final(Error::new(Kind::Source, message)));
            }
            hashes.add(&buffer[..count]);
            file.write_all(&buffer[..count]).at("write", &path)?;
            if (self.stop)() {
                return Err(Failure::Final(Error::new(Kind::Interrupted, "stopped")));
            }
        }
        if total.is_some_and(|total| total != done) {
            let message = format!("{} broke off after {done} bytes", http.url);
            return Err(Failure::Passing(Error::new(Kind::Source, message)));
        }
        let digest = hashes.finish();
        if let Some((_, wanted)) = wanted.filter(|(_, wanted)| *wanted != digest) {
            return Err(Failure::Final(mismatch(http, &digest, wanted)));
        }
        Ok((folder, digest))
    }
}

/// An error, by whether another try may succeed.
enum Failure {
    Passing(Error),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// The hash algorithm of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

/// Parses `sha256:<64 hex digits>`, or a longer SHA-2.
fn checksum(text: &str) -> Result<(Algorithm, String)> {
    let bad = || {
        Error::new(Kind::Dockerfile, format!("--checksum={text} is no digest"))
            .hint("write `sha256:` and 64 hexadecimal digits: `sha256sum FILE` prints them")
    };
    let (name, hex) = text.split_once(':').ok_or_else(bad)?;
    let (algorithm, length) = match name {
        "sha256" => (Algorithm::Sha256, 64),
        "sha384" => (Algorithm::Sha384, 96),
        "sha512" => (Algorithm::Sha512, 128),
        _ => return Err(bad()),
    };
    if hex.len() != length || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(bad());
    }
    Ok((algorithm, text.to_owned()))
}

enum Hashes {
    Sha256(Box<Hasher>),
    Sha384(Box<sha2::Sha384>),
    Sha512(Box<sha2::Sha512>),
}

impl Hashes {
    fn new(algorithm: Option<Algorithm>) -> Hashes {
        match algorithm {
            None | Some(Algorithm::Sha256) => Hashes::Sha256(Box::default()),
            Some(Algorithm::Sha384) => Hashes::Sha384(Box::default()),
            Some(Algorithm::Sha512) => Hashes::Sha512(Box::default()),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        use sha2::Digest as _;
        match self {
            Hashes::Sha256(hash) => hash.update(bytes),
            Hashes::Sha384(hash) => hash.update(bytes),
            Hashes::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> String {
        use sha2::Digest as _;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match self {
            Hashes::Sha256(hash) => (*hash).finish().to_string(),
            Hashes::Sha384(hash) => format!("sha384:{}", hex(&hash.finalize())),
            Hashes::Sha512(hash) => format!("sha512:{}", hex(&hash.finalize())),
        }
    }
}

fn mismatch(http: &Http, got: &str, wanted: &str) -> Error {
    Error::new(Kind::Source, format!("digest mismatch {got}: {wanted}"))
        .because(format!("{} has changed, or is not what the checksum was made of", http.url))
        .hint("look at what is there now, and correct --checksum")
}

fn found(place: &std::path::Path, record: &Record) -> Fetched {
    let modified = record.modified.as_deref().and_then(http_date);
    Fetched { folder: place.join(&record.digest), name: record.name.clone(), modified }
}

fn set_time(path: &std::path::Path, seconds: i64) -> Result<()> {
    let time = u64::try_from(seconds).map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(time.min(SystemTime::now())))
        .at("set the time of", path)
}

/// The credentials of `Authorization: Basic` (RFC 7617).
pub(super) fn encoded(user: &User) -> String {
    use base64::Engine as _;
    let pair = format!("{}:{}", user.name, user.password.as_deref().unwrap_or_default());
    base64::engine::general_purpose::STANDARD.encode(pair)
}

/// Scheme, host and port.
pub(super) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{}", host.rsplit('@').next()?.to_lowercase()))
}

/// The target of a `Location`; only http and https.
pub(super) fn joined(from: &str, to: &str) -> Option<String> {
    if to.starts_with("http://") || to.starts_with("https://") {
        return Some(to.to_owned());
    }
    let (scheme, rest) = from.split_once("://")?;
    match to.strip_prefix("//") {
        Some(to) => Some(format!("{scheme}://{to}")),
        None if to.contains("://") || to.is_empty() => None,
        None if to.starts_with('/') => Some(format!("{scheme}://{}{to}", rest.split(['/', '?', '#']).next()?)),
        None => {
            let path = rest.split(['?', '#']).next()?;
            let folder = path.rfind('/').map_or(path, |at| &path[..at]);
            Some(format!("{scheme}://{folder}/{to}"))
        }
    }
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT` to seconds (RFC 9110, section 5.6.7, without the obsolete
/// forms).
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_once(", ")?.1.split(' ').collect();
    let [day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.iter().position(|name| name == month)? as i64 + 1;
    let parts: Vec<i64> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hours, minutes, seconds] = parts.as_slice() else { return None };
    // Days since 1970, with years that start in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - 719_468;
    (1970..=9999).contains(&year).then_some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_places_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(http_date("yesterday"), None);
        assert_eq!(joined("https://h/a/b", "/c").as_deref(), Some("https://h/c"));
        assert_eq!(joined("https://h/a/b?x", "c").as_deref(), Some("https://h/a/c"));
        assert_eq!(joined("https://h/a", "//g/c").as_deref(), Some("https://g/c"));
        assert_eq!(joined("https://h/a", "file:///etc/passwd"), None);
        assert_eq!(origin("https://u:p@H:1/x"), Some("https://h:1".to_owned()));
        assert!(checksum("sha256:00").is_err() && checksum("md5:00").is_err());
    }
}
