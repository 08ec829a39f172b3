//! Requests to registries: manifests by HEAD and GET, blobs by GET with resuming, anonymous bearer tokens.
//! Every answer is bounded, and what has a digest is checked against it. A token goes only to the host it is for.

use super::Reference;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::store::Store;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use ureq::http::{Response, StatusCode};

/// Larger manifests are refused (the distribution specification's own limit).
const LARGEST_MANIFEST: u64 = 4 << 20;
/// Tries of one request, and of a blob that breaks off without getting further.
const TRIES: u32 = 4;
/// Redirections followed.
const MOST_REDIRECTS: u32 = 5;
/// The media types of what we can read.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// What the client must know of its surroundings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// From HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
    pub proxy: Option<ureq::Proxy>,
}

/// A manifest or an index as it came.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Of its bytes.
    pub digest: Digest,
    /// Unchanged.
    pub bytes: Vec<u8>,
}

/// A client with its tokens. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    agent: ureq::Agent,
    tokens: Mutex<HashMap<String, String>>,
}

type Answer = Response<ureq::Body>;

/// What goes on while a blob comes.
pub struct Watch<'a> {
    /// Told the bytes so far.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Whether to give up.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Client {
    /// A client; no connection is made yet.
    pub fn new(settings: &Settings) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(settings.proxy.clone())
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build();
        Client(Arc::new(Inner { agent: config.into(), tokens: Mutex::default() }))
    }

    /// The digest behind a name, if the registry tells it without sending the manifest.
    pub fn head(&self, name: &Reference) -> Result<Option<Digest>> {
        let answer = self.ask("HEAD", name, &format!("manifests/{}", name.target()), &[("accept", ACCEPT)])?;
        let digest = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| digest.parse().ok()))
    }

    /// A manifest by tag or digest.
    pub fn manifest(&self, name: &Reference) -> Result<Manifest> {
        let mut answer = self.ask("GET", name, &format!("manifests/{}", name.target()), &[("accept", ACCEPT)])?;
        let header = |key: &str| answer.headers().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let promised = name.digest.or_else(|| header("docker-content-digest").and_then(|digest| digest.parse().ok()));
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

    /// Brings a blob into the store, checked. A download that breaks off is taken up where it ended.
    pub fn blob(&self, name: &Reference, digest: &Digest, size: u64, store: &Store, watch: &Watch<'_>) -> Result<()> {
        let mut writer = store.blob()?;
        let mut failures = 0;
        while writer.size() < size || size == 0 {
            let before = writer.size();
            let done = self.part(name, digest, size, &mut writer, watch);
            if (watch.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            match done {
                Ok(()) if writer.size() >= size => break,
                Ok(()) | Err(_) if writer.size() > before => failures = 0,
                Ok(()) if failures >= TRIES => {
                    return Err(Error::new(Kind::Source, format!("{name}: blob {digest} ends too early")));
                }
                Err(error) if failures >= TRIES || error.kind() != Kind::Source => return Err(error),
                _ => failures += 1,
            }
            std::thread::sleep(Duration::from_millis(100 << failures));
        }
        writer
            .complete_as(digest, Some(size))
            .map(drop)
            .map_err(|error| error.context(format!("{name}: blob {digest}")))
    }

    fn part(
        &self,
        name: &Reference,
        digest: &Digest,
        size: u64,
        writer: &mut crate::store::BlobWriter,
        watch: &Watch<'_>,
    ) -> Result<()> {
        let from = writer.size();
        let range = format!("bytes={from}-");
        let headers: &[(&str, &str)] = if from > 0 { &[("range", &range)] } else { &[] };
        let mut answer = self.ask("GET", name, &format!("blobs/{digest}"), headers)?;
        // A server without ranges sends everything again.
        let mut skip = if answer.status() == StatusCode::PARTIAL_CONTENT { 0 } else { from };
        let mut reader = answer.body_mut().as_reader();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            if (watch.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            let count = reader
                .read(&mut buffer)
                .map_err(|cause| Error::new(Kind::Source, format!("{name}: the connection broke")).because(cause))?;
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

    /// One request to a repository, with the token it may need, redirections and retries.
    fn ask(&self, method: &str, name: &Reference, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let scheme = if name.is_local() { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/{path}", name.host(), name.repository);
        let scope = format!("{}/{}", name.registry, name.repository);
        let mut token = self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&scope).cloned();
        let mut asked = false;
        loop {
            let answer = self.send(method, &url, name, headers, token.as_deref())?;
            match answer.status() {
                StatusCode::UNAUTHORIZED if !asked => {
                    asked = true;
                    let fresh = self.token(name, &answer)?;
                    self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone(), fresh.clone());
                    token = Some(fresh);
                }
                status if status.is_success() => return Ok(answer),
                _ => return Err(refused(name, method, answer)),
            }
        }
    }

    fn send(
        &self,
        method: &str,
        url: &str,
        name: &Reference,
        headers: &[(&str, &str)],
        token: Option<&str>,
    ) -> Result<Answer> {
        let (mut url, mut redirects, mut tries) = (url.to_owned(), 0, 0);
        let home = host_of(&url);
        loop {
            let mut request = ureq::http::Request::builder().method(method).uri(&url);
            for (key, value) in headers {
                request = request.header(*key, *value);
            }
            if let Some(token) = token.filter(|_| host_of(&url) == home) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request
                .body(())
                .map_err(|cause| Error::new(Kind::Source, format!("{name}: `{url}` is no address")).because(cause))?;
            let wait = match self.0.agent.run(request) {
                Ok(answer) if answer.status().is_redirection() => {
                    redirects += 1;
                    let place = answer.headers().get("location").and_then(|place| place.to_str().ok());
                    url = place
                        .and_then(|place| join(&url, place))
                        .filter(|_| redirects <= MOST_REDIRECTS)
                        .ok_or_else(|| {
                            Error::new(Kind::Source, format!("{name}: the registry sends us on and on, or to nowhere"))
                        })?;
                    continue;
                }
                Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS || answer.status().is_server_error() => {
                    if tries + 1 >= TRIES {
                        return Ok(answer);
                    }
                    let wish =
                        answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
                    wish.map_or(Duration::from_millis(200 << tries), |seconds| Duration::from_secs(seconds.min(10)))
                }
                Ok(answer) => return Ok(answer),
                Err(cause) if tries + 1 >= TRIES || !worth_trying(&cause) => return Err(unreachable(name, &cause)),
                Err(_) => Duration::from_millis(100 << tries),
            };
            tries += 1;
            std::thread::sleep(wait);
        }
    }

    /// An anonymous token from the server that the registry names (distribution's token specification).
    fn token(&self, name: &Reference, answer: &Answer) -> Result<String> {
        let challenge = answer
            .headers()
            .get("www-authenticate")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let denied = |why: &str| {
            Error::new(Kind::Source, format!("{name}: {why}"))
                .hint("check the name; private images need a login, which kiln does not have yet")
        };
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((&challenge, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(denied("the registry asks for a user and a password"));
        }
        let fields = parameters(rest);
        let realm = fields
            .get("realm")
            .filter(|realm| realm.starts_with("https://") || (realm.starts_with("http://") && name.is_local()));
        let realm = realm.ok_or_else(|| denied("the registry asks for a token from nowhere"))?;
        let scope = format!("repository:{}:pull", name.repository);
        let mut url = format!("{realm}{}scope={scope}", if realm.contains('?') { '&' } else { '?' });
        if let Some(service) = fields.get("service") {
            url.push_str(&format!("&service={}", service.replace(' ', "%20")));
        }
        let mut answer = self.send("GET", &url, name, &[], None)?;
        if !answer.status().is_success() {
            return Err(denied(&format!("no token for it: {}", answer.status())));
        }
        let value: Value = serde_json::from_slice(&bounded(&mut answer, name)?).unwrap_or_default();
        let token = value.get("token").or_else(|| value.get("access_token")).and_then(Value::as_str);
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        token.map(str::to_owned).ok_or_else(|| denied("the token server sent no token"))
    }
}

fn bounded(answer: &mut Answer, name: &Reference) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = answer.body_mut().as_reader().take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes);
    read.map_err(|cause| Error::new(Kind::Source, format!("{name}: the connection broke")).because(cause))?;
    if bytes.len() as u64 > LARGEST_MANIFEST {
        return Err(Error::new(Kind::Source, format!("{name}: the answer is larger than {LARGEST_MANIFEST} bytes")));
    }
    Ok(bytes)
}

/// What stands between `://` and the next slash.
fn host_of(url: &str) -> String {
    url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default().to_lowercase()
}

fn join(base: &str, place: &str) -> Option<String> {
    if place.starts_with("https://") || place.starts_with("http://") {
        // Nobody is led from an encrypted connection to a plain one.
        return (place.starts_with("https://") || base.starts_with("http://")).then(|| place.to_owned());
    }
    let (scheme, _) = base.split_once("://")?;
    place.starts_with('/').then(|| format!("{scheme}://{}{place}", host_of(base)))
}

/// `key="value",key=value`.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        fields.insert(key.trim().to_lowercase(), value.to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    fields
}

