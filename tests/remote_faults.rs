//! Caches in bad times: exports that are killed, full disks, credentials that expire, servers of something else; and
//! caches that several platforms share.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "remote/machine.rs"]
mod machine;
#[path = "push/rig.rs"]
mod rig;

use common::{Space, by_root, needs, registry, skipped};
use machine::{Machine, base, steps};
use rig::{Fault, Proxy, Registry};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Steps whose layers take a while to send.
fn large(count: usize) -> Space {
    let space = Space::new();
    let runs: String = (0..count).map(|number| format!("RUN head -c 3000000 /dev/urandom >/big{number}\n")).collect();
    space.write("app/Dockerfile", &format!("FROM {}\n{runs}", base()));
    space
}

fn files(path: &Path) -> usize {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// Starts a build with an export and kills it as soon as `when` says so. False if the build was faster.
fn killed(machine: &Machine, to: &str, when: &dyn Fn() -> bool) -> bool {
    let mut command = machine.space.kiln(&["build", "--progress=plain", "--cache-to", to]);
    let mut build = command.arg(&machine.project).stderr(std::process::Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !when() && began.elapsed() < Duration::from_secs(60) && build.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let early = build.try_wait().unwrap().is_none();
    let _ = build.kill();
    build.wait().unwrap();
    early
}

#[test]
fn an_export_to_a_directory_that_is_killed_spoils_nothing() {
    let (project, shared) = (large(4), Space::new());
    let cache = shared.path("cache");
    let (to, from) = (format!("type=local,dest={}", cache.display()), format!("type=local,src={}", cache.display()));
    let mut early = 0;
    for count in [1, 3, 6, 12] {
        let _ = std::fs::remove_dir_all(&cache);
        let machine = Machine::new(&project);
        early += u32::from(killed(&machine, &to, &|| files(&cache) >= count));
        // Others find all of a record or nothing of it.
        let other = Machine::new(&project);
        let built = other.built(&["--cache-from", &from, "-o", "files"]);
        assert!(!built.stderr.contains("warning"), "{count}: {}", built.stderr);
        other.space.assert_whole();
        // The next export completes it, and leaves no part of a file behind.
        machine.built(&["--cache-to", &format!("{to},ignore-error=false")]);
        assert_eq!(Machine::new(&project).built(&["--cache-from", &from, "-o", "files"]).ran, [""; 0], "{count}");
    }
    assert!(early >= 2, "only {early} of 4 builds were killed before their end");
}

#[test]
fn an_export_to_a_registry_that_is_killed_spoils_nothing() {
    needs!("docker-registry");
    let (project, registry) = (large(3), Registry::start(false));
    let mut early = 0;
    for (round, count) in [4, 12, 20].into_iter().enumerate() {
        let slow = Proxy::start(&registry, (0..999).map(|_| Fault::slow("PUT", "/v2/", 40)).collect());
        let repository = format!("cache{round}");
        let machine = Machine::new(&project);
        let to = |place: String| format!("type=registry,ref={place},ignore-error=false");
        early += u32::from(killed(&machine, &to(slow.name(&repository)), &|| slow.log().lines().count() >= count));
        let from = registry.name(&repository);
        let other = Machine::new(&project);
        let built = other.built(&["--cache-from", &from, "-o", "files"]);
        assert!(!built.stderr.contains("warning"), "{count}: {}", built.stderr);
        other.space.assert_whole();
        machine.built(&["--cache-to", &to(registry.name(&repository))]);
        assert_eq!(Machine::new(&project).built(&["--cache-from", &from, "-o", "files"]).ran, [""; 0], "{count}");
    }
    assert!(early >= 2, "only {early} of 3 builds were killed before their end");
}

/// Each platform finds its own steps, whichever machine built them, and never those of another.
#[test]
fn several_platforms_share_a_cache() {
    needs!("docker-registry", "busybox");
    let (project, shared) = (Space::new(), Space::new());
    let multi = format!("{}/multi", registry().0);
    let text = format!(
        "FROM --platform=$BUILDPLATFORM {} AS made\nARG TARGETARCH\nRUN echo $TARGETARCH >/made\n\
         FROM {multi}\nCOPY --from=made /made /made\nWORKDIR /work\n",
        base()
    );
    project.write("app/Dockerfile", &text);
    let place = shared.path("cache").display().to_string();
    let (to, from) = (format!("type=local,dest={place}"), format!("type=local,src={place}"));
    let both = "--platform=linux/amd64,linux/arm64";
    // One machine for each platform, at once.
    std::thread::scope(|scope| {
        for platform in ["linux/amd64", "linux/arm64"] {
            let (project, to) = (&project, &to);
            scope.spawn(move || Machine::new(project).built(&["--platform", platform, "--cache-to", to]));
        }
    });
    let cold = Machine::new(&project);
    assert_eq!(cold.built(&[both, "--cache-from", &from, "-o", "files"]).ran, [""; 0]);
    for architecture in ["amd64", "arm64"] {
        let made = cold.space.path(&format!("files/linux_{architecture}/made"));
        assert_eq!(std::fs::read_to_string(made).unwrap().trim(), architecture);
    }
    // One machine for both; then one for each.
    let (to, from) = (format!("{to}2"), format!("{from}2"));
    Machine::new(&project).built(&[both, "--cache-to", &to]);
    for architecture in ["arm64", "amd64"] {
        let cold = Machine::new(&project);
        let platform = format!("--platform=linux/{architecture}");
        assert_eq!(cold.built(&[&platform, "--cache-from", &from, "-o", "files"]).ran, [""; 0]);
        assert_eq!(cold.made().trim(), architecture);
    }
}

/// A scope that has one of two mounts does not hide the other scope's second one.
#[test]
fn each_mount_is_looked_for_in_all_scopes() {
    let (project, shared) = (Space::new(), Space::new());
    let place = shared.path("cache").display().to_string();
    let job = |scopes: &str, lines: &str| {
        project.write("app/Dockerfile", &format!("FROM {}\n{lines}\n", base()));
        let flags = |key: &str| format!("type=local,{key}={place},mounts=true,mounts-scope={scopes}");
        let args = ["--cache-to", &flags("dest"), "--cache-from", &flags("src"), "--no-cache", "-o", "files"];
        let machine = Machine::new(&project);
        machine.built(&args);
        std::fs::read_to_string(machine.space.path("files/made")).unwrap_or_default()
    };
    let [one, two] = ["one", "two"].map(|id| format!("--mount=type=cache,id={id},target=/{id}"));
    job("main", &format!("RUN {one} {two} echo main >/one/f; echo main >/two/f"));
    job("release", &format!("RUN {two} echo release >/two/f"));
    job("feature;main", &format!("RUN {one} echo feature >/one/f"));
    let look = format!("RUN {one} {two} cat /one/f /two/f >/made");
    assert_eq!(job("feature;main", &look), "feature\nmain\n");
    assert_eq!(job("feature;release;main", &look), "feature\nmain\n", "the look of before saved main's in feature");
    assert_eq!(job("other;release;main", &look), "main\nrelease\n");
    assert!(!job("nobody", "RUN ls / >/made").contains("one"));
}

#[test]
fn a_full_disk_of_a_cache_costs_the_cache_alone() {
    if !by_root("mount a small disk") {
        return;
    }
    let (project, shared) = (large(4), Space::new());
    let cache = shared.path("cache");
    std::fs::create_dir(&cache).unwrap();
    let mut mount = std::process::Command::new("mount");
    if !mount.args(["-t", "tmpfs", "-o", "size=7m", "none"]).arg(&cache).status().unwrap().success() {
        return skipped("the right to mount a small disk");
    }
    let (to, from) = (format!("type=local,dest={}", cache.display()), format!("type=local,src={}", cache.display()));
    let machine = Machine::new(&project);
    let warned = machine.build(&["--cache-to", &to]);
    let failed = machine.build(&["--cache-to", &format!("{to},ignore-error=false")]);
    let reader = Machine::new(&project);
    let read = reader.build(&["--cache-from", &from, "-o", "files"]);
    // With room again the same export goes through.
    let grown = std::process::Command::new("mount").args(["-o", "remount,size=60m"]).arg(&cache).status();
    let again = machine.build(&["--cache-to", &format!("{to},ignore-error=false")]);
    let cold = Machine::new(&project).build(&["--cache-from", &from, "-o", "files"]);
    common::run("umount", &[cache.to_str().unwrap()]);
    assert!(warned.ok && warned.stderr.contains("No space left on device"), "{}", warned.stderr);
    assert_eq!(warned.stderr.matches("warning: cache ").count(), 1, "{}", warned.stderr);
    assert!(failed.code == Some(1) && failed.stderr.contains("No space left on device"), "{}", failed.stderr);
    assert!(read.ok && !read.stderr.contains("warning"), "{}", read.stderr);
    reader.space.assert_whole();
    assert!(grown.unwrap().success() && again.ok, "{}", again.stderr);
    assert_eq!(cold.ran, [""; 0], "{}", cold.stderr);
}

/// A server that gives the same answer to every request.
fn server(status: &'static str, kind: &'static str, body: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || drop(answer(stream.unwrap(), status, kind, body)));
        }
    });
    port
}

