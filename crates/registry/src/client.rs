//! Requests to registries: manifests by HEAD and GET, blobs by GET with resuming, each with its
//! authorization. Every answer is bounded, and content with a digest is verified.

use super::agents::{Agents, Proxies};
use super::auth::authorize;
use super::config::{self, Rules, Source};
use super::transport::{Answer, Ask, Body, QUERY, TRIES, bounded, escaped, header, host_of, refused, send, wait};
use super::{Credential, Logins, Reference};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use sandbox::Stop;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use store::Store;
use ureq::http::StatusCode;

/// The media types of manifests that kiln can read.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The most pages of a list that are requested.
const MOST_PAGES: usize = 100;

/// The configuration of the client.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// From HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
    pub proxies: Proxies,
    /// The paths of `registries.conf`.
    pub registries: config::Places,
    /// Directories like `/etc/docker/certs.d`.
    pub certs: Vec<PathBuf>,
    /// SSL_CERT_FILE.
    pub authorities: Option<PathBuf>,
    /// The credentials.
    pub logins: Logins,
    /// How long a request is retried, for a caller that has no more time. None means the usual
    /// number of tries.
    pub patience: Option<std::time::Duration>,
    /// The wish of the user that everything ends: nothing is tried again then.
    pub stop: Stop,
}

/// A manifest or an index as the registry sent it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The digest of its bytes.
    pub digest: Digest,
    /// The bytes, unchanged.
    pub bytes: Vec<u8>,
}

/// A client with its tokens. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    agents: Agents,
    registries: config::Places,
    /// Read on the first request.
    rules: OnceLock<Result<Rules>>,
    logins: Logins,
    /// Mirrors that could not be reached.
    silent: Mutex<HashSet<String>>,
    /// Values of `Authorization` by registry and access.
    known: Mutex<HashMap<(String, String), String>>,
}

/// Callbacks during the transfer of a blob.
pub struct Watch<'a> {
    /// Called with the number of bytes so far.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Returns true to stop the transfer.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// A transfer without progress reports that nothing stops.
pub const UNWATCHED: Watch<'static> = Watch { progress: &|_| {}, stop: &|| false };

impl Client {
    /// Makes a client. It connects on the first request.
    pub fn new(settings: &Settings) -> Client {
        Client(Arc::new(Inner {
            agents: Agents::new(settings),
            registries: settings.registries.clone(),
            rules: OnceLock::new(),
            logins: settings.logins.clone(),
            silent: Mutex::default(),
            known: Mutex::default(),
        }))
    }

    pub(super) fn stop(&self) -> &Stop {
        self.0.agents.stop()
    }

    fn rules(&self) -> Result<&Rules> {
        self.0.rules.get_or_init(|| Rules::read(&self.0.registries)).as_ref().map_err(Clone::clone)
    }

    fn known(&self, source: Source) -> Reference {
        if source.insecure {
            self.0.agents.trust(&source.name);
        }
        source.name
    }

    /// Requests a name from its sources: each mirror once, then the registry itself. A mirror that
    /// could not be reached is not tried again.
    fn anywhere<T>(&self, name: &Reference, ask: &dyn Fn(&Reference, u32) -> Result<T>) -> Result<T> {
        let mut sources = self.rules()?.sources(name)?;
        let Some(origin) = sources.pop() else {
            return Err(Error::new(Kind::Source, format!("{name}: there is nobody to ask")));
        };
        for mirror in sources {
            let mirror = self.known(mirror);
            if lock(&self.0.silent).contains(mirror.host()) {
                continue;
            }
            match ask(&mirror, 1) {
                Err(error) if error.is_unreachable() => drop(lock(&self.0.silent).insert(mirror.host().to_owned())),
                // The mirror lacks it, or its answer is wrong.
                Err(error) if matches!(error.kind(), Kind::Source | Kind::Export) => {}
                done => return done,
            }
        }
        ask(&self.known(origin), TRIES)
    }

