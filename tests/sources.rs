//! Sources that lie elsewhere: ADD of URLs and repositories, contexts from standard input, git and HTTP, and what
//! hostile ones must not do. The server is the tests' own, on loopback; repositories are real ones, read by git over it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, have, needs, run};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

/// Serves a folder; `/redirect/PORT/PATH`, `/broken/PATH` and `/flaky/PATH` are special.
struct Server {
    port: u16,
    /// `STATUS PATH AUTHORIZATION`, a request each.
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(folder: PathBuf) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, log) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (folder, log) = (folder.clone(), Arc::clone(&kept));
                std::thread::spawn(move || answer(stream.unwrap(), &folder, &log));
            }
        });
        Server { port, log }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, folder: &Path, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let target = head.first()?.split(' ').nth(1)?.to_owned();
    let header = |name: &str| {
        let found =
            head.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.map_or(String::new(), |(_, value)| value.to_owned())
    };
    let path = target.split('?').next()?.trim_start_matches('/').to_owned();
    let before = log.lock().unwrap().iter().filter(|line| line.contains(&path)).count();
    let mut done = |status: &str, headers: &str, body: &[u8]| {
        log.lock().unwrap().push(format!("{status} {path} {}", header("authorization")).trim().to_owned());
        let length = if headers.contains("Content-Length") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let _ =
            stream.write_all(format!("HTTP/1.1 {status} x\r\nConnection: close\r\n{length}{headers}\r\n").as_bytes());
        let _ = stream.write_all(body);
    };
    if let Some(rest) = path.strip_prefix("redirect/") {
        let (port, rest) = rest.split_once('/')?;
        done("302", &format!("Location: http://127.0.0.1:{port}/{rest}\r\n"), b"");
        return None;
    }
    let (special, file) = match path.split_once('/') {
        Some((special @ ("broken" | "flaky"), file)) => (special, file),
        _ => ("", path.as_str()),
    };
    match std::fs::read(folder.join(file)) {
        Err(_) => done("404", "", b"none"),
        Ok(_) if special == "flaky" && before == 0 => done("503", "", b"later"),
        Ok(body) if special == "broken" => done("200", "Content-Length: 1000000\r\n", &body),
        Ok(body) => {
            let tag = format!("\"{:x}\"", body.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte)));
            let headers = format!("ETag: {tag}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
            if header("if-none-match") == tag { done("304", &headers, b"") } else { done("200", &headers, &body) }
        }
    }
    None
}

/// Builds and gives the image's files as `tar tv` prints them.
fn files(space: &Space, args: &[&str], stdin: Option<&Path>) -> String {
    let out = space.path("out.tar");
    let dest = format!("type=tar,dest={}", out.display());
    let mut command = space.kiln(&[&["build", "--progress=plain", "-o", &dest], args].concat());
    let stdin = stdin.map_or(Stdio::null(), |path| std::fs::File::open(path).unwrap().into());
    let output = command.stdin(stdin).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(run("tar", &["--utc", "--full-time", "-tvf", out.to_str().unwrap()]).stdout).unwrap()
}

