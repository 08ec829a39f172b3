//! A registry of the test's own: tokens, broken connections, redirections, hostile answers.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::Space;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// An answer of the server.
#[derive(Default)]
struct Site {
    /// Manifests by tag or digest, with their type.
    manifests: HashMap<String, (String, Vec<u8>)>,
    /// The same, put there later; looked at first.
    moved: Mutex<HashMap<String, (String, Vec<u8>)>>,
    blobs: HashMap<String, Vec<u8>>,
    /// Blobs are sent from this port instead.
    redirect: Option<u16>,
    /// Sends only half of each blob's first answer.
    breaks: bool,
    /// `METHOD path [authorization] [range]`.
    log: Mutex<Vec<String>>,
    broken: Mutex<Vec<String>>,
    /// So many questions by HEAD are answered together or, when they do not come, refused.
    together: usize,
    waiting: (Mutex<usize>, Condvar),
}

impl Site {
    /// True if as many as are wanted ask at the same time.
    fn meet(&self) -> bool {
        let (count, changed) = &self.waiting;
        let mut waiting = count.lock().unwrap();
        *waiting += 1;
        changed.notify_all();
        let late = |waiting: &mut usize| *waiting < self.together;
        !changed.wait_timeout_while(waiting, Duration::from_secs(20), late).unwrap().1.timed_out()
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// An image with one layer that holds `/etc/base`.
fn image() -> Site {
    let space = Space::new();
    space.write("root/etc/base", &"from the registry\n".repeat(2000));
    let tar = space.path("layer.tar");
    common::run(
        "tar",
        &[
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--mtime=@0",
            "-C",
            space.path("root").to_str().unwrap(),
            "-cf",
            tar.to_str().unwrap(),
            "etc",
        ],
    );
    let layer = std::fs::read(tar).unwrap();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}, "history": [{"created_by": "base"}]});
    let config = config.to_string().into_bytes();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&layer), "size": layer.len()}]});
    let manifest = manifest.to_string().into_bytes();
    let manifests = HashMap::from([
        ("latest".to_owned(), (kind.to_owned(), manifest.clone())),
        (digest(&manifest), (kind.to_owned(), manifest)),
    ]);
    Site { manifests, blobs: HashMap::from([(digest(&config), config), (digest(&layer), layer)]), ..Site::default() }
}

/// Serves a site; without `token`, to everyone.
fn serve(site: &Arc<Site>, token: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Arc::clone(site);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let site = Arc::clone(&site);
            std::thread::spawn(move || answer(&site, stream.unwrap(), token, port));
        }
    });
    port
}

fn answer(site: &Site, mut stream: TcpStream, token: Option<&str>, port: u16) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    let mut headers = HashMap::new();
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((key, value)) = line.split_once(':') {
            headers.insert(key.to_lowercase(), value.trim().to_owned());
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    let range = headers.get("range").cloned().unwrap_or_default();
    site.log.lock().unwrap().push(format!("{method} {path} {authorization} {range}"));
    let mut send = |status: &str, more: &str, body: &[u8], length: usize| {
        let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(if method == "HEAD" { b"" } else { body });
    };
    if path.starts_with("/token") {
        let body = format!("{{\"token\": \"{}\"}}", token.unwrap_or_default());
        send("200 OK", "", body.as_bytes(), body.len());
        return Some(());
    }
    if token.is_some_and(|token| authorization != format!("Bearer {token}")) {
        let realm = format!("WWW-Authenticate: Bearer realm=\"http://localhost:{port}/token\",service=\"s\"\r\n");
        send("401 Unauthorized", &realm, b"", 0);
        return Some(());
    }
    let name = path.rsplit('/').next()?;
    if method == "HEAD" && site.together > 0 && !site.meet() {
        send("404 Not Found", "", b"", 0);
        return Some(());
    }
    if path.contains("/manifests/") {
        let moved = site.moved.lock().unwrap().get(name).cloned();
        match moved.as_ref().or_else(|| site.manifests.get(name)) {
            Some((kind, body)) => send(
                "200 OK",
                &format!("Content-Type: {kind}\r\nDocker-Content-Digest: {}\r\n", digest(body)),
                body,
                body.len(),
            ),
            None => {
                send("404 Not Found", "", b"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"unknown\"}]}", 60)
            }
        }
        return Some(());
    }
    if let Some(port) = site.redirect {
        send("307 Temporary Redirect", &format!("Location: http://127.0.0.1:{port}{path}\r\n"), b"", 0);
        return Some(());
    }
    let Some(blob) = site.blobs.get(name) else {
        send("404 Not Found", "", b"", 0);
        return Some(());
    };
    let from = range.strip_prefix("bytes=").and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
    let rest = &blob[from.unwrap_or(0)..];
    let first = !site.broken.lock().unwrap().contains(&name.to_owned());
    if site.breaks && first {
        site.broken.lock().unwrap().push(name.to_owned());
        send("200 OK", "", &rest[..rest.len() / 2], rest.len());
    } else if from.is_some() {
        send("206 Partial Content", "", rest, rest.len());
    } else {
        send("200 OK", "", rest, rest.len());
    }
    Some(())
}

/// Builds on the site's image and gives the file that its layer brought.
fn pull(space: &Space, port: u16) -> String {
    space.write("app/Dockerfile", &format!("FROM localhost:{port}/team/base\nWORKDIR /w\n"));
    let dest = space.path("rootfs");
    space.built(&["-o", dest.to_str().unwrap(), "app"]);
    std::fs::read_to_string(dest.join("etc/base")).unwrap()
}

