//! Devices: a step opens none but those that every container has, whichever way a node came to be. `null` under another name
//! stands for all: where it can't be opened, no device can.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, by_root, have, is_root, run};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

/// Programs of busybox.
const BASE: &str =
    "FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

fn project(space: &Space, lines: &str) -> bool {
    if !have("busybox") {
        return false;
    }
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    space.write("app/Dockerfile", &format!("{BASE}{lines}\n"));
    true
}

/// Says for each place whether a device that is made there can be opened. To make one is allowed to root.
const TRY: &str = r#"for at in /x /dev/x /dev/shm/x /tmp/x /cache/x /bind/x /tmpfs/x; do \
    mknod -m 666 $at c 1 3 2>/dev/null || { echo refused; continue; }; echo made; (echo > $at) 2>/dev/null && echo "opens $at"; rm -f $at; done"#;
const MOUNTS: &str =
    "--mount=type=cache,target=/cache --mount=type=tmpfs,target=/tmpfs --mount=type=bind,from=other,target=/bind,rw";

#[test]
fn a_device_that_a_step_makes_can_not_be_opened_anywhere() {
    let space = Space::new();
    let lines = format!("FROM scratch AS other\nCOPY busybox /f\nFROM base\nRUN mkdir /tmp\nRUN {MOUNTS} {TRY}");
    if !project(&space, &lines) {
        return;
    }
    let built = space.built(&["--network=none", "app"]);
    assert!(!built.stderr.contains(" opens "), "{}", built.stderr);
    let made = built.stderr.lines().filter(|line| line.ends_with(" made")).count();
    assert_eq!(made, if is_root() { 7 } else { 0 }, "{}", built.stderr);
    space.assert_whole();
}

#[test]
fn a_device_of_a_layer_can_not_be_opened_by_anybody() {
    let space = Space::new();
    let lines = "FROM base AS filled\nADD nodes.tar /\nRUN --mount=type=bind,source=/,from=base,target=/b w=opens; (: < /node) 2>/dev/null && echo $w /node; ls -l /node || true\nFROM filled\nCOPY --from=filled /node /copied\nUSER 1000\nRUN --mount=type=bind,from=filled,target=/b w=opens; for at in /node /copied /b/node; do (: < $at) 2>/dev/null && echo $w $at; done; echo tried";
    if !have("python3") || !project(&space, lines) {
        return;
    }
    let script = "import sys, tarfile\nwith tarfile.open(sys.argv[1], 'w') as tar:\n    i = tarfile.TarInfo('node'); i.type = tarfile.CHRTYPE; i.mode = 0o666; i.devmajor, i.devminor = 1, 3; tar.addfile(i)\n";
    run("python3", &["-c", script, space.path("app/nodes.tar").to_str().unwrap()]);
    let built = space.built(&["--network=none", "app"]);
    assert!(built.stderr.contains(" tried") && !built.stderr.contains(" opens /"), "{}", built.stderr);
}

#[test]
fn every_mount_of_a_step_is_closed_to_devices_but_those_of_its_own_devices() {
    let space = Space::new();
    let lines = format!("FROM scratch AS other\nCOPY busybox /f\nFROM base\nRUN {MOUNTS} cat /proc/self/mountinfo");
    if !project(&space, &lines) {
        return;
    }
    let built = space.built(&["--network=none", "app"]);
    let rows = built.stderr.lines().filter(|line| line.contains(" - ")).map(|line| line.split(' ').collect::<Vec<_>>());
    let mut seen = 0;
    for row in rows {
        // #<step> <time>, then as in proc_pid_mountinfo(5): the root of the mount, its place, its flags.
        let [root, place, flags] = [row[5], row[6], row[7]];
        let null = root == "/null";
        let devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts"];
        let closed = flags.split(',').any(|flag| flag == "nodev");
        assert!(closed || null || devices.contains(&place), "{row:?}");
        seen += 1;
    }
    assert!(seen >= 15, "{}", built.stderr);
}

#[test]
fn the_devices_that_every_container_has_work() {
    let space = Space::new();
    let lines = "RUN echo gone > /dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/random | wc -c && head -c 3 /dev/urandom | wc -c && \
        (echo > /dev/full) 2>&1 | grep -c 'No space' && ls /dev | tr '\\n' ' ' && (: < /dev/ptmx) && echo terminals\nUSER 1000\nRUN echo gone > /dev/null && echo user";
    if !project(&space, lines) {
        return;
    }
    let built = space.built(&["--network=none", "app"]);
    assert_eq!(built.stderr.matches(" 3\n").count(), 3, "{}", built.stderr);
    for said in
        [" 1\n", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero", " terminals", " user"]
    {
        assert!(built.stderr.contains(said), "{said}: {}", built.stderr);
    }
    // A step's change to one is gone with the step.
    let before = run("stat", &["-c", "%a %u %Z", "/dev/null"]).stdout;
    project(&space, "RUN chmod 600 /dev/null; chown 1:1 /dev/null; rm -f /dev/null; echo");
    space.built(&["--network=none", "app"]);
    assert_eq!(run("stat", &["-c", "%a %u %Z", "/dev/null"]).stdout, before);
}

#[test]
fn a_step_that_may_do_everything_opens_devices() {
    if !by_root("open devices") {
        return;
    }
    let space = Space::new();
    if !project(&space, "RUN --security=insecure mknod /x c 1 3 && echo > /x && rm /x && echo opened") {
        return;
    }
    let built = space.built(&["--network=none", "--allow=security.insecure", "app"]);
    assert!(built.stderr.contains(" opened"), "{}", built.stderr);
}

/// A shell in a step is as closed as the step.
#[test]
fn a_shell_opens_no_device() {
    let space = Space::new();
    if !project(&space, "RUN echo begun; sleep 4803; :") {
        return;
    }
    let mut build = space.kiln(&["build", "--progress=plain", "--network=none", "app"]);
    let mut build = build.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(build.stderr.take().unwrap());
    let mut all = String::new();
    while !all.ends_with(" begun\n") {
        assert_ne!(stderr.read_line(&mut all).unwrap(), 0, "{all}");
    }
    let script = "mknod /x c 1 3; (echo > /x) 2>/dev/null && [ -c /x ] && echo opened; echo > /dev/null && echo usual";
    let output = space.kiln(&["shell", "--", "/bin/sh", "-c", script]).stdin(Stdio::null()).output().unwrap();
    build.kill().unwrap();
    build.wait().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("usual") && !said.contains("opened"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