fn git(dir: &Path, args: &[&str]) -> String {
    let identity = ["-c", "user.email=a@b", "-c", "user.name=x", "-c", "protocol.file.allow=always"];
    let output = run("git", &[&["-C", dir.to_str().unwrap()], &identity[..], args].concat());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with a tag, a directory, a link that leads out, and a later commit; served as plain files.
fn repository(space: &Space) -> (String, String) {
    let work = space.path("work");
    std::fs::create_dir_all(&work).unwrap();
    git(&work, &["init", "-q", "-b", "main"]);
    space.write("work/d/Dockerfile", "FROM scratch\nCOPY . /\n");
    space.write("work/d/x", "one");
    std::os::unix::fs::symlink("/etc", work.join("out")).unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "one"]);
    git(&work, &["tag", "-am", "v1", "v1"]);
    let first = git(&work, &["rev-parse", "HEAD"]);
    space.write("work/d/x", "longer");
    git(&work, &["commit", "-qam", "two"]);
    std::fs::create_dir_all(space.path("www")).unwrap();
    let bare = space.path("www/r.git");
    git(&work, &["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    git(&bare, &["update-server-info"]);
    (first, git(&work, &["rev-parse", "HEAD"]))
}

#[test]
fn an_added_file_comes_once_and_is_what_it_was_there() {
    let space = Space::new();
    space.write("www/a/f.txt", "hello");
    let server = Server::start(space.path("www"));
    space.write("app/Dockerfile", &format!("FROM scratch\nADD {} /d/\n", server.url("a/f.txt")));
    let listed = files(&space, &["app"], None);
    assert!(listed.contains("-rw------- 0/0               5 1994-11-06 08:49:37 d/f.txt"), "{listed}");
    assert_eq!(server.requests(), ["200 a/f.txt"]);
    assert!(space.built(&["app"]).ran.is_empty());
    assert_eq!(server.requests(), ["304 a/f.txt"]);
    space.write("www/a/f.txt", "another");
    assert!(files(&space, &["app"], None).contains("  7 1994"));
    assert_eq!(server.requests(), ["200 a/f.txt"]);
    space.assert_whole();
}

#[test]
fn a_checksum_is_kept_to_and_saves_the_question() {
    let space = Space::new();
    space.write("www/f", "hello");
    let server = Server::start(space.path("www"));
    let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let line = |sum: &str| format!("FROM scratch\nADD --checksum=sha256:{sum} {} /f\n", server.url("f"));
    space.write("app/Dockerfile", &line(sum));
    space.built(&["app"]);
    space.built(&["app"]);
    assert_eq!(server.requests(), ["200 f"]);
    space.write("app/Dockerfile", &line(&sum.replace('2', "3")));
    let failed = space.build(&["app"]);
    assert!(failed.stderr.contains("digest mismatch") && failed.code == Some(1), "{}", failed.stderr);
    space.write("app/Dockerfile", &line("12"));
    assert!(space.build(&["app"]).stderr.contains("is no digest"));
    space.write("www/f", "changed");
    space.write("app/Dockerfile", &line(sum));
    space.built(&["app"]);
}

#[test]
fn archives_are_unpacked_when_that_is_asked_for() {
    let space = Space::new();
    space.write("in/x", "x");
    std::fs::create_dir_all(space.path("www")).unwrap();
    let (tar, from) = (space.path("www/t.tgz"), space.path("in"));
    run("tar", &["-czf", tar.to_str().unwrap(), "-C", from.to_str().unwrap(), "x"]);
    let server = Server::start(space.path("www"));
    let url = server.url("t.tgz");
    space.write(
        "app/Dockerfile",
        &format!("FROM scratch\nADD {url} /a/\nADD --unpack=true {url} /b/\nADD --unpack=false {url} /c/\n"),
    );
    let listed = files(&space, &["app"], None);
    assert!(listed.contains("a/t.tgz") && listed.contains("b/x") && listed.contains("c/t.tgz"), "{listed}");
}

#[test]
fn a_token_goes_to_its_host_alone_and_broken_answers_are_asked_again() {
    let space = Space::new();
    space.write("www/f", "hello");
    let (one, other) = (Server::start(space.path("www")), Server::start(space.path("www")));
    space.write("token", "geheim\n");
    let secret = format!("id=HTTP_AUTH_TOKEN_127.0.0.1:{},src=token", one.port);
    let from = format!("redirect/{}/f", other.port);
    space.write("app/Dockerfile", &format!("FROM scratch\nADD {} /f\nADD {} /g\n", one.url(&from), one.url("flaky/f")));
    let built = space.built(&["--secret", &secret, "app"]);
    assert!(!built.stderr.contains("geheim"));
    assert_eq!(
        one.requests(),
        [&format!("302 {from} Bearer geheim"), "503 flaky/f Bearer geheim", "200 flaky/f Bearer geheim"]
    );
    assert_eq!(other.requests(), ["200 f"]);
    for (path, says) in [("broken/f", "broke off"), ("none", "404")] {
        space.write("app/Dockerfile", &format!("FROM scratch\nADD {} /f\n", one.url(path)));
        let failed = space.build(&["app"]);
        assert!(failed.stderr.contains(says) && failed.stderr.contains("Dockerfile:2:5"), "{}", failed.stderr);
    }
    space.assert_whole();
}

#[test]
fn repositories_are_added_at_a_commit() {
    needs!("git");
    let space = Space::new();
    let (first, second) = repository(&space);
    let server = Server::start(space.path("www"));
    let url = server.url("r.git");
    let dockerfile = format!(
        "FROM scratch\nADD {url}#v1:d /a/\nADD {url}?subdir=d /b/\nADD --keep-git-dir=true --checksum={second} {url}#main /c/\nADD {url}#{first} /e/\n"
    );
    space.write("app/Dockerfile", &dockerfile);
    let listed = files(&space, &["app"], None);
    for name in ["a/Dockerfile", "a/x", "b/x", "c/d/x", "c/.git/HEAD", "c/out -> /etc", "e/d/x"] {
        assert!(listed.contains(&format!(" {name}\n")), "{name}:\n{listed}");
    }
    let size = |name: &str| {
        listed.lines().find(|line| line.ends_with(name)).unwrap().split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!([size(" a/x"), size(" b/x"), size(" e/d/x")], ["3", "6", "3"]);
    assert!(!listed.contains("a/.git") && !listed.contains("e/.git"), "{listed}");
    for (what, says) in [
        (format!("ADD {url}#nope /x"), "has no `nope`"),
        (format!("ADD {url}#:out /x"), "has no directory `out`"),
        (format!("ADD {url}#--upload-pack=touch%20/tmp/x:d /x"), "is no name of a branch"),
        (format!("ADD --checksum={first} {url}#main /x"), "expected checksum to match"),
        (format!("ADD {url}?x=y /x"), "unexpected query"),
    ] {
        space.write("app/Dockerfile", &format!("FROM scratch\n{what}\n"));
        let failed = space.build(&["app"]);
        assert!(failed.stderr.contains(says) && failed.code == Some(1), "{what}: {}", failed.stderr);
    }
}

#[test]
fn contexts_come_from_git_http_and_standard_input() {
    let space = Space::new();
    let (work, www) = (space.path("work"), space.path("www"));
    if have("git") {
        repository(&space);
    } else {
        space.write("work/d/Dockerfile", "FROM scratch\nCOPY . /\n");
        space.write("work/d/x", "longer");
        std::fs::create_dir_all(&www).unwrap();
    }
    let server = Server::start(www.clone());
    let d = work.join("d");
    for (name, flag) in [
        ("c.tar", "-cf"),
        ("c.tar.gz", "-czf"),
        ("c.tar.bz2", "-cjf"),
        ("c.tar.xz", "-cJf"),
        ("c.tar.zst", "--zstd -cf"),
    ] {
        let flags: Vec<&str> = flag.split(' ').collect();
        let path = www.join(name);
        run("tar", &[&flags[..], &[path.to_str().unwrap(), "-C", d.to_str().unwrap(), "."]].concat());
        for listed in [files(&space, &["-"], Some(&path)), files(&space, &[&server.url(name)], None)] {
            assert!(listed.contains(" Dockerfile\n") && listed.contains(" x\n"), "{name}: {listed}");
        }
    }
    std::fs::copy(d.join("Dockerfile"), www.join("other")).unwrap();
    let listed = files(&space, &[&server.url("other")], None);
    assert!(listed.is_empty(), "a Dockerfile alone has an empty context: {listed}");
    space.write("plain", "FROM scratch\nLABEL a=b\n");
    files(&space, &["-"], Some(&space.path("plain")));
    if have("git") {
        let listed = files(&space, &[&server.url("r.git#v1:d")], None);
        assert!(listed.contains(" x\n"), "{listed}");
        let args = ["--build-arg", "SOURCE_DATE_EPOCH=context", &server.url("r.git?tag=v1&subdir=d")];
        let epoch = git(&work, &["log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d", "v1"]);
        assert!(files(&space, &args, None).lines().all(|line| line.contains(&epoch)));
    }
    space.write("app/Dockerfile", "FROM scratch\nCOPY --from=tar x /a\n");
    let named = format!("tar={}", server.url("c.tar.gz"));
    assert!(files(&space, &["--build-context", &named, "app"], None).contains(" a\n"));
    let failed = space.build(&["ftp://example.com/x"]);
    assert!(failed.stderr.contains("unknown protocol") && failed.code == Some(2), "{}", failed.stderr);
}

/// A Dockerfile that is too long is refused wherever it comes from: cut short, it would be another one.
#[test]
fn dockerfiles_that_are_too_long_are_refused_and_not_cut() {
    let space = Space::new();
    let www = space.path("www");
    let long = format!("FROM scratch\n{}LABEL a=b\n", "# a comment\n".repeat((16 << 20) / 12));
    let path = space.write("www/long", &long);
    space.write("app/Dockerfile", &long);
    std::fs::create_dir_all(space.path("empty")).unwrap();
    let server = Server::start(www);
    let url = server.url("long");
    run("tar", &["-cf", space.path("c.tar").to_str().unwrap(), "-C", space.path("app").to_str().unwrap(), "."]);
    for (args, stdin, name) in [
        (&["-"][..], path.clone(), "standard input"),
        (&["-f", "-", "empty"], path.clone(), "standard input"),
        (&["-f", "-", &url], path, "standard input"),
        (&[&url], "/dev/null".into(), &url),
        (&["app"], "/dev/null".into(), "app/Dockerfile"),
        (&["-"], space.path("c.tar"), "Dockerfile"),
    ] {
        let mut command = space.kiln(&[&["build"], args].concat());
        let output = command.stdin(std::fs::File::open(stdin).unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("`{name}` is larger than 16777216 bytes")), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    }
}

/// Archives whose members try to lead out, each with what is said of it (or that it does no harm).
const EVIL: &str = r#"
import io, sys, tarfile
where, victim = sys.argv[1:]
def make(name, members):
    with tarfile.open(f'{where}/{name}.tar', 'w') as tar:
        for n, kind, data in [('Dockerfile', 'f', 'FROM scratch\nCOPY . /\n')] + members:
            i = tarfile.TarInfo(n)
            if kind == 'f':
                i.size = len(data)
                tar.addfile(i, io.BytesIO(data.encode()))
            else:
                i.type = {'s': tarfile.SYMTYPE, 'l': tarfile.LNKTYPE, 'c': tarfile.CHRTYPE, 'd': tarfile.DIRTYPE}[kind]
                i.linkname = data
                tar.addfile(i)
make('dotdot', [('../escaped', 'f', 'x')])
make('deep', [('a/../../../../../../../../../../..' + victim + '/escaped', 'f', 'x')])
make('absolute', [(victim + '/escaped', 'f', 'x')])
make('symlink', [('l', 's', victim), ('l/escaped', 'f', 'x')])
make('relative', [('l', 's', '../../../../../../../../..' + victim), ('l/escaped', 'f', 'x')])
make('hardlink', [('h', 'l', victim + '/kept'), ('h', 'f', 'overwritten')])
make('hardlink2', [('l', 's', victim), ('h', 'l', 'l/kept')])
make('device', [('d', 'c', '')])
make('dirlink', [('l', 's', victim), ('l', 'd', '')])
make('dockerfile', [('Dockerfile', 's', victim + '/kept')])
make('ignore', [('.dockerignore', 's', victim + '/kept')])
"#;

#[test]
fn hostile_contexts_touch_nothing_outside() {
    needs!("python3");
    let space = Space::new();
    let (evil, victim) = (space.path("evil"), space.path("victim"));
    std::fs::create_dir_all(&evil).unwrap();
    std::fs::create_dir_all(&victim).unwrap();
    std::fs::write(victim.join("kept"), "secret-of-the-host").unwrap();
    run("python3", &["-c", EVIL, evil.to_str().unwrap(), victim.to_str().unwrap()]);
    let mut seen = 0;
    for entry in std::fs::read_dir(&evil).unwrap() {
        let path = entry.unwrap().path();
        let mut command = space.kiln(&["build", "-o", "out", "-"]);
        let output = command.stdin(std::fs::File::open(&path).unwrap()).output().unwrap();
        assert!(matches!(output.status.code(), Some(0..=2)), "{}: {output:?}", path.display());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked") && !said.contains("secret-of-the-host"), "{}: {said}", path.display());
        let names: Vec<_> = std::fs::read_dir(&victim).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["kept"], "{}", path.display());
        assert_eq!(std::fs::read_to_string(victim.join("kept")).unwrap(), "secret-of-the-host", "{}", path.display());
        assert!(!space.path("escaped").exists());
        let grep =
            std::process::Command::new("grep").args(["-rq", "secret-of-the-host"]).arg(space.path("store")).status();
        assert!(!grep.unwrap().success(), "{}: the host's file came into the store", path.display());
        let _ = std::fs::remove_dir_all(space.path("out"));
        seen += 1;
    }
    assert_eq!(seen, 11);
    space.assert_whole();
}

/// A server that takes the request and never answers holds nobody who wishes the end.
#[test]
fn the_first_interrupt_ends_a_context_that_does_not_come() {
    let (space, listener) = (Space::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let at = listener.local_addr().unwrap().port();
    for context in [format!("http://127.0.0.1:{at}/context.tar"), format!("http://127.0.0.1:{at}/project.git")] {
        if context.ends_with(".git") && !have("git") {
            continue;
        }
        let mut build = space.kiln(&["build", &context]).stderr(Stdio::piped()).spawn().unwrap();
        let (mut asked, _) = listener.accept().unwrap();
        std::io::Read::read_exact(&mut asked, &mut [0; 5]).unwrap();
        run("kill", &["-INT", &build.id().to_string()]);
        assert_eq!(build.wait().unwrap().code(), Some(130), "{context}");
    }
}

/// A git that hangs is no longer there when the build has ended, even if it takes no signals.
#[test]
fn an_interrupt_ends_the_programs_that_a_build_has_started() {
    let space = Space::new();
    let script =
        "#!/bin/sh\ntrap '' INT TERM\necho $$ > \"$0.new\"\nmv \"$0.new\" \"$0.pid\"\nwhile :; do sleep 1; done\n";
    let git = space.write("bin/git", script);
    std::fs::set_permissions(&git, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", git.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = space.kiln(&["build", "ssh://git@localhost/project.git"]);
    let mut build = command.env("PATH", path).stderr(Stdio::piped()).spawn().unwrap();
    let pid = (0..600).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        std::fs::read_to_string(space.path("bin/git.pid")).ok()
    });
    let pid = pid.expect("git was started");
    run("kill", &["-INT", &build.id().to_string()]);
    assert_eq!(build.wait().unwrap().code(), Some(130));
    // The kernel kills it when its parent ends, and that may take a moment.
    let left = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let left = left();
        left.is_empty() || left.contains(") Z ")
    });
    assert!(gone, "{}", left());
}

