//! Looking at a running step: `kiln ps` lists it, `kiln shell` enters it and gets no more than it has; what a killed build left
//! is neither listed nor entered, and gone before the next begins.
#![allow(clippy::unwrap_used, clippy::zombie_processes, missing_docs)]

mod common;

use common::{Space, have, is_root, repository, run, skipped};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};

/// A build in the background, killed with this.
struct Build(Child);

impl Drop for Build {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The rest of each Dockerfile, after the programs.
fn dockerfile(space: &Space, lines: &str) -> bool {
    if !have("busybox") {
        return false;
    }
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    let names = ["sh", "id", "cat", "grep", "ls", "tty", "readlink", "head", "wc", "env", "sleep", "uname"];
    let links: String = names.map(|name| format!("COPY busybox /bin/{name}\n")).concat();
    space.write("app/Dockerfile", &format!("FROM scratch\nENV PATH=/bin\n{links}{lines}\n"));
    true
}

/// A build that is in its step: the line `begun` was written.
fn begun(space: &Space) -> Build {
    begun_for(space, &[])
}

fn begun_for(space: &Space, flags: &[&str]) -> Build {
    let mut command = space.kiln(&[&["build", "--progress=plain", "--network=none", "app"], flags].concat());
    let mut build = Build(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut stderr = BufReader::new(build.0.stderr.take().unwrap());
    let mut all = String::new();
    while !all.ends_with(" begun\n") {
        assert_ne!(stderr.read_line(&mut all).unwrap(), 0, "{all}");
    }
    // Whoever reads no more must not keep the build from its end.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    build
}

fn ps(space: &Space) -> Vec<Value> {
    let output = space.kiln(&["ps", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn shell(space: &Space, args: &[&str]) -> Output {
    space.kiln(&[&["shell"], args].concat()).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn alive(process: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_running_step_is_listed_with_its_processes() {
    let space = Space::new();
    if !dockerfile(&space, "RUN echo begun; sleep 4801; :") {
        return;
    }
    assert!(ps(&space).is_empty());
    let build = begun(&space);
    let list = ps(&space);
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["build"], build.0.id());
    assert!(list[0]["name"].as_str().unwrap().ends_with("] RUN echo begun; sleep 4801; :"), "{list:?}");
    assert!(list[0]["processes"].to_string().contains("sleep 4801"), "{list:?}");
    let text = said(&space.kiln(&["ps"]).output().unwrap());
    assert!(text.contains("RUN echo begun") && text.contains("sleeps"), "{text}");
    drop(build);
    assert!(ps(&space).is_empty());
}

#[test]
fn a_shell_sees_what_the_step_sees_and_may_do_no_more() {
    let space = Space::new();
    let step = "RUN cat /proc/self/status > /status; ls -l /proc/self/ns > /ns; echo begun; sleep 4802; :";
    if !dockerfile(&space, &format!("ENV A=\"b c\"\nWORKDIR /work\n{step}")) {
        return;
    }
    let build = begun(&space);
    let script = "echo in here > /seen; cat /seen; id -u; readlink /proc/self/cwd; env | grep ^A=; cat /proc/1/cmdline";
    let seen = said(&shell(&space, &["--", "sh", "-c", script]));
    assert!(
        seen.starts_with("in here\n0\n/work\nA=b c\nsh\0-c\0")
            || seen.starts_with("in here\n0\n/work\nA=b c\n/bin/sh\0-c\0"),
        "{seen}"
    );
    assert!(seen.contains("sleep 4802"), "{seen}");
    let both = |what: &str| {
        let script = format!("grep -E '{what}' /status; echo --; grep -E '{what}' /proc/self/status");
        let text = said(&shell(&space, &["--", "sh", "-c", &script]));
        let (step, ours) = text.split_once("--\n").map(|(step, ours)| (step.to_owned(), ours.to_owned())).unwrap();
        assert!(!step.is_empty());
        assert_eq!(step, ours);
    };
    both("^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Seccomp_filters):");
    // Every namespace is the step's: links `user -> user:[1234]`.
    let namespaces = |path: &str| {
        let text = said(&shell(&space, &["--", "sh", "-c", path]));
        let rows = text.lines().filter_map(|line| Some(line.split_once(" -> ")?.1.to_owned()));
        rows.collect::<Vec<_>>()
    };
    let (step, ours) = (namespaces("cat /ns"), namespaces("ls -l /proc/self/ns"));
    assert!(step.len() >= 7, "{step:?}");
    assert_eq!(step, ours);
    // Three streams, and none of them a file or a terminal of the host.
    let open = said(&shell(&space, &["--", "sh", "-c", "for fd in /proc/$$/fd/*; do readlink $fd; done"]));
    assert!(open.lines().count() == 3 && open.lines().all(|line| line.starts_with("pipe:")), "{open}");
    drop(build);
    space.assert_whole();
}

#[test]
fn exit_codes_and_streams_come_back() {
    let space = Space::new();
    if !dockerfile(&space, "RUN echo begun; sleep 4803; :") {
        return;
    }
    let build = begun(&space);
    assert_eq!(shell(&space, &["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(shell(&space, &["--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(shell(&space, &["sleep 4803", "--", "sh", "-c", "exit 8"]).status.code(), Some(8));
    assert_eq!(shell(&space, &[ps(&space)[0]["id"].as_str().unwrap(), "--", "id"]).status.code(), Some(0));
    let unknown = shell(&space, &["nothing", "--", "id"]);
    assert!(unknown.status.code() == Some(2) && said(&unknown).contains("no step `nothing` runs now"), "{unknown:?}");
    let missing = shell(&space, &["--", "nothing"]);
    assert!(missing.status.code() == Some(1) && said(&missing).contains("not found in $PATH"), "{missing:?}");
    // More than a pipe holds, to the last byte, by a program that leaves another behind.
    let much = shell(&space, &["--", "sh", "-c", "sleep 4804 & head -c 300000 /dev/zero"]);
    assert_eq!(much.stdout.len(), 300_000);
    // Our input is its input, with an end.
    let mut child =
        space.kiln(&["shell", "--", "wc", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &[b'x'; 200_000]).unwrap();
    assert_eq!(said(&child.wait_with_output().unwrap()).trim(), "200000");
    drop(build);
}

#[test]
fn a_terminal_is_one_of_its_own() {
    let space = Space::new();
    if !dockerfile(&space, "RUN echo begun; sleep 4805; :") || !have("script") {
        return;
    }
    let build = begun(&space);
    let command = format!("KILN_ROOT={} {} shell", space.path("store").display(), common::KILN);
    // A shell that has job control says nothing of it; ^C ends the sleep and not the shell.
    let typed = "(sleep 4; printf 'sleep 4806\\n'; sleep 2; printf '\\003'; sleep 2; printf 'echo a$((6*7))b; exit 9\\n'; sleep 2)";
    let script = format!("{typed} | timeout 100 script -qec '{command}' /dev/null; echo code $?");
    let output = std::process::Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    let text = said(&output);
    assert!(text.contains("a42b") && text.contains("code 9"), "{text}");
    assert!(!text.contains("job control turned off"), "{text}");
    drop(build);
}

#[test]
fn a_step_that_ends_takes_the_shell_with_it() {
    let space = Space::new();
    if !dockerfile(&space, "RUN echo begun; while [ ! -e /end ]; do :; done") {
        return;
    }
    let mut build = begun(&space);
    let last = shell(&space, &["--", "sh", "-c", "echo > /end; sleep 4807"]);
    assert_eq!(last.status.code(), Some(137), "{last:?}");
    assert!(build.0.wait().unwrap().success());
    let after = shell(&space, &["--", "id"]);
    assert!(after.status.code() == Some(2) && said(&after).contains("no step runs now"), "{after:?}");
    space.assert_whole();
}

#[test]
fn an_emulated_step_is_entered_where_its_emulator_is() {
    let space = Space::new();
    let step = "RUN cat /proc/self/status > /status; ls -l /proc/self/ns > /ns; echo begun; sleep 4810; :";
    if !have("qemu-aarch64-static") || !have("dpkg-deb") || !dockerfile(&space, step) {
        return;
    }
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.join(format!("attach-arm64-{}", rustix::process::geteuid().as_raw()));
    run("bash", &[repository().join("testdata/arm64.sh").to_str().unwrap(), folder.to_str().unwrap()]);
    std::fs::copy(folder.join("busybox"), space.path("app/busybox")).unwrap();
    let build = begun_for(&space, &["--platform=linux/arm64"]);
    assert_eq!(said(&shell(&space, &["--", "uname", "-m"])).trim(), "aarch64");
    let script = "grep CapEff /status; grep CapEff /proc/self/status; grep user: /ns; ls -l /proc/self/ns | grep user:";
    let text = said(&shell(&space, &["--", "sh", "-c", script]));
    let lines: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert!(lines.len() >= 4 && lines[0] == lines[1] && lines[2] == *lines.last().unwrap(), "{text}");
    drop(build);
    space.assert_whole();
}

#[test]
fn a_killed_build_leaves_nothing_and_the_next_begins_when_its_container_is_gone() {
    let space = Space::new();
    // Whoever changes the user loses the wish to die with the parent.
    if !dockerfile(&space, "USER 1000\nRUN --mount=type=cache,target=/c echo begun; sleep 4808; :") {
        return;
    }
    if !is_root() && common::doctor(&space).contains("one id") {
        return skipped("a range of ids");
    }
    for _ in 0..3 {
        let build = begun(&space);
        let before = ps(&space);
        assert_eq!(before.len(), 1, "{before:?}");
        drop(build);
        assert!(ps(&space).is_empty());
        assert_eq!(shell(&space, &["--", "id"]).status.code(), Some(2));
        let next = begun(&space);
        assert!(!alive(&before[0]["pid"]), "the old container runs beside the new one");
        assert_eq!(listed(&space), 1, "what was left is swept");
        drop(next);
    }
    // The same when nobody comes after it.
    let build = begun(&space);
    let pid = ps(&space)[0]["pid"].clone();
    drop(build);
    while alive(&pid) {
        std::thread::yield_now();
    }
    space.assert_whole();
}

fn listed(space: &Space) -> usize {
    std::fs::read_dir(space.path("store/steps-v1")).unwrap().count()
}

#[test]
fn a_number_that_belongs_to_another_is_never_entered() {
    let space = Space::new();
    if !dockerfile(&space, "RUN echo begun; sleep 4809; :") {
        return;
    }
    let build = begun(&space);
    let entry = std::fs::read_dir(space.path("store/steps-v1")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&entry).unwrap();
    let mut step: Value = serde_json::from_str(&text).unwrap();
    // As if the number had been given to this very process meanwhile.
    step["process"]["pid"] = std::process::id().into();
    std::fs::write(&entry, step.to_string()).unwrap();
    assert!(ps(&space).is_empty());
    assert_eq!(shell(&space, &["--", "id"]).status.code(), Some(2));
    std::fs::write(&entry, text).unwrap();
    assert_eq!(ps(&space).len(), 1);
    drop(build);
    assert!(Path::new(&entry).exists(), "a killed build leaves its list");
    // The next takes it away, and not the process that has the number.
    step["process"]["pid"] = std::process::id().into();
    std::fs::write(&entry, step.to_string()).unwrap();
    let next = begun(&space);
    assert!(!Path::new(&entry).exists());
    drop(next);
}
