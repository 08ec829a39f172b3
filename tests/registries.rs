//! Registries as a user has them: certificates of one's own, `registries.conf`, proxies, tokens that end, over Debian's docker-registry.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "push/rig.rs"]
mod rig;

use common::{Space, needs, run};
use rig::{Proxy, Registry};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

fn project(space: &Space) {
    space.write("app/Dockerfile", "FROM scratch\nCOPY f /\n");
    space.write("app/f", "text\n");
}

/// kiln with a home of its own.
fn kiln(space: &Space, args: &[&str]) -> Command {
    let mut command = space.kiln(args);
    for name in [
        "XDG_CONFIG_HOME",
        "CONTAINERS_REGISTRIES_CONF",
        "SSL_CERT_FILE",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    command
        .env("HOME", space.path("home"))
        .env("DOCKER_CONFIG", space.path("docker"))
        .stdin(std::process::Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn well(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", text(&output));
    text(&output)
}

fn badly(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}\n{}", text(&output));
    text(&output)
}

fn conf(space: &Space, text: &str) {
    space.write("home/.config/containers/registries.conf", text);
}

/// An authority, a certificate for localhost and one for a client, signed by it.
fn certificates(space: &Space) {
    let openssl = |args: &[&str]| drop(run("openssl", args));
    let at = |name: &str| space.path(name).display().to_string();
    space.write("server.ext", "subjectAltName=DNS:localhost\n");
    space.write("client.ext", "extendedKeyUsage=clientAuth\n");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca, ca_key) = (at("ca.crt"), at("ca.key"));
    openssl(
        &[&["req", "-x509", "-days", "2", "-subj", "/CN=rig ca", "-keyout", &ca_key, "-out", &ca][..], &key].concat(),
    );
    for name in ["server", "client"] {
        let (request, subject) = (at(&format!("{name}.csr")), format!("/CN={name}"));
        let key_file = at(&format!("{name}.key"));
        openssl(&[&["req", "-subj", &subject, "-keyout", &key_file, "-out", &request][..], &key].concat());
        let (crt, ext) = (at(&format!("{name}.crt")), at(&format!("{name}.ext")));
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &ext,
            "-out",
            &crt,
        ]);
    }
}

fn secure(space: &Space, clients: bool) -> Registry {
    let at = |name: &str| space.path(name).display().to_string();
    let clients = if clients { format!(", clientcas: [{}]", at("ca.crt")) } else { String::new() };
    let tls = format!(", tls: {{certificate: {}, key: {}{clients}}}", at("server.crt"), at("server.key"));
    Registry::start_with(true, &tls)
}

fn login(space: &Space, registry: &Registry) -> Command {
    space.write("password", rig::PASSWORD);
    let at = registry.name("");
    let mut command = kiln(space, &["login", "--username", rig::USER, "--password-stdin", at.trim_end_matches('/')]);
    command.stdin(std::fs::File::open(space.path("password")).unwrap());
    command
}

#[test]
fn an_authority_and_a_client_certificate_of_ones_own() {
    needs!("docker-registry", "openssl");
    let space = Space::new();
    project(&space);
    certificates(&space);
    let registry = secure(&space, true);
    let name = registry.name("app:1");
    let push = || kiln(&space, &["build", "--push", "-t", &name, "app"]);
    let folder = format!("home/.config/containers/certs.d/localhost:{}", registry.port);
    let copy = |from: &str, to: &str| {
        space.write(&format!("{folder}/{to}"), &std::fs::read_to_string(space.path(from)).unwrap());
    };
    // Nothing is known of it: plain HTTP, as within one machine.
    badly(push());
    // Another authority than its own.
    copy("client.crt", "ca.crt");
    assert!(badly(login(&space, &registry)).contains("cannot reach"));
    // Its authority, but it wants to know who we are.
    copy("ca.crt", "ca.crt");
    badly(login(&space, &registry));
    copy("client.crt", "client.cert");
    copy("client.key", "client.key");
    well(login(&space, &registry));
    well(push());
    let fresh = Space::new();
    std::fs::rename(space.path("home"), fresh.path("home")).unwrap();
    std::fs::rename(space.path("docker"), fresh.path("docker")).unwrap();
    assert!(well(kiln(&fresh, &["pull", &name])).contains("app:1"));
    // A certificate without its key.
    std::fs::remove_file(fresh.path(&format!("{folder}/client.key"))).unwrap();
    let output = kiln(&fresh, &["pull", &name]).output().unwrap();
    assert!(!output.status.success() && text(&output).contains("client.key"), "{}", text(&output));
}