    /// From now on this registry's certificate is not verified, and plain HTTP is tried too.
    pub fn trust(&self, name: &Reference) {
        self.0.agents.trust(name);
    }

    /// The name to push to, after `registries.conf` was applied.
    pub(super) fn target(&self, name: &Reference) -> Result<Reference> {
        Ok(self.known(self.rules()?.target(name)?))
    }

    /// The digest of a name, if the registry tells it without sending the manifest.
    pub fn head(&self, name: &Reference) -> Result<Option<Digest>> {
        self.anywhere(name, &|name, tries| self.head_at(name, tries))
    }

    pub(super) fn head_at(&self, name: &Reference, tries: u32) -> Result<Option<Digest>> {
        let answer = self.ask("HEAD", name, &format!("manifests/{}", name.target()), tries)?;
        Ok(header(&answer, "docker-content-digest").and_then(|digest| digest.parse().ok()))
    }

    /// Gets a manifest by tag or digest.
    pub fn manifest(&self, name: &Reference) -> Result<Manifest> {
        self.anywhere(name, &|name, tries| self.manifest_at(name, tries))
    }

    fn manifest_at(&self, name: &Reference, tries: u32) -> Result<Manifest> {
        self.read_manifest(name, self.ask("GET", name, &format!("manifests/{}", name.target()), tries)?)
    }

    /// Gets a manifest by tag or digest from the registry that a push of this name goes to, if it
    /// has it. No mirror is asked.
    pub fn find_manifest(&self, name: &Reference) -> Result<Option<Manifest>> {
        self.find_manifest_at(&self.target(name)?)
    }

