//! Where secrets must not be: in other processes, on the disk, in what is printed, in what leaves the store. The numbers are
//! those of `docs/security.md`.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, needs, registry};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Processes that hold a text in what they were started with, each with the name of the place. Only places that can be
/// read are looked at.
fn holders(text: &str, place: &str) -> Vec<u32> {
    let numbers =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let holds = |number: &u32| {
        let bytes = std::fs::read(format!("/proc/{number}/{place}")).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    };
    numbers.filter(holds).collect()
}

/// Files below a place that hold a text.
fn files_with(text: &str, place: &Path) -> String {
    let found = Command::new("grep").args(["-rlaF", "-e", text]).arg(place).output().unwrap();
    String::from_utf8(found.stdout).unwrap()
}

/// True if a process is in a pid namespace below ours: of a step.
fn in_a_step(number: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default();
    line.split_whitespace().count() > 2
}

/// Secrets, by every way there is, are nowhere but in their step: looked for while the step holds them, and after.
#[test]
fn s25_s26_secrets_are_found_nowhere() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    // One comes as a file and must be in no process's arguments or environment; the other is in kiln's own environment.
    let own = std::process::id();
    let (in_file, in_env) = (format!("canary-file-{own}"), format!("canary-env-{own}"));
    space.write("s", &in_file);
    let temp = space.path("tmp");
    std::fs::create_dir_all(&temp).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    // The step holds its secrets until the answer comes.
    let lines = format!(
        "RUN --network=host --mount=type=secret,id=f --mount=type=secret,id=e,env=TOKEN grep -q canary-file /run/secrets/f && test -n \"$TOKEN\" && echo cores $(ulimit -c) && wget -q -O- http://127.0.0.1:{}/\n\
         RUN cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep 'canar[y]' || echo nothing-$((1+1)); ls /run/secrets || echo nothing-$((1+1))",
        listener.local_addr().unwrap().port()
    );
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{lines}\n", registry().0));
    let (log, plain) = (space.path("log"), space.path("plain.tar"));
    let output = format!("type=oci,compression=uncompressed,dest={}", plain.display());
    let secrets = ["--secret", "id=f,src=s", "--secret", "id=e,env=CANARY", "--allow=network.host"];
    let build = |progress: &str| {
        let mut command =
            space.kiln(&[&["build", progress, "-t", "x", "-o", &output], &secrets[..], &["app"]].concat());
        command.env("CANARY", &in_env).env("KILN_EVENT_LOG", &log).env("TMPDIR", &temp);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    // As where developers look at cores: kiln and its steps must leave none all the same.
    let core = rustix::process::Resource::Core;
    let maximum = rustix::process::getrlimit(core).maximum;
    rustix::process::setrlimit(core, rustix::process::Rlimit { current: maximum, maximum }).unwrap();
    let mut child = build("--progress=plain").spawn().unwrap();
    let mut step = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if child.try_wait().unwrap().is_some() => {
                panic!("{}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr))
            }
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    for place in ["cmdline", "environ"] {
        assert_eq!(holders(&in_file, place), [0; 0], "{place}");
    }
    assert_eq!(holders(&in_env, "cmdline"), [0; 0]);
    let others: Vec<u32> =
        holders(&in_env, "environ").into_iter().filter(|number| *number != child.id() && !in_a_step(*number)).collect();
    assert_eq!(others, [0; 0], "the environment of others than kiln ({}) and the step", child.id());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
    for text in [&in_file, &in_env] {
        for place in [space.path("store"), temp.clone()] {
            assert_eq!(files_with(text, &place), "", "while the step runs");
        }
    }
    step.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    drop(step);

    let built = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success() && said.contains("cores 0"), "{said}");
    assert_eq!(said.matches("nothing-2").count(), 2, "the next step sees nothing: {said}");
    let again = build("--progress=rawjson").output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let saved = space.path("saved.tar");
    let save = space.kiln(&["save", "-o", saved.to_str().unwrap(), "x"]).status().unwrap();
    assert!(save.success());
    let history = space.kiln(&["inspect", "x"]).output().unwrap();
    assert!(history.status.success() && String::from_utf8_lossy(&history.stdout).contains("grep -q canary-file"));
    for text in [&in_file, &in_env] {
        for bytes in [&built.stdout, &built.stderr, &again.stdout, &again.stderr, &history.stdout] {
            assert!(!String::from_utf8_lossy(bytes).contains(text.as_str()));
        }
        // Layers, records of the cache, logs of steps, the event log, layers as they leave.
        for place in [&space.path("store"), &temp, &log, &plain, &saved] {
            assert!(place.exists());
            assert_eq!(files_with(text, place), "", "{}", place.display());
        }
    }
}
