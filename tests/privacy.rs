//! The store belongs to its owner: what other users of the machine can do with it, tried as one of them, whatever umask kiln
//! was started with; and that what is made for the user has the modes that the user's own umask gives.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KILN, Space, by_root, have, needs, run};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A command as another user of the machine. By a shell: setpriv itself still has root's capabilities when it executes.
fn other(program: &str, args: &[&str]) -> Output {
    let who = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "exec \"$@\"", "sh", program];
    Command::new("setpriv").args(who).args(args).output().unwrap()
}

/// True where a test can be another user.
fn others() -> bool {
    by_root("be another user") && have("setpriv") && have("busybox")
}

/// A command of kiln with a umask.
fn with_umask(space: &Space, umask: &str, args: &[&str]) -> Output {
    let script = format!("umask {umask}; exec {KILN} \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).args(args).env("KILN_ROOT", space.path("store")).current_dir(space.dir.path());
    let output = command.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// An image with what others must not get at: a set-user-id program, a device, a private file, an argument.
fn image(space: &Space) {
    std::fs::set_permissions(space.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    space.write("app/key", "of-the-owner-key\n");
    let lines = "FROM scratch\nARG TOKEN\nCOPY busybox /bin/busybox\nCOPY --chmod=4755 busybox /setuid\nCOPY --chmod=600 key /key\n\
        RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN --mount=type=cache,target=/c cp /key /c/of-the-owner; cp /setuid /again; chmod 4755 /again; mknod -m 666 /node c 1 3; :\n";
    space.write("app/Dockerfile", lines);
}

const BUILD: &[&str] =
    &["build", "-q", "--network=none", "--build-arg", "TOKEN=of-the-owner-argument", "-t", "x", "app"];

#[test]
fn another_user_gets_at_nothing_in_a_store() {
    if !others() {
        return;
    }
    for umask in ["022", "000", "077"] {
        let space = Space::new();
        image(&space);
        with_umask(&space, umask, BUILD);
        let store = space.path("store");
        assert_eq!(mode(&store), 0o700, "umask {umask}");
        // Its content is there, but not for others.
        let found = run("find", &[store.to_str().unwrap(), "-perm", "-4000", "-type", "f"]).stdout;
        let found = String::from_utf8(found).unwrap();
        assert!(found.lines().count() >= 2, "{found}");
        for program in found.lines() {
            let tried = other(program, &["id", "-u"]);
            assert!(!String::from_utf8_lossy(&tried.stdout).starts_with('0'), "{program}");
        }
        let seen = other("find", &[store.to_str().unwrap(), "-mindepth", "1"]);
        assert!(seen.stdout.is_empty(), "{}", String::from_utf8_lossy(&seen.stdout));
    }
}

/// Below the root too nothing is for others but what belongs to images and cache mounts, which need their modes.
#[test]
fn files_of_a_store_are_their_owners_alone_whatever_the_umask() {
    needs!("busybox");
    for umask in ["000", "022", "777"] {
        let space = Space::new();
        image(&space);
        with_umask(&space, umask, BUILD);
        with_umask(&space, umask, &["explain"]);
        let args = [
            "(", "-path", "*/dir-*", "-o", "-path", "*/data", ")", "-prune", "-o", "!", "-type", "l", "-perm", "/077",
            "-print",
        ];
        let found = run("find", &[&[space.path("store").to_str().unwrap()], &args[..]].concat()).stdout;
        assert_eq!(String::from_utf8_lossy(&found), "", "umask {umask}");
        space.assert_whole();
    }
}

#[test]
fn an_image_is_the_same_whatever_the_umask() {
    needs!("busybox");
    let ids: Vec<Vec<u8>> = ["000", "022", "077"]
        .map(|umask| {
            let space = Space::new();
            image(&space);
            let lines = "FROM scratch\nCOPY . /all\nCOPY key busybox /new/way/\nWORKDIR /made/for\n";
            space.write("app/Dockerfile", lines);
            with_umask(&space, umask, &["build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=1", "app"]).stdout
        })
        .to_vec();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

/// Files that kiln makes for its user are as if the user had made them.
#[test]
fn what_is_made_for_the_user_follows_the_users_umask() {
    needs!("busybox");
    for (umask, file, folder) in
        [("022", 0o644, 0o755), ("002", 0o664, 0o775), ("077", 0o600, 0o700), ("000", 0o666, 0o777)]
    {
        let space = Space::new();
        image(&space);
        let outputs = [
            "type=oci,dest=oci.tar",
            "type=oci,tar=false,dest=made/layout",
            "type=tar,dest=files.tar",
            "type=local,dest=out/deep",
            "type=docker,dest=docker.tar",
        ];
        for output in outputs {
            let flags = ["--iidfile", "id", "--metadata-file", "meta", "--trace", "trace", "-o", output];
            with_umask(&space, umask, &[BUILD, &flags].concat());
        }
        with_umask(&space, umask, &[BUILD, &["--cache-to", "type=local,dest=cache"]].concat());
        with_umask(&space, umask, &["save", "-o", "saved.tar", "x"]);
        for name in [
            "id",
            "meta",
            "trace",
            "oci.tar",
            "files.tar",
            "docker.tar",
            "saved.tar",
            "made/layout/index.json",
            "made/layout/oci-layout",
        ] {
            assert_eq!(mode(&space.path(name)), file, "{name}, umask {umask}");
        }
        for name in ["made", "made/layout", "made/layout/blobs", "out", "out/deep", "cache"] {
            assert_eq!(mode(&space.path(name)), folder, "{name}, umask {umask}");
        }
        let exported = ["out/deep/key", "out/deep/setuid"].map(|name| mode(&space.path(name)));
        assert_eq!(exported, [0o600, 0o4755], "umask {umask}");
    }
}

#[test]
fn a_store_that_is_too_open_is_narrowed_and_that_is_said_once() {
    let space = Space::new();
    let store = space.path("store");
    assert!(space.kiln(&["images"]).output().unwrap().stderr.is_empty());
    std::fs::set_permissions(&store, PermissionsExt::from_mode(0o777)).unwrap();
    let said = |args: &[&str]| String::from_utf8(space.kiln(args).output().unwrap().stderr).unwrap();
    let first = said(&["images"]);
    assert!(first.contains("others could look into the store") && first.contains("write to it"), "{first}");
    assert_eq!((mode(&store), said(&["images"])), (0o700, String::new()));
    let doctor = space.kiln(&["doctor"]).output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("nobody else gets into the store"));
}

/// A part of the store that leads elsewhere is not followed, least of all by what removes things.
#[test]
fn a_part_of_the_store_that_is_a_link_is_refused() {
    let space = Space::new();
    space.kiln(&["images"]).output().unwrap();
    space.write("victim/kept", "kept");
    std::fs::create_dir_all(space.path("store/refs-v1")).unwrap();
    for part in ["store-v1/tmp", "store-v1/layers", "store-v1", "refs-v1"] {
        let part = space.path("store").join(part);
        std::fs::rename(&part, space.path("away")).unwrap();
        std::os::unix::fs::symlink(space.path("victim"), &part).unwrap();
        let pruned = space.kiln(&["prune", "--all"]).output().unwrap();
        assert_eq!(pruned.status.code(), Some(3), "{}", String::from_utf8_lossy(&pruned.stderr));
        assert_eq!(std::fs::read_dir(space.path("victim")).unwrap().count(), 1);
        std::fs::remove_file(&part).unwrap();
        std::fs::rename(space.path("away"), &part).unwrap();
    }
}
