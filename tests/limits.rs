//! The bounds of a step: memory, processes, processors, time; and how its error tells it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Built, Space, have, registry, skipped};

fn build(space: &Space, lines: &str, flags: &[&str]) -> Option<Built> {
    if !have("docker-registry") || !have("busybox") {
        return None;
    }
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{lines}\n", registry().0));
    let built = space.build(&[flags, &["app"]].concat());
    if built.stderr.contains("the limits of steps can't be set") {
        assert_eq!(built.code, Some(4), "{}", built.stderr);
        skipped("a control group that we may write to");
        return None;
    }
    space.assert_whole();
    Some(built)
}

/// No group of a build of ours is left.
fn assert_no_group() {
    let folders = ["pids", "memory", "cpu", "unified", "."].map(|name| format!("/sys/fs/cgroup/{name}"));
    for folder in folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix("kiln.").and_then(|rest| rest.split('-').nth(1).map(str::to_owned));
            let gone = pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists());
            assert!(!gone, "{} is left", entry.path().display());
        }
    }
}

#[test]
fn a_memory_hog_ends_as_an_error_that_names_the_memory() {
    let space = Space::new();
    let lines = "RUN echo begins; dd if=/dev/zero of=/dev/null bs=200M count=1";
    let Some(built) = build(&space, lines, &["--resource", "memory=32m"]) else { return };
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(built.stderr.contains("out of memory: the step may use 33554432 bytes"), "{}", built.stderr);
    let enough = build(&space, lines, &["-m", "512m"]).unwrap();
    assert!(enough.ok, "{}", enough.stderr);
    assert_no_group();
}

#[test]
fn a_fork_bomb_ends_as_an_error_that_names_the_processes() {
    let space = Space::new();
    // The first gives up by itself, the second never does.
    let bombs =
        ["RUN while :; do sleep 1000 & done", "RUN awk 'BEGIN { while (1) system(\"sleep 1000 &\") }' 2>/dev/null"];
    for bomb in bombs {
        let Some(built) = build(&space, bomb, &["--resource", "pids=100"]) else { return };
        assert_eq!(built.code, Some(1), "{}", built.stderr);
        assert!(built.stderr.contains("too many processes: the step may have 100 at once"), "{}", built.stderr);
    }
    assert_no_group();
}

#[test]
fn a_step_sees_its_limits_as_its_own_root() {
    let space = Space::new();
    let lines = "RUN cut -d: -f3 /proc/self/cgroup | sort -u | tr '\\n' '.'; nproc";
    let Some(built) = build(&space, lines, &["--resource=memory=64m,cpus=0.5,pids=64", "--cpuset-cpus=0"]) else {
        return;
    };
    assert!(built.ok, "{}", built.stderr);
    assert!(built.stderr.lines().any(|line| line.ends_with(" /.1")), "{}", built.stderr);
}

#[test]
fn a_step_that_hangs_ends_after_its_timeout_and_says_what_it_was_doing() {
    let space = Space::new();
    let lines = "RUN --timeout=1s echo begun; sleep 4711 & sleep 4712";
    let Some(built) = build(&space, lines, &[]) else { return };
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    for text in ["did not end within 1s", "its processes then:", "sleeps", "sleep 4711", "sleep 4712", "begun"] {
        assert!(built.stderr.contains(text), "{text}: {}", built.stderr);
    }
    // A step that closes its streams has its time, too.
    let built = build(&space, "RUN --timeout=1s exec sleep 4713 >&- 2>&-", &[]).unwrap();
    assert!(built.stderr.contains("did not end within 1s"), "{}", built.stderr);
    // A step that ends in time is the same step without a limit.
    let first = build(&space, "RUN --timeout=1h echo > /quick", &[]).unwrap();
    let again = build(&space, "RUN echo > /quick", &[]).unwrap();
    assert!(first.ok && again.ok);
    assert_eq!((first.ran.len(), again.ran.len()), (1, 0), "{}", again.stderr);
}
