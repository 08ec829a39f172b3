//! The same suite for every backend: one function, one line per backend. docker-registry and an S3
//! server (moto) are real; GitHub's service is a small server in these tests that follows the
//! published protocol.

use super::*;
use ::registry::client::UNWATCHED;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

mod github;

/// Tests everything that a backend must do. `lists` is true if it can list and remove.
fn conforms(kind: &str, attributes: &[(&str, &str)], lists: bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a store");
    let settings = Settings::default();
    let wanted = Wanted { way: Way::To, attributes: Attributes::new(kind, attributes.iter().copied()) };
    wanted.check().expect("known attributes");
    let backend = wanted.open(&Surroundings { store: &store, settings: &settings }).expect("a backend");

    // Small objects: none at first, then the one that was put; the other name is another object.
    let name = format!("written-{}", "ab".repeat(32));
    assert_eq!(backend.get(&name).expect("an answer"), None);
    let watch = UNWATCHED;
    let blobs = [noise(&store, 5), noise(&store, 300_000), noise(&store, 40 << 20)];
    for (blob, path) in &blobs {
        assert!(!backend.has_blob(blob).expect("an answer"), "{kind}: nobody put {}", blob.size);
        backend.put_blob(blob, path, &watch).expect("taken");
        assert!(backend.has_blob(blob).expect("an answer"));
        backend.put_blob(blob, path, &watch).expect("taken again");
        std::fs::remove_file(path).expect("removed");
        backend.get_blob(blob, &watch).expect("brought");
        assert!(store.read_blob(&blob.digest, 1 << 30).is_ok(), "{kind}: it is what it was");
    }
    let named: Vec<BaseBlob> = blobs.iter().map(|(blob, _)| blob.clone()).collect();
    let body = "kiln-object 1\n\n{\"text\": \"\u{e9}\\u0000\"}";
    backend.put(&name, body.as_bytes(), &named).expect("taken");
    assert_eq!(backend.get(&name).expect("an answer").as_deref(), Some(body.as_bytes()));
    // A backend that cannot overwrite names says so.
    assert_eq!(backend.put(&name, body.as_bytes(), &named).is_ok(), lists);
    assert_eq!(backend.get(&format!("settled-{}", "ab".repeat(32))).expect("an answer"), None);

    // Saved mounts: the newest counts, and a prefix of a name finds nothing.
    for text in ["one", "two"] {
        backend.put("mount-0-main", text.as_bytes(), &[]).expect("taken");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(backend.get("mount-0-main").expect("an answer").as_deref(), Some(&b"two"[..]));
    assert_eq!(backend.get("mount-0-mai").expect("an answer"), None);

    // A blob that does not exist, and one with a wrong size.
    let (absent, path) = noise(&store, 4097);
    std::fs::remove_file(path).expect("removed");
    assert!(backend.get_blob(&absent, &watch).is_err());
    let liar = BaseBlob { size: 300_001, ..blobs[1].0.clone() };
    std::fs::remove_file(store.blob_path(&liar.digest)).expect("removed");
    assert!(backend.get_blob(&liar, &watch).is_err() && !store.has(&liar.digest), "{kind}: a wrong size is refused");

    if lists {
        let listed = backend.list("mount-").expect("a list");
        assert_eq!(listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["mount-0-main"]);
        let now = base::clock::since_1970().as_secs();
        assert!(listed[0].at.is_none_or(|at| now.abs_diff(at) < 3600), "{kind}: {listed:?}");
        assert_eq!(listed[0].at.is_none(), kind == "registry");
        // A batch that was written a while ago, according to its name.
        let records = [batch::tests::record(1, 7, vec![batch::tests::layer(1)])];
        let sealed =
            batch::seal(&records, (now - 600) * 1000, None, &mut Default::default()).expect("sealed").remove(0);
        backend.put(&sealed.name, &sealed.object, &[]).expect("taken");
        assert!(backend.names().expect("names").contains(&sealed.name));
        let kept = prune::prune(&*backend, now - 1200).expect("pruned");
        assert_eq!((kept.records, backend.get(&sealed.name).expect("an answer").is_some()), (0, true), "{kind}");
        let gone = prune::prune(&*backend, now - 300).expect("pruned");
        assert_eq!((gone.records, backend.get(&sealed.name).expect("an answer")), (1, None), "{kind}");
        assert!(backend.get("mount-0-main").expect("an answer").is_some(), "{kind}: mounts stay");
        backend.remove("mount-0-main").expect("removed");
        backend.remove("mount-0-main").expect("gone is gone");
        assert_eq!(backend.get("mount-0-main").expect("an answer"), None);
    } else {
        assert!(backend.list("mount-").is_err() && backend.remove("mount-0-main").is_err());
        // Only the newest index is found.
        assert!(backend.newest_only() && backend.names().expect("names").is_empty());
        let names = [3, 9, 5].map(|time| batch::name_of(catalog::INDEX, time, b""));
        names.iter().for_each(|name| backend.put(name, b"text", &[]).expect("taken"));
        assert_eq!(backend.names().expect("names"), names[2..]);
    }
}

/// A blob of incompressible bytes in the store.
fn noise(store: &Store, size: usize) -> (BaseBlob, PathBuf) {
    let mut state = size as u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(size)
    .collect();
    let blob = store.put_blob(&bytes).expect("stored");
    let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
    (BaseBlob { digest: blob.digest, size: blob.size, media_type }, store.blob_path(&blob.digest))
}

/// A server that ends with its test.
struct Server {
    child: Child,
    port: u16,
    /// Deleted with the server.
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(program: &str, args: &dyn Fn(u16, &Path) -> Vec<String>) -> Server {
        // No port from the range that the kernel may assign to another process (ip(7),
        // ip_local_port_range).
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = || std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)) % 2000 + 18_000;
        let mut ports = std::iter::repeat_with(next).map(|port| port as u16);
        let port = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port");
        let dir = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.args(args(port, dir.path())).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server { child: command.spawn().expect("a server"), port, _dir: dir };
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{program} does not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed(program: &str) -> Option<String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/moto/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(own)
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        lacks::skipped(&format!("the program {program}"));
    }
    found.map(|path| path.display().to_string())
}

