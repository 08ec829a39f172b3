//! kiln inside of a container without privileges, as CI and Kubernetes give it: what works, and what is said where less does.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::dockerd::Dockerd;
use common::{KILN, Space, by_root, needs, run};
use std::path::Path;

/// An image with kiln, its libraries, busybox and a project, as `pod`.
fn image(space: &Space, dockerd: &Dockerd) {
    let root = space.path("root");
    for dir in ["bin", "app", "tmp", "var/lib/kiln", "etc", "lib64"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let place = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    place(Path::new(KILN), &root.join("bin/kiln"));
    for to in ["bin/busybox", "app/busybox"] {
        place(Path::new("/bin/busybox"), &root.join(to));
    }
    let libraries = String::from_utf8(run("ldd", &[KILN]).stdout).unwrap();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        place(Path::new(library), &root.join(library.trim_start_matches('/')));
    }
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    let lines = "FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]\n\
        RUN touch /own && chown 1:2 /own 2>/dev/null && stat -c 'owner %u:%g' /own; rm /bin/vi && test ! -e /bin/vi && echo removed; \
        readlink /proc/self/exe; mount -t tmpfs x /tmp 2>/dev/null || echo confined\n";
    std::fs::write(root.join("app/Dockerfile"), lines).unwrap();
    let tar = space.path("root.tar").display().to_string();
    run("tar", &["-C", root.to_str().unwrap(), "-cf", &tar, "."]);
    let imported = dockerd.docker(&["import", &tar, "pod"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

/// The output of a build in a container with these flags, and true if it went well.
fn build(dockerd: &Dockerd, flags: &[&str], verb: &[&str]) -> (bool, String) {
    let output = dockerd.docker(&[&["run", "--rm", "--net=none"], flags, &["pod", "/bin/kiln"], verb].concat());
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

const BUILD: &[&str] = &["build", "--progress=plain", "/app"];

#[test]
fn a_pod_without_privileges_builds_and_what_is_missing_is_said() {
    let space = Space::new();
    if !by_root("run dockerd") {
        return;
    }
    needs!("dockerd", "busybox");
    let dockerd = Dockerd::start(&space);
    image(&space, &dockerd);
    let unconfined = "--security-opt=seccomp=unconfined";

    // A pod without a seccomp profile has this, with a volume: root and an ordinary user.
    let (well, text) = build(&dockerd, &[unconfined, "-v", "store:/var/lib/kiln"], BUILD);
    assert!(well, "{text}");
    for line in ["owner 1:2", "removed", "/bin/busybox", "confined"] {
        assert!(text.lines().any(|found| found.contains(line)), "{line}: {text}");
    }
    assert_eq!(
        text.matches("RUN is less isolated: the container around kiln hides parts of /proc").count(),
        1,
        "{text}"
    );
    let user = ["--user=1000:1000", "--tmpfs=/k:mode=1777,exec", "--env=KILN_ROOT=/k"];
    let (well, text) = build(&dockerd, &[&[unconfined], &user[..]].concat(), BUILD);
    assert!(well && text.contains("removed") && text.contains("there is no range in /etc/subuid"), "{text}");

    // With a whole /proc nothing is missing.
    let (well, text) =
        build(&dockerd, &[unconfined, "--security-opt=systempaths=unconfined", "-v", "store:/var/lib/kiln"], BUILD);
    assert!(well && !text.contains("less isolated"), "{text}");

    // Without a volume, and behind Docker's own profile: an error that says what to do, and what has no RUN works.
    let (well, text) = build(&dockerd, &[unconfined, "--tmpfs=/x"], BUILD);
    let vfs = text.contains("removed");
    assert!(vfs == well && (vfs || text.contains("put it on a volume")), "{text}");
    let (well, text) = build(&dockerd, &[], BUILD);
    assert!(!well && text.contains("seccomp=unconfined") && text.contains("#1 DONE"), "{text}");
    let (well, text) = build(&dockerd, &[], &["doctor"]);
    assert!(!well && text.contains("lack containers") && text.contains("seccomp"), "{text}");
    let (well, text) = build(&dockerd, &[unconfined, "-v", "store:/var/lib/kiln"], &["doctor"]);
    assert!(well && text.contains("they work, but the container around kiln hides parts of /proc"), "{text}");
}