fn answer(stream: TcpStream, status: &str, kind: &str, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let header = line.to_ascii_lowercase();
        length = header.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let size = body.len();
    let body = if first.starts_with("HEAD ") { "" } else { body };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n{body}"
    )
}

const XML: &str = "application/xml";
const EXPIRED: &str =
    "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
const NO_BUCKET: &str = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
const PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the network</body></html>";

/// The build is the same, one warning names the cache and the cause, and no credential is shown.
#[test]
fn a_bucket_that_is_gone_closed_or_a_web_page_is_one_warning() {
    let project = steps(2);
    for (status, kind, body, says) in [
        ("403 Forbidden", XML, EXPIRED, "ExpiredToken"),
        ("400 Bad Request", XML, EXPIRED, "ExpiredToken"),
        ("404 Not Found", XML, NO_BUCKET, "NoSuchBucket"),
        ("200 OK", "text/html", PAGE, "not that of such a server"),
        ("404 Not Found", "text/html", PAGE, ""),
        ("200 OK", XML, "", ""),
    ] {
        let port = server(status, kind, body);
        let place = format!(
            "type=s3,bucket=b,endpoint_url=http://127.0.0.1:{port},access_key_id=AKIDKILN,secret_access_key=SECRETKEY,session_token=SESSIONTOKEN"
        );
        let built = Machine::new(&project).built(&["--cache-from", &place, "--cache-to", &place]);
        assert_eq!(built.ran.len(), 2, "{status} {kind}");
        let warnings = built.stderr.lines().filter(|line| line.starts_with("warning: "));
        assert!(warnings.clone().count() >= 1 && warnings.clone().count() <= 2, "{status} {kind}: {}", built.stderr);
        assert!(built.stderr.contains(says), "{status} {kind}: {}", built.stderr);
        for secret in ["SECRETKEY", "SESSIONTOKEN"] {
            assert!(!built.stderr.contains(secret), "{}", built.stderr);
        }
        let failed = Machine::new(&project).build(&["--cache-to", &format!("{place},ignore-error=false")]);
        assert_eq!(failed.code, Some(1), "{status} {kind}: {}", failed.stderr);
        assert_eq!(failed.ran.len(), 2, "{status} {kind}");
    }
}

/// The same for a registry that asks for a password which nobody gave, and for a web page in a registry's place.
#[test]
fn a_registry_that_is_closed_or_a_web_page_is_a_warning() {
    needs!("docker-registry");
    let (project, closed) = (steps(2), Registry::start(true));
    let page = format!("localhost:{}/cache", server("200 OK", "text/html", PAGE));
    let expired =
        server("401 Unauthorized", "application/json", r#"{"errors":[{"code":"UNAUTHORIZED","message":"expired"}]}"#);
    for place in [closed.name("cache"), page, format!("localhost:{expired}/cache")] {
        let to = format!("type=registry,ref={place}");
        let built = Machine::new(&project).built(&["--cache-from", &place, "--cache-to", &to]);
        assert_eq!(built.ran.len(), 2, "{place}");
        let warnings = built.stderr.lines().filter(|line| line.starts_with("warning: ")).count();
        assert!((1..=2).contains(&warnings) && built.stderr.contains(&place), "{place}: {}", built.stderr);
        let failed = Machine::new(&project).build(&["--cache-to", &format!("{to},ignore-error=false")]);
        assert_eq!((failed.code, failed.ran.len()), (Some(1), 2), "{place}: {}", failed.stderr);
    }
}