#[test]
fn an_authority_by_the_environment_and_none_at_all_where_the_file_says_so() {
    needs!("docker-registry", "openssl");
    let space = Space::new();
    project(&space);
    certificates(&space);
    let (registry, plain) = (secure(&space, false), Registry::start(false));
    let name = registry.name("app:1");
    conf(
        &space,
        &format!(
            "[[registry]]\nlocation = \"localhost:{}\"\ninsecure = true\n[[registry]]\nlocation = \"localhost:{}\"\ninsecure = true\n",
            registry.port, plain.port
        ),
    );
    // Any certificate will do, and plain HTTP where there is nothing better.
    well(login(&space, &registry));
    well(kiln(&space, &["build", "--push", "-t", &name, "app"]));
    well(kiln(&space, &["build", "--push", "-t", &plain.name("app:1"), "app"]));
    // The same by SSL_CERT_FILE; a folder for the registry says that it is encrypted.
    conf(&space, "");
    space.write(&format!("home/.config/containers/certs.d/localhost:{}/note", registry.port), "");
    badly(kiln(&space, &["pull", &name]));
    let mut pull = kiln(&space, &["pull", &name]);
    pull.env("SSL_CERT_FILE", space.path("ca.crt"));
    well(pull);
}

#[test]
fn mirrors_come_first_and_prefixes_are_rewritten() {
    needs!("docker-registry");
    let (space, one, two) = (Space::new(), Registry::start(false), Registry::start(false));
    project(&space);
    let (one_at, two_at) = (format!("localhost:{}", one.port), format!("localhost:{}", two.port));
    // A push goes to the location, never to a mirror.
    let rule = |mirror: &str, location: &str| {
        conf(
            &space,
            &format!(
                "[[registry]]\nprefix = \"r.example/team\"\nlocation = \"{location}\"\n[[registry.mirror]]\nlocation = \"{mirror}\"\n"
            ),
        );
    };
    rule(&format!("{two_at}/mirror"), &format!("{one_at}/deep/team"));
    well(kiln(&space, &["build", "--push", "-t", "r.example/team/app:1", "app"]));
    assert_eq!((one.uploads("deep/team/app"), two.log().lines().count()), (2, 0));

    // A mirror that does not have it is passed over; one that has it is enough.
    let pull = |space: &Space| well(kiln(space, &["pull", "r.example/team/app:1"]));
    assert!(pull(&space).contains("r.example/team/app:1"));
    assert!(two.log().contains("/v2/mirror/app/manifests/1 404"), "{}", two.log());
    well(kiln(&space, &["push", "r.example/team/app:1", &format!("{two_at}/mirror/app:1")]));
    rule(&format!("{two_at}/mirror"), "localhost:1/nobody");
    let fresh = Space::new();
    std::fs::rename(space.path("home"), fresh.path("home")).unwrap();
    pull(&fresh);
    let before = one.log();
    fresh.write("app/Dockerfile", "FROM r.example/team/app:1\nCOPY --from=r.example/team/app:1 /f /g\n");
    let other = Space::new();
    std::fs::rename(fresh.path("home"), other.path("home")).unwrap();
    other.write("app/Dockerfile", "FROM r.example/team/app:1\nCOPY --from=r.example/team/app:1 /f /g\n");
    well(kiln(&other, &["build", "-o", "type=oci,dest=out.tar", "app"]));
    assert_eq!(one.log(), before);

    conf(&other, "[[registry]]\nprefix = \"r.example\"\nblocked = true\n");
    assert!(badly(kiln(&other, &["pull", "r.example/team/app:1"])).contains("is blocked"));
    conf(&other, "[[registry]\n");
    assert_eq!(kiln(&other, &["pull", "r.example/team/app:1"]).output().unwrap().status.code(), Some(2));
    // A build that needs no registry is not held up by it.
    project(&other);
    well(kiln(&other, &["build", "app"]));
}

#[test]
fn a_cache_is_found_where_its_name_leads() {
    needs!("docker-registry");
    let (first, second, registry) = (Space::new(), Space::new(), Registry::start(false));
    let rule = format!("[[registry]]\nprefix = \"r.example/team\"\nlocation = \"localhost:{}/deep\"\n", registry.port);
    for space in [&first, &second] {
        project(space);
        conf(space, &rule);
    }
    well(kiln(&first, &["build", "--cache-to", "type=registry,ref=r.example/team/cache", "app"]));
    let built = well(kiln(&second, &["build", "--cache-from", "r.example/team/cache", "app"]));
    assert!(built.contains("CACHED") && !built.contains("warning"), "{built}");
}