#[test]
fn a_token_is_fetched_for_the_repository_and_used_once_it_is_there() {
    let (space, site) = (Space::new(), Arc::new(image()));
    let port = serve(&site, Some("anonymous"));
    assert!(pull(&space, port).starts_with("from the registry\n"));
    let log = site.log.lock().unwrap().join("\n");
    assert_eq!(log.matches("GET /token").count(), 1, "{log}");
    assert!(log.contains("scope=repository:team/base:pull") && log.contains("service=s"), "{log}");
}

#[test]
fn an_unchanged_base_costs_one_request_and_one_that_can_not_be_reached_is_what_it_was() {
    let (space, site) = (Space::new(), Arc::new(image()));
    let port = serve(&site, None);
    pull(&space, port);
    site.log.lock().unwrap().clear();
    assert_eq!(space.built(&["app"]).ran, Vec::<String>::new());
    assert_eq!(site.log.lock().unwrap().len(), 1, "{:?}", site.log.lock().unwrap());
    let gone = common::free_port();
    let store = space.path("store/cache-v2/pins");
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), 1);
    // The same name on a port where nothing listens was never seen: an error that says so.
    space.write("app/Dockerfile", &format!("FROM localhost:{gone}/team/base\n"));
    let refused = space.build(&["app"]);
    assert!(
        !refused.ok && refused.stderr.contains("cannot reach") && refused.stderr.contains("is the registry running?"),
        "{}",
        refused.stderr
    );
}

#[test]
fn registries_are_asked_all_at_once_and_a_base_that_moved_is_noticed() {
    let (space, mut site) = (Space::new(), Site { together: 2, ..image() });
    let latest = site.manifests["latest"].clone();
    site.manifests.extend(["one", "two"].map(|name| (name.to_owned(), latest.clone())));
    let site = Arc::new(site);
    let base = format!("localhost:{}/team/base", serve(&site, None));
    space.write("app/f", "text\n");
    space.write(
        "app/Dockerfile",
        &format!("FROM {base}:one AS one\nFROM {base}:two\nCOPY --from=one /etc/base /copy\nCOPY f /f\n"),
    );
    space.built(&["app"]);
    let again = || {
        site.log.lock().unwrap().clear();
        *site.waiting.0.lock().unwrap() = 0;
        assert_eq!(space.built(&["app"]).ran, [""; 0]);
        site.log.lock().unwrap().clone()
    };
    let log = again();
    assert!(log.len() == 2 && log.iter().all(|line| line.starts_with("HEAD ")), "{log:#?}");

    // The same image under another digest: what was expected of the old one is forgotten.
    let manifest = [&latest.1[..], b"\n"].concat();
    let new = digest(&manifest);
    for name in ["two", &new] {
        site.moved.lock().unwrap().insert(name.to_owned(), (latest.0.clone(), manifest.clone()));
    }
    let log = again();
    assert!(log.iter().any(|line| line.starts_with("GET /v2/team/base/manifests/two")), "{log:#?}");
    // And it is what is expected from now on.
    assert_eq!(again().len(), 2);
}

#[test]
fn a_broken_download_goes_on_where_it_ended() {
    let (space, site) = (Space::new(), Arc::new(Site { breaks: true, ..image() }));
    let port = serve(&site, None);
    assert!(pull(&space, port).starts_with("from the registry\n"));
    let log = site.log.lock().unwrap().join("\n");
    assert!(log.contains("bytes="), "{log}");
}

#[test]
fn a_token_never_goes_to_another_host() {
    let elsewhere = Arc::new(image());
    let other = serve(&elsewhere, None);
    let (space, site) = (Space::new(), Arc::new(Site { redirect: Some(other), ..image() }));
    let port = serve(&site, Some("secret-token"));
    assert!(pull(&space, port).starts_with("from the registry\n"));
    let log = elsewhere.log.lock().unwrap().join("\n");
    assert!(log.contains("/blobs/") && !log.contains("secret-token"), "{log}");
}

#[test]
fn hostile_answers_are_refused_and_leave_nothing() {
    let mut bad = image();
    let (_, manifest) = bad.manifests["latest"].clone();
    bad.blobs.values_mut().filter(|blob| blob.len() > 10_000).for_each(|blob| blob[9000] ^= 1);
    let space = Space::new();
    let port = serve(&Arc::new(bad), None);
    space.write("app/Dockerfile", &format!("FROM localhost:{port}/team/base\nWORKDIR /w\n"));
    let refused = space.build(&["-o", "out", "app"]);
    assert!(!refused.ok && refused.stderr.contains("was promised"), "{}", refused.stderr);

    let mut both: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    both["manifests"] =
        serde_json::json!([{"digest": digest(b"x"), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}}]);
    let mut site = image();
    site.manifests.insert(
        "latest".to_owned(),
        ("application/vnd.oci.image.index.v1+json".to_owned(), both.to_string().into_bytes()),
    );
    let port = serve(&Arc::new(site), None);
    space.write("app/Dockerfile", &format!("FROM localhost:{port}/team/base\n"));
    let refused = space.build(&["app"]);
    assert!(!refused.ok && refused.stderr.contains("no image for linux"), "{}", refused.stderr);
    space.assert_whole();
}