#[test]
fn a_password_in_an_address_is_used_and_shown_nowhere() {
    needs!("git");
    let space = Space::new();
    repository(&space);
    space.write("www/f", "hello");
    let server = Server::start(space.path("www"));
    let (secret, host) = ("P4SSWORD", format!("127.0.0.1:{}", server.port));
    let url = |path: &str| format!("http://user:{secret}@{host}/{path}");
    let found = |place: &str| {
        let path = space.path(place);
        let grep = std::process::Command::new("grep").args(["-rlaF", secret]).arg(path).output().unwrap();
        String::from_utf8_lossy(&grep.stdout).into_owned()
    };
    let flags = ["--trace", "trace", "--metadata-file", "meta", "-t", "app"];
    let context = space.built(&[&flags[..], &[&url("r.git#main:d")]].concat());
    let wrong = space.build(&[&url("none.git")]);
    assert!(!wrong.ok);
    for args in [&["explain", "--json"][..], &["explain"], &["inspect", "app"]] {
        let said = String::from_utf8(space.kiln(args).output().unwrap().stdout).unwrap();
        assert!(!said.contains(secret), "{args:?}: {said}");
    }
    assert_eq!([found("store"), found("trace"), found("meta")], ["", "", ""]);

    // The value of a build argument stands in the history of its ARG, but not in that of the ADD, nor in a layer.
    let add = format!("ADD --keep-git-dir=true http://$WHO@{host}/r.git /src\nADD http://$WHO@{host}/f /f\n");
    space.write("app/Dockerfile", &format!("FROM scratch\nARG WHO\n{add}"));
    let out = space.path("out");
    let output = format!("type=local,dest={}", out.display());
    let added = space.built(&["--build-arg", &format!("WHO=user:{secret}"), "-t", "app", "-o", &output, "app"]);
    let inspected = String::from_utf8(space.kiln(&["inspect", "app"]).output().unwrap().stdout).unwrap();
    let told: Vec<&str> = inspected.lines().filter(|line| line.contains("ADD ")).collect();
    assert!(told.len() == 2 && told.iter().all(|line| line.contains(&format!("http://...@{host}"))), "{inspected}");
    assert_eq!(found("out"), "");
    // "user:P4SSWORD" in base64 is what the server is told.
    let asked = server.requests();
    assert!(asked.iter().any(|line| line.contains("r.git") && line.ends_with("dXNlcjpQNFNTV09SRA==")), "{asked:?}");
    assert!(asked.contains(&"200 f Basic dXNlcjpQNFNTV09SRA==".to_owned()), "{asked:?}");
    let said = [&added.stderr, &context.stderr, &wrong.stderr];
    assert!(said.iter().all(|text| !text.contains(secret) && text.contains(&host)), "{said:?}");
    let config = std::fs::read_to_string(out.join("src/.git/config")).unwrap();
    assert!(config.contains(&format!("url = http://{host}/r.git")), "{config}");
}