#[test]
fn a_blob_that_a_mirror_has_lost_comes_from_behind_it() {
    needs!("docker-registry");
    let (space, fresh) = (Space::new(), Space::new());
    let (origin, mirror) = (Registry::start(false), Registry::start(false));
    let (origin_at, mirror_at) = (format!("localhost:{}/a", origin.port), format!("localhost:{}/b", mirror.port));
    project(&space);
    for place in [&origin_at, &mirror_at] {
        well(kiln(&space, &["build", "--push", "-t", &format!("{place}/app:1"), "app"]));
    }
    mirror.lose_blobs();
    let rule = format!("[[registry]]\nprefix = \"r.example\"\nlocation = \"{origin_at}\"\n");
    conf(&fresh, &format!("{rule}[[registry.mirror]]\nlocation = \"{mirror_at}\"\n"));
    fresh.write("app/Dockerfile", "FROM r.example/app:1\nCOPY --from=r.example/app:1 /f /g\n");
    well(kiln(&fresh, &["build", "-o", "type=local,dest=out", "app"]));
    assert_eq!(std::fs::read_to_string(fresh.path("out/g")).unwrap(), "text\n");
    assert!(mirror.log().contains("/v2/b/app/blobs/") && mirror.log().contains(" 404"), "{}", mirror.log());
}

#[test]
fn stages_side_by_side_fetch_what_they_share_once() {
    needs!("docker-registry");
    let (space, fresh, registry) = (Space::new(), Space::new(), Registry::start(false));
    let base = registry.name("base");
    space.write(
        "app/Dockerfile",
        &format!("FROM {}/busybox\nRUN head -c 9000000 /dev/urandom >/big\n", common::registry().0),
    );
    well(kiln(&space, &["build", "--push", "-t", &base, "app"]));
    let stage = |name: &str| format!("FROM {base} AS {name}\nRUN wc -c </big >/{name}\n");
    let last = "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n";
    fresh.write("app/Dockerfile", &format!("{}{}{last}", stage("a"), stage("b")));
    well(kiln(&fresh, &["build", "-o", "type=local,dest=out", "app"]));
    for file in ["out/a", "out/b"] {
        assert_eq!(std::fs::read_to_string(fresh.path(file)).unwrap(), "9000000\n");
    }
    let log = registry.log();
    let fetched: Vec<&str> = log.lines().filter(|line| line.starts_with("GET /v2/base/blobs/")).collect();
    let once: std::collections::BTreeSet<_> = fetched.iter().collect();
    // Its config and two layers.
    assert_eq!((fetched.len(), once.len()), (3, 3), "{log}");
}

/// A proxy that leads every CONNECT to one port, and its log.
fn proxy(to: u16) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, log) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(String::new())));
    let shared = Arc::clone(&log);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let log = Arc::clone(&shared);
            std::thread::spawn(move || -> Option<()> {
                let mut reader = BufReader::new(client.try_clone().ok()?);
                let mut first = String::new();
                reader.read_line(&mut first).ok()?;
                log.lock().unwrap().push_str(&first);
                let mut line = String::new();
                while reader.read_line(&mut line).ok()? > 2 {
                    line.clear();
                }
                let mut behind = TcpStream::connect(("127.0.0.1", to)).ok()?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
                let (mut back, mut answer) = (behind.try_clone().ok()?, client.try_clone().ok()?);
                std::thread::spawn(move || {
                    std::io::copy(&mut back, &mut answer).map(|_| answer.shutdown(std::net::Shutdown::Both))
                });
                std::io::copy(&mut reader, &mut behind).ok()?;
                behind.shutdown(std::net::Shutdown::Write).ok()
            });
        }
    });
    (port, log)
}