fn worth_trying(cause: &ureq::Error) -> bool {
    matches!(cause, ureq::Error::Io(error) if error.kind() != std::io::ErrorKind::ConnectionRefused)
        || matches!(cause, ureq::Error::Timeout(_))
}

fn unreachable(name: &Reference, cause: &ureq::Error) -> Error {
    let hint = match cause {
        ureq::Error::HostNotFound => "check the name of the registry and the name server",
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nothing listens there: is the registry running?"
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "only localhost is spoken to without encryption",
        _ => "check the network, and HTTP_PROXY and NO_PROXY",
    };
    Error::new(Kind::Source, format!("{name}: cannot reach {}", name.host())).because(cause).hint(hint)
}

/// The registry's own words for a refusal.
fn refused(name: &Reference, method: &str, mut answer: Answer) -> Error {
    let status = answer.status();
    let body = if method == "HEAD" { Vec::new() } else { bounded(&mut answer, name).unwrap_or_default() };
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let first = &value["errors"][0];
    let words = [&first["code"], &first["message"]]
        .map(|word| word.as_str().unwrap_or_default().chars().take(200).collect::<String>());
    let error = match status {
        StatusCode::NOT_FOUND => {
            Error::new(Kind::Source, format!("{name}: not found")).hint("check the name and the tag")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::new(Kind::Source, format!("{name}: access denied"))
            .hint("check the name; private images need a login, which kiln does not have yet"),
        status => Error::new(Kind::Source, format!("{name}: the registry answers {status}")).hint("try again later"),
    };
    match words.concat().is_empty() {
        true => error,
        false => error.because(words.join(" ").trim()),
    }
}
