//! RUN for another architecture than the machine's, and that the same commands leave the same tree behind however they run:
//! as root, as an ordinary user, emulated.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, have, needs, repository, run};
use std::path::{Path, PathBuf};

/// Leaves a file of each kind and owner behind.
const LINES: &str = r#"
RUN ["/bin/busybox", "--install", "/bin"]
RUN mkdir -p /t/deep && cd /t && echo text > file && ln file hard && ln -s ../t/file link && mkfifo pipe && \
    chmod 4755 file && chmod 1777 deep && mkdir owned && chown 1234:77 owned && touch owned/by && chown -h 65534:65534 link && touch gone
RUN rm /t/gone && sh -c 'sh -c "echo nested > /t/nested"' && rm -r /t/deep && mkdir /t/deep
USER 1000:1000
RUN id -u > /tmp/who
"#;

/// The output of `tar -tv` for it, without times.
const TREE: &str = "\
drwxr-xr-x 0/0 t/
drwxr-xr-x 0/0 t/deep/
-rwsr-xr-x 0/0 t/file
hrwsr-xr-x 0/0 t/hard link to t/file
lrwxrwxrwx 65534/65534 t/link -> ../t/file
-rw-r--r-- 0/0 t/nested
drwxr-xr-x 1234/77 t/owned/
-rw-r--r-- 0/0 t/owned/by
prw-r--r-- 0/0 t/pipe
-rw-r--r-- 1000/1000 tmp/who
";

fn project(space: &Space, busybox: &Path) {
    space.write(
        "app/Dockerfile",
        &format!("FROM scratch\nCOPY --chmod=755 busybox /bin/\nCOPY --chmod=1777 empty /tmp\n{LINES}"),
    );
    std::fs::create_dir_all(space.path("app/empty")).unwrap();
    std::fs::copy(busybox, space.path("app/busybox")).unwrap();
}

fn foreign() -> Option<PathBuf> {
    if !have("qemu-aarch64-static") || !have("dpkg-deb") {
        return None;
    }
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("arm64-{}", rustix::process::geteuid().as_raw()));
    run("bash", &[repository().join("testdata/arm64.sh").to_str().unwrap(), folder.to_str().unwrap()]);
    Some(folder.join("busybox"))
}

/// The lines of `tar -tv` below /t and /tmp, sorted by name.
fn tree(tar: &Path) -> String {
    let output = run("tar", &["--numeric-owner", "-tvf", tar.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = words[5..].join(" ");
            let wanted = name.starts_with("t/") || name == "tmp/who";
            wanted.then(|| (name.clone(), format!("{} {} {name}\n", words[0], words[1])))
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

#[test]
fn a_native_step_leaves_this_tree_behind() {
    let space = Space::new();
    needs!("busybox");
    project(&space, Path::new("/bin/busybox"));
    space.built(&["-o", "type=tar,dest=out.tar", "app"]);
    assert_eq!(tree(&space.path("out.tar")), TREE);
    space.assert_whole();
}

#[test]
fn an_emulated_step_leaves_the_same_tree_behind_and_registers_nothing() {
    let space = Space::new();
    let Some(busybox) = foreign() else { return };
    project(&space, &busybox);
    let before = run("find", &["/proc/sys/fs/binfmt_misc"]).stdout;
    space.write(
        "app/Dockerfile",
        &(std::fs::read_to_string(space.path("app/Dockerfile")).unwrap() + "RUN echo this is $(uname -m)\n"),
    );
    let built = space.built(&["--platform=linux/arm64", "-o", "type=tar,dest=out.tar", "app"]);
    assert!(built.stderr.contains("this is aarch64"), "{}", built.stderr);
    assert_eq!(tree(&space.path("out.tar")), TREE);
    assert_eq!(run("find", &["/proc/sys/fs/binfmt_misc"]).stdout, before);
    // A build that finds all in the cache needs no emulator at work.
    assert_eq!(space.built(&["--platform=linux/arm64", "app"]).ran, Vec::<String>::new());
    space.assert_whole();
    let left = std::process::Command::new("pgrep").args(["-f", space.dir.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "a process is left");
}

#[test]
fn without_an_emulator_nothing_begins_and_the_error_says_what_to_install() {
    let space = Space::new();
    needs!("busybox");
    project(&space, Path::new("/bin/busybox"));
    let mut command = space.kiln(&["build", "--platform=linux/s390x", "app"]);
    let output = command.env("PATH", space.dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("RUN for linux/s390x does not work on") && text.contains("install qemu-user-static"),
        "{text}"
    );
    // Stages of the machine's own kind may run.
    space.write("app/Dockerfile", "FROM --platform=$BUILDPLATFORM scratch AS made\nCOPY busybox /bin/sh\nRUN echo > /made\nFROM scratch\nCOPY --from=made /made /\n");
    let output =
        space.kiln(&["build", "--platform=linux/s390x", "app"]).env("PATH", space.dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