#[test]
fn a_directory_conforms() {
    let dir = tempfile::tempdir().expect("a folder");
    conforms("local", &[("dest", &dir.path().join("new").display().to_string())], true);
}

#[test]
fn a_registry_conforms() {
    let Some(program) = installed("docker-registry") else { return };
    let server = Server::start(&program, &|port, dir| {
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n",
            dir.join("data").display()
        );
        std::fs::write(dir.join("config.yml"), config).expect("written");
        vec!["serve".to_owned(), dir.join("config.yml").display().to_string()]
    });
    conforms("registry", &[("ref", &format!("localhost:{}/team/cache:main", server.port))], true);
}

#[test]
fn s3_conforms() {
    let Some(program) = installed("moto_server") else { return };
    let server = Server::start(&program, &|port, _| vec!["-p".to_owned(), port.to_string()]);
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let made = ureq::put(&format!("{endpoint}/bucket")).send_empty().expect("a bucket");
    assert!(made.status().is_success());
    let keys = [("access_key_id", "id"), ("secret_access_key", "secret"), ("endpoint_url", &endpoint)];
    conforms(
        "s3",
        &[&keys[..], &[("bucket", "bucket"), ("prefix", "a b&<c>/"), ("region", "eu-west-1")]].concat(),
        true,
    );
}

#[test]
fn githubs_cache_conforms() {
    let url = github::serve();
    conforms("gha", &[("url_v2", &url), ("token", github::TOKEN), ("scope", "main")], false);
}

#[test]
fn rows_are_unique_and_documented() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cache.md")).expect("a page");
    for row in BACKENDS {
        assert_eq!(BACKENDS.iter().filter(|other| other.name == row.name).count(), 1);
        for attribute in row.attributes.iter().chain(&row.place).chain(TO).chain(FROM).filter(|name| !name.is_empty()) {
            assert!(page.contains(&format!("`{attribute}")), "docs/cache.md does not tell of {attribute}");
        }
        assert!(page.contains(&format!("`type={}`", row.name)));
    }
}