#[test]
fn proxies_are_asked_for_all_but_what_no_proxy_names() {
    needs!("docker-registry");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space);
    conf(&space, "[[registry]]\nlocation = \"r.invalid\"\ninsecure = true\n");
    let (port, log) = proxy(registry.port);
    let push = |none: &str| {
        let mut command = kiln(&space, &["build", "--push", "-t", "r.invalid/app:1", "app"]);
        command
            .env("HTTP_PROXY", format!("http://127.0.0.1:{port}"))
            .env("HTTPS_PROXY", format!("127.0.0.1:{port}"))
            .env("NO_PROXY", none);
        command
    };
    well(push("other.invalid"));
    let log = || std::mem::take(&mut *log.lock().unwrap());
    let said = log();
    assert!(said.contains("CONNECT r.invalid:443") && said.contains("CONNECT r.invalid:80"), "{said}");
    assert!(registry.uploads("app") > 0);
    badly(push("invalid"));
    assert_eq!(log(), "");
    // This machine is never asked for by way of a proxy.
    let mut local = kiln(&space, &["pull", &registry.name("app:1")]);
    local.env("HTTP_PROXY", format!("http://127.0.0.1:{port}"));
    well(local);
    assert_eq!(log(), "");
}

#[test]
fn tokens_that_end_in_the_middle_are_had_anew() {
    needs!("docker-registry");
    for identity in [false, true] {
        let (space, registry) = (Space::new(), Registry::start(false));
        project(&space);
        space.write("app/g", &"more\n".repeat(100_000));
        space.write("app/Dockerfile", "FROM scratch\nCOPY f /\nCOPY g /\nCOPY f /h\nCOPY g /i\n");
        let proxy = Proxy::forgetful(&registry, 7);
        let host = format!("localhost:{}", proxy.port);
        let entry = match identity {
            true => serde_json::json!({"identitytoken": rig::IDENTITY}),
            false => serde_json::json!({"auth": "cmlnOmh1bnRlcjItc2VjcmV0"}),
        };
        space.write("docker/config.json", &serde_json::json!({"auths": {host: entry}}).to_string());
        well(kiln(&space, &["build", "--push", "-t", &proxy.name("app:1"), "app"]));
        let method = if identity { "POST /token" } else { "GET /token" };
        assert!(proxy.log().matches(method).count() > 2, "{}", proxy.log());
        let fresh = Space::new();
        std::fs::rename(space.path("docker"), fresh.path("docker")).unwrap();
        well(kiln(&fresh, &["pull", &proxy.name("app:1")]));
    }
}

#[test]
fn names_with_their_digest() {
    needs!("docker-registry");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space);
    let output =
        format!("type=registry,\"name={},{}\",name-canonical=true", registry.name("a:1"), registry.name("b:2"));
    well(kiln(&space, &["build", "--metadata-file", "meta.json", "-o", &output, "app"]));
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(space.path("meta.json")).unwrap()).unwrap();
    let (names, digest) =
        (metadata["image.name"].as_str().unwrap(), metadata["containerimage.digest"].as_str().unwrap());
    for name in [registry.name("a:1"), registry.name("b:2"), format!("{}@{digest}", registry.name("a"))] {
        assert!(names.split(',').any(|one| one == name), "{names}");
    }
}

/// There is somebody else to ask: a mirror that is in trouble costs one try of each request, one that is not there one in all.
#[test]
fn a_mirror_in_trouble_is_tried_once() {
    needs!("docker-registry");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space);
    let at = format!("localhost:{}", registry.port);
    well(kiln(&space, &["build", "--push", "-t", &format!("{at}/team/app:1"), "app"]));
    let pull = |space: &Space, mirror: &str| {
        let prefix = "[[registry]]\nprefix = \"r.example\"\n";
        conf(space, &format!("{prefix}location = \"{at}\"\n[[registry.mirror]]\nlocation = \"{mirror}\"\n"));
        well(kiln(space, &["pull", "r.example/team/app:1"]))
    };
    let proxy = Proxy::start(&registry, (0..99).map(|_| rig::Fault::status("GET", "/v2/", 503)).collect());
    pull(&Space::new(), &format!("localhost:{}", proxy.port));
    let log = proxy.log();
    let mut lines: Vec<&str> = log.lines().filter(|line| line.contains("GET ")).collect();
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert!(all > 0 && lines.len() == all, "{log}");
    // It has the manifest and lacks a blob.
    let proxy = Proxy::start(&registry, (0..99).map(|_| rig::Fault::status("GET", "/blobs/", 404)).collect());
    pull(&Space::new(), &format!("localhost:{}", proxy.port));
    assert!(proxy.log().contains("/manifests/1"), "{}", proxy.log());
}

#[test]
fn a_password_is_never_cut() {
    let space = Space::new();
    space.write("password", &"x".repeat((64 << 10) + 1));
    let mut command = kiln(&space, &["login", "--username", "me", "--password-stdin", "localhost:1"]);
    let output = command.stdin(std::fs::File::open(space.path("password")).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("longer than 65536 bytes"), "{}", text(&output));
}
