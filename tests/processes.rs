//! A step's processes and its end: they talk without end or sense, leave others behind, read, never reap; and a
//! terminal that changes its size under a build.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Built, Space, have, needs, registry};
use std::process::Command;

fn build(space: &Space, lines: &str) -> Option<Built> {
    if !have("docker-registry") || !have("busybox") {
        return None;
    }
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{lines}\n", registry().0));
    Some(space.build(&["app"]))
}

/// No process with these words is left on the machine.
fn assert_gone(words: &str) {
    let left = Command::new("pgrep").args(["-af", words]).output().unwrap();
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.lines().any(|line| line.contains(words) && !line.contains("pgrep")), "{left}");
}

#[test]
fn output_of_any_bytes_and_size_comes_through() {
    let space = Space::new();
    let lines = "RUN head -c 3000000 /dev/urandom; head -c 3000000 /dev/zero; printf '\\033[2J\\033]0;title\\007'; echo; echo the end; head -c 1000000 /dev/urandom >&2";
    let Some(built) = build(&space, lines) else { return };
    assert!(built.ok, "{}", &built.stderr[built.stderr.len().saturating_sub(500)..]);
    assert!(built.stderr.lines().any(|line| line.ends_with(" the end")));
}

#[test]
fn what_a_step_leaves_behind_ends_with_it_and_zombies_hurt_nobody() {
    let space = Space::new();
    let lines = "RUN (setsid sleep 98761 &); (trap '' TERM HUP INT; sleep 98762) & for i in 1 2 3 4 5 6 7 8; do sh -c 'sleep 0 & exec true'; done; echo done\n\
                 RUN ps | grep -c 9876 || echo nobody is left";
    let Some(built) = build(&space, lines) else { return };
    assert!(built.ok && built.stderr.contains("done"), "{}", built.stderr);
    for words in ["sleep 98761", "sleep 98762"] {
        assert_gone(words);
    }
    space.assert_whole();
}

#[test]
fn standard_input_is_at_its_end() {
    let space = Space::new();
    let Some(built) = build(&space, "RUN cat && (read line || echo nothing to read) && ls -l /proc/self/fd/0") else {
        return;
    };
    assert!(
        built.ok && built.stderr.contains("nothing to read") && built.stderr.contains("/dev/null"),
        "{}",
        built.stderr
    );
}

#[test]
fn a_step_is_not_ended_by_silence_and_closed_streams() {
    let space = Space::new();
    let lines = "RUN exec >&- 2>&-; sleep 1.5; echo late > /late\nRUN cat /late";
    let Some(built) = build(&space, lines) else { return };
    assert!(built.ok && built.stderr.lines().any(|line| line.ends_with(" late")), "{}", built.stderr);
}

#[test]
fn a_terminal_may_change_its_size_during_a_build() {
    let space = Space::new();
    needs!("python3", "docker-registry", "busybox");
    let lines = "RUN for i in 1 2 3 4 5 6; do echo line $i of a step that says much more than fits into a narrow terminal; sleep 0.1; done";
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{lines}\n", registry().0));
    // A terminal of all sizes, from wide to nothing.
    let script = "import fcntl, os, pty, signal, struct, sys, termios\n\
        pid, fd = pty.fork()\n\
        if pid == 0: os.execv(sys.argv[1], sys.argv[1:])\n\
        sizes = [(50, 200), (1, 1), (0, 0), (5, 20), (60000, 60000), (24, 80)]\n\
        at = 0\n\
        while True:\n\
        \x20   fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', *sizes[at % len(sizes)], 0, 0)); at += 1\n\
        \x20   try:\n\
        \x20       if not os.read(fd, 4096): break\n\
        \x20   except OSError: break\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let output = Command::new("python3")
        .args(["-c", script, common::KILN, "build", "--progress=tty", "app"])
        .env("KILN_ROOT", space.path("store"))
        .env("TERM", "xterm")
        .current_dir(space.dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    space.assert_whole();
}
