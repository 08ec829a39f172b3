//! The table of exit codes in `kiln --help`, row by row.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, by_root, run, skipped};
use std::process::Stdio;

/// A project without a base image: nothing is asked of any registry.
fn project(space: &Space) {
    space.write("app/Dockerfile", "FROM scratch\nCOPY file /file\n");
    space.write("app/file", "text\n");
}

fn code(space: &Space, args: &[&str]) -> (Option<i32>, String) {
    let output = space.kiln(args).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn check(space: &Space, args: &[&str], expected: i32) -> String {
    let (code, text) = code(space, args);
    assert_eq!(code, Some(expected), "{args:?}: {text}");
    text
}

#[test]
fn zero_is_done_and_one_is_a_build_that_failed() {
    let space = Space::new();
    project(&space);
    check(&space, &["build", "-t", "app", "app"], 0);
    space.write("syntax", "FRM scratch\n");
    space.write("missing", "FROM scratch\nCOPY nothing /\n");
    space.write("base", "FROM localhost:1/nothing\n");
    space.write("step", "FROM scratch\nCOPY file /\nRUN [\"/nothing\"]\n");
    for name in ["syntax", "missing", "base", "step"] {
        check(&space, &["build", "-f", name, "app"], 1);
    }
    // A result that can't be written is an error of the result, whatever the reason.
    for args in [
        ["-o", "type=local,dest=app/file/out"],
        ["-o", "type=oci,dest=nowhere/out.tar"],
        ["-o", "type=oci,tar=false,dest=app/file/out"],
        ["--iidfile", "nowhere/id"],
        ["--metadata-file", "nowhere/metadata"],
        ["--trace", "nowhere/trace"],
    ] {
        check(&space, &["build", args[0], args[1], "app"], 1);
    }
    check(&space, &["save", "app", "-o", "nowhere/app.tar"], 1);
}

#[test]
fn a_device_is_written_to_and_never_replaced() {
    use std::os::unix::fs::FileTypeExt as _;
    let space = Space::new();
    project(&space);
    // One of our own: were it replaced, nobody would miss it.
    let full = space.path("full");
    let made = std::process::Command::new("mknod").arg(&full).args(["c", "1", "7"]).status();
    if !by_root("make a device") {
        return;
    }
    assert!(made.unwrap().success());
    for kind in ["tar", "oci"] {
        check(&space, &["build", "-o", &format!("type={kind},dest=full"), "app"], 1);
        assert!(std::fs::symlink_metadata(&full).unwrap().file_type().is_char_device(), "{kind}");
    }
}

#[test]
fn two_is_a_wrong_command_line() {
    let space = Space::new();
    project(&space);
    for args in [
        &["build", "--colour", "app"][..],
        &["biuld"],
        &["build", "nowhere"],
        &["build", "-f", "nowhere", "app"],
        &["build", "-f", "app", "app"],
        &["build", "--jobs=0", "app"],
        &["build", "--progress=plian", "app"],
        &["build", "--secret=id=x,src=nowhere", "app"],
        &["prune", "--keep-duration=x"],
    ] {
        let (code, text) = code(&space, args);
        let fine = args.iter().any(|arg| arg.starts_with("--secret")) && code == Some(0);
        assert!(code == Some(2) || fine, "{args:?}: {code:?} {text}");
    }
}

#[test]
fn three_is_a_damaged_store() {
    let space = Space::new();
    project(&space);
    check(&space, &["build", "-t", "app", "app"], 0);
    let mut todo = vec![space.path("store/store-v1/blobs")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            std::fs::write(&path, "damaged").unwrap();
        }
    }
    check(&space, &["fsck"], 3);
    check(&space, &["inspect", "app"], 3);
    check(&space, &["fsck", "--repair"], 0);
    check(&space, &["fsck"], 0);
}

#[test]
fn four_is_what_the_system_refuses() {
    let space = Space::new();
    project(&space);
    let text = check(&space, &["build", "app"], 0);
    assert!(!text.contains("error"), "{text}");
    std::fs::write(space.path("file"), "").unwrap();
    let output = space.kiln(&["build", "app"]).env("KILN_ROOT", space.path("file/store")).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_full_disk_is_no_damage() {
    let space = Space::new();
    if !by_root("mount a small disk") {
        return;
    }
    project(&space);
    space.write("app/file", &"0123456789abcdef".repeat(400_000));
    let store = space.path("store");
    std::fs::create_dir(&store).unwrap();
    let mount = |size: &str| {
        let options = format!("size={size},mode=755");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(&store);
        mount.status().unwrap().success()
    };
    for size in ["100k", "500k", "3m", "6m", "7m", "12m"] {
        if !mount(size) {
            return skipped("the right to mount a small disk");
        }
        let (code, text) = code(&space, &["build", "-t", "app", "-o", "type=oci,dest=out.tar", "app"]);
        let fsck = space.kiln(&["fsck"]).output().unwrap();
        run("umount", &[store.to_str().unwrap()]);
        let told = ["space", "disk"].iter().any(|word| text.contains(word));
        assert!(code == Some(0) || (matches!(code, Some(1 | 4)) && told), "{size}: {code:?} {text}");
        assert_ne!(fsck.status.code(), Some(3), "{size}: {}", String::from_utf8_lossy(&fsck.stdout));
    }
}

#[test]
fn five_is_a_step_that_had_to_be_cached_and_was_not() {
    let space = Space::new();
    project(&space);
    check(&space, &["build", "--fail-on-miss", "COPY file", "app"], 5);
    check(&space, &["build", "app"], 0);
    check(&space, &["build", "--fail-on-miss", "COPY file", "app"], 0);
}

#[test]
fn a_hundred_and_thirty_is_an_interrupt_whatever_kiln_waits_for() {
    let space = Space::new();
    project(&space);
    // An export that nobody reads.
    run("mkfifo", &[space.path("pipe").to_str().unwrap()]);
    space.write("app/file", &"0123456789abcdef".repeat(40_000));
    let mut builds = Vec::new();
    let mut build = space.kiln(&["build", "-o", "-", "app"]).stdout(Stdio::piped()).spawn().unwrap();
    // Held open, and not read.
    let pipe = build.stdout.take().unwrap();
    builds.push((build, "a tarball on standard output"));
    // A registry that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    space.write("silent", &format!("FROM {}/base\n", silent.local_addr().unwrap()));
    builds.push((space.kiln(&["build", "-f", "silent", "app"]).spawn().unwrap(), "a silent registry"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    for (mut build, what) in builds {
        assert!(build.try_wait().unwrap().is_none(), "{what}: it waits for nothing");
        run("kill", &["-INT", &build.id().to_string()]);
        let began = std::time::Instant::now();
        while build.try_wait().unwrap().is_none() && began.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let code = build.try_wait().unwrap().and_then(|status| status.code());
        let _ = build.kill();
        assert_eq!(code, Some(130), "{what}");
        assert!(began.elapsed().as_secs() < 10, "{what}: {:?}", began.elapsed());
    }
    drop(pipe);
}
