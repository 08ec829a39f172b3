//! Uploads (OCI distribution specification, "Push"). A blob is first looked up, then mounted from
//! another repository, else sent in one request. An upload that breaks off is resumed at the
//! registry's offset. Manifests come last.

use super::Reference;
use super::client::{Asked, Client, Watch};
use super::transport::{Answer, Body, QUERY, TRIES, escaped, header, join, passing, refused, wait};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use ureq::http::StatusCode;

/// How a blob got into the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was there already.
    There,
    /// It was mounted from another repository of the registry.
    Mounted,
    /// It was uploaded.
    Uploaded,
}

/// A blob to upload.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// The digest of the blob.
    pub digest: &'a Digest,
    /// The size in bytes.
    pub size: u64,
    /// The file with the content.
    pub path: &'a Path,
}

/// An upload that the registry has begun.
struct Session {
    /// The URL for the rest. Each answer may give a new one.
    url: String,
    /// The number of bytes that the registry has.
    offset: u64,
}

impl Client {
    /// True if the repository that a push of this name goes to has the blob.
    pub fn has_blob(&self, to: &Reference, digest: &Digest) -> Result<bool> {
        self.has_blob_at(&self.target(to)?, digest)
    }

    fn has_blob_at(&self, to: &Reference, digest: &Digest) -> Result<bool> {
        let url = self.address(to, &format!("blobs/{digest}"));
        let answer = self.exchange(&asked(to, "HEAD", &url, &pushing(to), &[]), Body::None)?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refused(to, "HEAD", answer)),
        }
    }

    /// Mounts a blob from another repository of the same registry. Returns false if the registry
    /// does not; it may decline for any reason.
    fn mount(&self, to: &Reference, digest: &Digest, from: &Reference) -> bool {
        if from.registry != to.registry || from.repository == to.repository {
            return false;
        }
        let way = format!(
            "blobs/uploads/?mount={}&from={}",
            escaped(&digest.to_string(), QUERY),
            escaped(&from.repository, QUERY)
        );
        let access = format!("{} repository:{}:pull", pushing(to), from.repository);
        let url = self.address(to, &way);
        let answer = self.exchange(&asked(to, "POST", &url, &access, &[]), Body::None);
        match answer {
            Ok(answer) if answer.status() == StatusCode::CREATED => true,
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                // The registry began an upload instead. It is cancelled, because the caller may try
                // another repository.
                if let Some(url) = place(&answer, &url) {
                    let _ = self.exchange(&asked(to, "DELETE", &url, &pushing(to), &[]), Body::None);
                }
                false
            }
            _ => false,
        }
    }

    /// Puts a blob into the repository: mounts it from one of `sources` if possible, else uploads
    /// it.
    pub fn push_blob(
        &self,
        to: &Reference,
        blob: Upload<'_>,
        sources: &[Reference],
        watch: &Watch<'_>,
    ) -> Result<Sent> {
        let to = &self.target(to)?;
        if self.has_blob_at(to, blob.digest)? {
            return Ok(Sent::There);
        }
        let mut sources = sources.iter().filter_map(|from| self.target(from).ok());
        if sources.any(|from| self.mount(to, blob.digest, &from)) {
            return Ok(Sent::Mounted);
        }
        self.upload(to, blob, watch).map(|()| Sent::Uploaded)
    }

    /// Mounts a blob from another repository of the same registry. Returns false if the registry
    /// does not.
    pub fn mount_blob(&self, to: &Reference, digest: &Digest, from: &Reference) -> Result<bool> {
        Ok(self.mount(&self.target(to)?, digest, &self.target(from)?))
    }

    /// Uploads a blob that the repository is known to lack.
    pub fn send_blob(&self, to: &Reference, blob: Upload<'_>, watch: &Watch<'_>) -> Result<()> {
        self.upload(&self.target(to)?, blob, watch)
    }

    fn upload(&self, to: &Reference, blob: Upload<'_>, watch: &Watch<'_>) -> Result<()> {
        let mut session = self.begin(to)?;
        let mut failures = 0;
        loop {
            let before = session.offset;
            let tried = self.rest(to, blob, &session, watch);
            if (watch.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            let (pause, error) = match tried {
                Ok(answer) if answer.status() == StatusCode::CREATED => return Ok(()),
                Ok(answer) => {
                    // 416: wrong offset. 404: the registry has forgotten the upload. 401: the token
                    // has expired.
                    let again = passing(answer.status()) || matches!(answer.status().as_u16(), 401 | 404 | 416);
                    let pause = wait(failures, Some(&answer));
                    let error = refused(to, "PUT", answer).context(format!("blob {}", blob.digest));
                    if !again {
                        return Err(error);
                    }
                    (pause, error)
                }
                Err(error) if error.kind() != Kind::Source => return Err(error),
                Err(error) => (wait(failures, None), error),
            };
            if failures + 1 >= TRIES {
                return Err(error);
            }
            self.stop().sleep(pause)?;
            // The registry may have the whole blob, if only its answer was lost.
            if self.has_blob_at(to, blob.digest)? {
                return Ok(());
            }
            session = match self.state(to, &session, blob.size) {
                Some(session) => session,
                None => self.begin(to)?,
            };
            failures = if session.offset > before { 0 } else { failures + 1 };
        }
    }

    fn begin(&self, to: &Reference) -> Result<Session> {
        let url = self.address(to, "blobs/uploads/");
        let answer = self.exchange(&asked(to, "POST", &url, &pushing(to), &[]), Body::None)?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(refused(to, "POST", answer));
        }
        let place = place(&answer, &url);
        let url =
            place.ok_or_else(|| Error::new(Kind::Source, format!("{to}: the registry takes the upload nowhere")))?;
        Ok(Session { url, offset: 0 })
    }

    /// Asks for the state of an upload. None if it can't be resumed.
    fn state(&self, to: &Reference, session: &Session, size: u64) -> Option<Session> {
        let answer = self.exchange(&asked(to, "GET", &session.url, &pushing(to), &[]), Body::None).ok()?;
        if !answer.status().is_success() {
            return None;
        }
        // `0-99` means a hundred bytes. `0-0` may mean one byte or none, so a new upload is begun.
        let last = header(&answer, "range")?.trim_start_matches("bytes=").strip_prefix("0-")?.parse::<u64>().ok()?;
        let offset = last.checked_add(1).filter(|_| last > 0)?;
        let url = place(&answer, &session.url).unwrap_or_else(|| session.url.clone());
        (offset < size).then_some(Session { url, offset })
    }

    /// Sends the bytes that the registry lacks: the whole blob in one PUT, or the rest in a PATCH
    /// and a final PUT.
    fn rest(&self, to: &Reference, blob: Upload<'_>, session: &Session, watch: &Watch<'_>) -> Result<Answer> {
        let open =
            |cause: io::Error| Error::new(Kind::Store, format!("cannot read blob {}", blob.digest)).because(cause);
        let mut file = File::open(blob.path).map_err(open)?;
        file.seek(SeekFrom::Start(session.offset)).map_err(open)?;
        let length = blob.size - session.offset;
        let mut reader = Watched { file: file.take(length), done: session.offset, watch };
        let kind = ("content-type", "application/octet-stream");
        let access = pushing(to);
        if session.offset == 0 {
            let url = completed(&session.url, blob.digest);
            return self.exchange(&asked(to, "PUT", &url, &access, &[kind]), Body::Stream(&mut reader, length));
        }
        let range = format!("{}-{}", session.offset, blob.size - 1);
        let headers = [kind, ("content-range", range.as_str())];
        let answer =
            self.exchange(&asked(to, "PATCH", &session.url, &access, &headers), Body::Stream(&mut reader, length))?;
        if answer.status() != StatusCode::ACCEPTED {
            return Ok(answer);
        }
        let url = place(&answer, &session.url).unwrap_or_else(|| session.url.clone());
        self.exchange(&asked(to, "PUT", &completed(&url, blob.digest), &access, &[kind]), Body::None)
    }

    /// Pushes a manifest under the tag or digest of `to`, and checks that the registry has this
    /// one.
    pub fn push_manifest(&self, to: &Reference, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        let to = &self.target(to)?;
        let (digest, url) = (Digest::of(bytes), self.address(to, &format!("manifests/{}", to.target())));
        let headers = [("content-type", media_type)];
        let answer = self.exchange(&asked(to, "PUT", &url, &pushing(to), &headers), Body::Bytes(bytes))?;
        if !answer.status().is_success() {
            return Err(refused(to, "PUT", answer));
        }
        let told = match header(&answer, "docker-content-digest").map(str::parse) {
            Some(told) => told.ok(),
            None => self.head_at(to, TRIES)?,
        };
        if told.is_some_and(|told| told != digest) {
            let message = format!("{to}: the registry has another manifest than the one with the digest {digest}");
            return Err(Error::new(Kind::Export, message)
                .hint("a proxy on the way may be faulty, or somebody pushes the same tag; try again"));
        }
        Ok(digest)
    }
}

fn asked<'a>(
    to: &'a Reference,
    method: &'a str,
    url: &'a str,
    access: &'a str,
    headers: &'a [(&'a str, &'a str)],
) -> Asked<'a> {
    Asked { method, url, name: to, access, headers, tries: TRIES }
}

fn pushing(to: &Reference) -> String {
    format!("repository:{}:pull,push", to.repository)
}

fn place(answer: &Answer, base: &str) -> Option<String> {
    header(answer, "location").and_then(|place| join(base, place))
}

/// The URL that completes an upload.
fn completed(url: &str, digest: &Digest) -> String {
    format!("{url}{}digest={}", if url.contains('?') { '&' } else { '?' }, escaped(&digest.to_string(), QUERY))
}

/// Reports how far a file was read, and fails when kiln is to stop.
struct Watched<'a, 'b> {
    file: io::Take<File>,
    done: u64,
    watch: &'a Watch<'b>,
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.watch.stop)() {
            return Err(io::Error::other("stopped"));
        }
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        (self.watch.progress)(self.done);
        Ok(count)
    }
}