#[test]
fn a_token_for_git_does_not_follow_a_redirection_to_another_server() {
    needs!("git");
    let space = Space::new();
    repository(&space);
    space.write("token", "geheim");
    let (one, other) = (Server::start(space.path("www")), Server::start(space.path("www")));
    let secret = format!("id=GIT_AUTH_TOKEN.127.0.0.1:{},src=token", one.port);
    let authorized = |requests: &[String]| requests.iter().filter(|line| line.contains(" basic ")).count();
    for (port, stays) in [(one.port, true), (other.port, false)] {
        let url = one.url(&format!("redirect/{port}/r.git"));
        space.write("app/Dockerfile", &format!("FROM scratch\nADD {url}#main:d /d\n"));
        let built = space.build(&["--no-cache", "--secret", &secret, "app"]);
        assert!(built.ok, "{}", built.stderr);
        let (here, there) = (one.requests(), other.requests());
        assert!(authorized(&here) > 0, "{here:?}");
        assert_eq!(authorized(&there), 0, "{there:?}");
        assert_eq!(there.is_empty(), stays, "{there:?}");
        // A repository that was fetched is not fetched again.
        std::fs::remove_dir_all(space.path("store/sources-v1")).unwrap();
    }
}

#[test]
fn the_repository_of_the_context_keeps_its_git_dir_where_the_build_argument_says_so() {
    needs!("git");
    let space = Space::new();
    repository(&space);
    space.write("work/Dockerfile", "FROM scratch\nCOPY . /\n");
    git(&space.path("work"), &["add", "."]);
    git(&space.path("work"), &["commit", "-qm", "three"]);
    git(&space.path("work"), &["push", "-q", space.path("www/r.git").to_str().unwrap(), "main"]);
    git(&space.path("www/r.git"), &["update-server-info"]);
    let url = Server::start(space.path("www")).url("r.git");
    assert!(!files(&space, &[&url], None).contains(" .git/HEAD"));
    assert!(files(&space, &["--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=true", &url], None).contains(" .git/HEAD"));
}