    fn find_manifest_at(&self, name: &Reference) -> Result<Option<Manifest>> {
        let path = format!("manifests/{}", name.target());
        let answer = self.question("GET", name, &path, &[("accept", ACCEPT)], TRIES)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => self.read_manifest(name, answer).map(Some),
            _ => Err(refused(name, "GET", answer)),
        }
    }

    fn read_manifest(&self, name: &Reference, mut answer: Answer) -> Result<Manifest> {
        let promised =
            name.digest.or_else(|| header(&answer, "docker-content-digest").and_then(|digest| digest.parse().ok()));
        let bytes = bounded(&mut answer, name)?;
        let digest = Digest::of(&bytes);
        if promised.is_some_and(|promised| promised != digest) {
            let message = format!(
                "{name}: the registry sent a manifest with the digest {digest} in place of the one it promised"
            );
            return Err(Error::new(Kind::Source, message));
        }
        Ok(Manifest { digest, bytes })
    }

    /// Downloads a blob into the store and verifies it. A download that breaks off is resumed.
    pub fn blob(&self, name: &Reference, digest: &Digest, size: u64, store: &Store, watch: &Watch<'_>) -> Result<()> {
        // A blob has the same digest at every source.
        let by_digest = Reference { tag: None, digest: Some(*digest), ..name.clone() };
        self.anywhere(&by_digest, &|name, tries| self.blob_at(name, tries, &Wish { digest, size }, store, watch))
    }

    fn blob_at(&self, name: &Reference, tries: u32, wish: &Wish<'_>, store: &Store, watch: &Watch<'_>) -> Result<()> {
        let Wish { digest, size } = *wish;
        let mut writer = store.blob_of(digest)?;
        let mut failures = 0;
        while writer.size() < size || size == 0 {
            let before = writer.size();
            let done = self.part(name, tries, wish, &mut writer, watch);
            if (watch.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            match done {
                Ok(()) if writer.size() >= size => break,
                Ok(()) | Err(_) if writer.size() > before => failures = 0,
                Ok(()) if failures + 1 >= tries => {
                    return Err(Error::new(Kind::Source, format!("{name}: blob {digest} ends too early")));
                }
                Err(error) if failures + 1 >= tries || error.kind() != Kind::Source => return Err(error),
                _ => failures += 1,
            }
            self.stop().sleep(wait(failures, None))?;
        }
        writer
            .complete_as(digest, Some(size))
            .map(drop)
            .map_err(|error| error.context(format!("{name}: blob {digest}")))
    }

    fn part(
        &self,
        name: &Reference,
        tries: u32,
        wish: &Wish<'_>,
        writer: &mut store::BlobWriter,
        watch: &Watch<'_>,
    ) -> Result<()> {
        let Wish { digest, size } = *wish;
        let from = writer.size();
        let range = format!("bytes={from}-");
        let headers: &[(&str, &str)] = if from > 0 { &[("range", &range)] } else { &[] };
        let mut answer = self.question("GET", name, &format!("blobs/{digest}"), headers, tries)?;
        if answer.status() == StatusCode::NOT_FOUND {
            // A retry would not help: an error of this kind ends the tries.
            return Err(Error::new(Kind::Export, format!("{name}: there is no blob {digest}"))
                .hint("the registry has lost it: push the image or the cache again"));
        }
        if !answer.status().is_success() {
            return Err(refused(name, "GET", answer));
        }
        // A server without range requests sends the whole blob again.
        let mut skip = if answer.status() == StatusCode::PARTIAL_CONTENT { 0 } else { from };
        let mut reader = answer.body_mut().as_reader();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            if (watch.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            let count = reader.read(&mut buffer).map_err(|cause| {
                Error::new(Kind::Source, format!("{name}: the connection broke")).because(cause).transient()
            })?;
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(count);
            skip -= skipped as u64;
            let bytes = &buffer[skipped..count];
            if count == 0 {
                return Ok(());
            }
            if writer.size() + bytes.len() as u64 > size {
                return Err(Error::new(
                    Kind::Export,
                    format!("{name}: blob {digest} is larger than the {size} bytes that the manifest says"),
                ));
            }
            writer.write_all(bytes).map_err(|cause| Error::new(Kind::Store, "cannot write a blob").because(cause))?;
            (watch.progress)(writer.size());
        }
    }

    /// Lists the tags of the repository that a push of this name goes to. Returns none if there is
    /// no such repository.
    pub fn tags(&self, name: &Reference) -> Result<Vec<String>> {
        let name = &self.target(name)?;
        let (mut all, mut path) = (Vec::new(), "tags/list?n=1000".to_owned());
        for _ in 0..MOST_PAGES {
            let mut answer = self.question("GET", name, &path, &[], TRIES)?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(all);
            }
            if !answer.status().is_success() {
                return Err(refused(name, "GET", answer));
            }
            let more = header(&answer, "link").is_some();
            let value: serde_json::Value = serde_json::from_slice(&bounded(&mut answer, name)?).map_err(|cause| {
                Error::new(Kind::Source, format!("{name}: the list of tags is none")).because(cause)
            })?;
            let tags = value["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.extend(tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)));
            match all.last().filter(|_| more && !tags.is_empty()) {
                Some(last) => path = format!("tags/list?n=1000&last={}", escaped(last, QUERY)),
                None => break,
            }
        }
        Ok(all)
    }

    /// Deletes the manifest of a tag in the repository that a push of this name goes to. A missing
    /// one is fine.
    pub fn delete_manifest(&self, name: &Reference) -> Result<()> {
        let name = &self.target(name)?;
        let Some(manifest) = self.find_manifest_at(name)? else { return Ok(()) };
        let url = self.address(name, &format!("manifests/{}", manifest.digest));
        let access = format!("repository:{}:pull,push,delete", name.repository);
        let answer = self.exchange(
            &Asked { method: "DELETE", url: &url, name, access: &access, headers: &[], tries: TRIES },
            Body::None,
        )?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            StatusCode::METHOD_NOT_ALLOWED => {
                Err(refused(name, "DELETE", answer).hint("this registry deletes nothing"))
            }
            _ => Err(refused(name, "DELETE", answer)),
        }
    }

    /// Sends a request about a manifest. A status other than success is an error.
    fn ask(&self, method: &str, name: &Reference, path: &str, tries: u32) -> Result<Answer> {
        let answer = self.question(method, name, path, &[("accept", ACCEPT)], tries)?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(name, method, answer)) }
    }

    /// Sends a request about a repository. Returns any status.
    fn question(
        &self,
        method: &str,
        name: &Reference,
        path: &str,
        headers: &[(&str, &str)],
        tries: u32,
    ) -> Result<Answer> {
        let (url, access) = (self.address(name, path), format!("repository:{}:pull", name.repository));
        self.exchange(&Asked { method, url: &url, name, access: &access, headers, tries }, Body::None)
    }

    /// The URL of a path in a repository.
    pub(super) fn address(&self, name: &Reference, path: &str) -> String {
        format!("{}://{}/v2/{}/{path}", self.0.agents.scheme(name), name.host(), name.repository)
    }

    /// Sends one request with its authorization. Returns any status.
    pub(super) fn exchange(&self, asked: &Asked<'_>, mut body: Body<'_>) -> Result<Answer> {
        let Asked { method, url, name, access, headers, tries } = *asked;
        let key = (name.registry.clone(), access.to_owned());
        let known = || lock(&self.0.known);
        // An upload may go to another host, which must not get our token.
        let ours = host_of(url) == name.host().to_lowercase();
        let mut authorization = known().get(&key).cloned().filter(|_| ours);
        let again = !matches!(body, Body::Stream(..));
        for fresh in [false, true] {
            let part = match &mut body {
                Body::None => Body::None,
                Body::Bytes(bytes) => Body::Bytes(bytes),
                Body::Stream(reader, size) => Body::Stream(&mut **reader, *size),
            };
            let authorized = authorization.as_deref();
            let ask = &mut Ask { method, url, name, headers, authorization: authorized, body: part, tries };
            let answered = send(&self.0.agents, ask)?;
            if answered.answer.status() != StatusCode::UNAUTHORIZED || !(ours && answered.home) || fresh {
                return Ok(answered.answer);
            }
            // A stream can't be sent twice. Its caller makes another request first, which gets a
            // new token.
            known().remove(&key);
            if !again {
                return Ok(answered.answer);
            }
            let credential = self.0.logins.get(&name.registry)?;
            let value = authorize(&self.0.agents, name, access, &answered.answer, credential.as_ref())?;
            known().insert(key.clone(), value.clone());
            authorization = Some(value);
        }
        Err(Error::new(Kind::Source, format!("{name}: access denied")))
    }

    /// Asks the registry if it accepts a credential that is not saved yet.
    pub fn check(&self, name: &Reference, credential: &Credential) -> Result<()> {
        let name = &self.target(name)?;
        let url = format!("{}://{}/v2/", self.0.agents.scheme(name), name.host());
        let ask = |authorization: Option<&str>| {
            let ask = &mut Ask {
                method: "GET",
                url: &url,
                name,
                headers: &[],
                authorization,
                body: Body::None,
                tries: TRIES,
            };
            send(&self.0.agents, ask)
        };
        let mut answered = ask(None)?;
        if answered.answer.status() == StatusCode::UNAUTHORIZED && answered.home {
            let value = authorize(&self.0.agents, name, "", &answered.answer, Some(credential))?;
            answered = ask(Some(&value))?;
        }
        if answered.answer.status().is_success() { Ok(()) } else { Err(refused(name, "GET", answered.answer)) }
    }
}

/// A request to a repository.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub name: &'a Reference,
    /// The scopes that a token must have.
    pub access: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub tries: u32,
}

/// A blob to download.
struct Wish<'a> {
    digest: &'a Digest,
    size: u64,
}