#[test]
fn a_bake_definition_may_be_an_archive_elsewhere() {
    let space = Space::new();
    let server = Server::start(space.path("www"));
    space.write("tree/docker-bake.hcl", BAKED);
    space.write("tree/app/Dockerfile", "FROM scratch\nCOPY f /\nCOPY --from=other o /\nCOPY --from=local mine /\n");
    space.write("tree/app/f", "f");
    space.write("tree/other/o", "o");
    space.write("cwd/mine", "mine");
    std::os::unix::fs::symlink("/etc", space.path("tree/link")).unwrap();
    space.write("www/index", "");
    let archive = space.path("www/tree.tar.gz");
    run("tar", &["czf", archive.to_str().unwrap(), "-C", space.path("tree").to_str().unwrap(), "."]);
    let url = server.url("tree.tar.gz");
    let bake = |target: &str| space.kiln(&["bake", &url, target]).current_dir(space.path("cwd")).output().unwrap();
    let built = bake("app");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for file in ["f", "o", "mine"] {
        assert_eq!(std::fs::read_to_string(space.path("cwd/out").join(file)).unwrap(), file);
    }
    let refused = bake("evil");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("leads out of the definition's tree"), "{why}");
}

const BAKED: &str = "target \"app\" {
  context = \"app\"
  contexts = { other = \"other\", local = \"cwd://\" }
  output = [\"type=local,dest=out\"]
}
target \"evil\" {
  context = \"link\"
}
";
