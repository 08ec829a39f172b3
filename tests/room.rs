//! How much room the store takes, and that what is collected is never what somebody uses.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, by_root, have, registry, run, skipped};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A project whose steps are of `size` bytes each, or nothing where there is no base.
fn project(name: &str, space: &Space, size: usize) -> bool {
    if !have("docker-registry") || !have("busybox") {
        return false;
    }
    let text = format!(
        "FROM {}/busybox\nCOPY . src\nRUN head -c {size} /dev/urandom > one\nRUN --mount=type=cache,target=/c head -c {size} /dev/urandom > /c/{name}; head -c {size} /dev/urandom > two && ln two three\n",
        registry().0
    );
    space.write(&format!("{name}/Dockerfile"), &text);
    (0..50).for_each(|file| drop(space.write(&format!("{name}/f{file}"), &format!("{name} {file}\n").repeat(50))));
    true
}

fn json(space: &Space, args: &[&str]) -> Vec<Value> {
    let output = space.kiln(&["du", "--format=json"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn size(items: &[Value]) -> u64 {
    items.iter().map(|item| item["Size"].as_u64().unwrap()).sum()
}

/// The size that the disk reports.
fn du(space: &Space) -> u64 {
    // An ordinary user can't look into the work directories of overlayfs: du(1) complains, and counts the rest.
    let output =
        std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(space.path("store")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn prune(space: &Space, args: &[&str]) -> String {
    let output = space.kiln(&["prune"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes everything in the store look unused for so many hours.
fn age(space: &Space, hours: u64) {
    let time = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
    let mut todo = vec![space.path("store/cache-v2"), space.path("store/mounts-v1")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
    for layer in std::fs::read_dir(space.path("store/store-v1/layers")).unwrap() {
        let record = layer.unwrap().path().join("record");
        std::fs::File::open(&record).unwrap().set_modified(time).unwrap();
        let text = std::fs::read_to_string(&record).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["created"] = (value["created"].as_i64().unwrap() - hours as i64 * 3600).into();
        std::fs::write(&record, value.to_string()).unwrap();
        std::fs::File::open(&record).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn figures_are_those_of_du_and_what_is_freed_is_free() {
    let space = Space::new();
    if !project("a", &space, 3_000_000) {
        return;
    }
    project("b", &space, 1_000_000);
    space.built(&["-t", "a", "-o", "type=oci,dest=a.tar", "a"]);
    space.built(&["b"]);
    let (real, said) = (du(&space), size(&json(&space, &[])));
    assert!(real.abs_diff(said) * 20 < real, "du says {real}, kiln du {said}");
    let text = String::from_utf8(space.kiln(&["du"]).output().unwrap().stdout).unwrap();
    assert!(
        text.contains("RUN head -c 3000000") && text.contains("exec.cachemount") && text.contains("Total:"),
        "{text}"
    );

    // Images stay, everything else goes.
    let text = prune(&space, &["--all", "--verbose"]);
    assert!(text.contains("freed") && text.contains("RUN head -c 1000000"), "{text}");
    let left = du(&space);
    assert!(left < real - 4_000_000 && left > 6_000_000, "{real} {left}");
    assert!(real.abs_diff(size(&json(&space, &[]))) > 4_000_000);
    space.assert_whole();
    assert!(space.kiln(&["save", "a", "-o", "saved.tar"]).output().unwrap().status.success());
    assert!(space.kiln(&["rmi", "a"]).output().unwrap().status.success());
    prune(&space, &["--all"]);
    assert!(du(&space) < 1_000_000, "{}", du(&space));
}

#[test]
fn a_limit_holds_and_the_least_recently_used_goes_first() {
    let space = Space::new();
    if !project("old", &space, 4_000_000) {
        return;
    }
    project("new", &space, 4_000_000);
    space.built(&["old"]);
    age(&space, 48);
    space.built(&["new"]);
    let before = du(&space);
    let text = prune(&space, &["--max-used-space", &(before - 7_000_000).to_string()]);
    assert!(du(&space) <= before - 7_000_000 + 100_000, "{text}");
    assert!(space.built(&["new"]).ran.is_empty(), "the newer went first");
    assert!(!space.built(&["old"]).ran.is_empty());

    // A young result does not keep what it no longer needs to keep, and an age does not break a limit that has none.
    prune(&space, &["--max-used-space=0"]);
    assert!(du(&space) < 1_000_000, "{}", du(&space));

    // A record that is too young stays, and that is said.
    space.built(&["new"]);
    let text = prune(&space, &["--max-used-space=0", "--keep-duration=1h"]);
    assert!(text.contains("more should go"), "{text}");
    assert!(space.built(&["new"]).ran.is_empty());
    let text = prune(&space, &["--max-used-space=0", "--reserved-space=1tb"]);
    assert!(text.starts_with("freed 0B") && space.built(&["new"]).ran.is_empty(), "{text}");
    age(&space, 2);
    prune(&space, &["--filter=until=1h"]);
    assert_eq!(space.built(&["new"]).ran.len(), 3);
}

#[test]
fn filters_choose_and_wrong_ones_are_told() {
    let space = Space::new();
    if !project("a", &space, 500_000) {
        return;
    }
    space.built(&["-t", "a", "a"]);
    let kinds = |args: &[&str]| {
        json(&space, args).iter().map(|item| item["Type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&["--filter=mutable"]), ["exec.cachemount"]);
    assert!(kinds(&["--filter=immutable"]).iter().all(|kind| kind != "exec.cachemount"));
    assert_eq!(kinds(&["--filter=description~=^RUN head"]), ["regular", "regular"]);
    assert_eq!(kinds(&["--filter=type!=internal", "--filter=private"]), ["exec.cachemount"]);
    let run = json(&space, &["--filter=description~=RUN --mount|head -c 500000 /dev/urandom > /c"]);
    let id = run[0]["ID"].as_str().unwrap();
    assert_eq!(json(&space, &[&format!("--filter=id={id}")]).len(), 1);
    assert_eq!(json(&space, &[&format!("--filter=parents={}", run[0]["Parents"][0].as_str().unwrap())]).len(), 1);
    assert!(json(&space, &["--filter=until=1h"]).iter().all(|item| item["Type"] == "internal"));

    prune(&space, &["--force", "--filter=type=exec.cachemount"]);
    assert!(kinds(&["--filter=mutable"]).is_empty());
    assert!(space.built(&["a"]).ran.is_empty());
    for wrong in [
        "--filter=colour=red",
        "--filter=id",
        "--filter=description~=(",
        "--filter=shared=x",
        "--max-used-space=x",
        "--keep-duration=x",
    ] {
        let output = space.kiln(&["prune", wrong]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn collecting_beside_a_build_takes_nothing_that_it_uses() {
    let space = Space::new();
    if !project("a", &space, 100_000) {
        return;
    }
    let text = std::fs::read_to_string(space.path("a/Dockerfile")).unwrap();
    let slow = "RUN --mount=type=cache,target=/c touch /c/seen && for i in $(seq 400); do [ -e /c/go ] && break; sleep 0.1; done && ls one two\n";
    space.write("slow/Dockerfile", &text.replace("head -c 100000 /dev/urandom > /c/a; ", ""));
    (0..50).for_each(|file| drop(space.write(&format!("slow/f{file}"), "same\n")));
    space.built(&["slow"]);
    let longer = std::fs::read_to_string(space.path("slow/Dockerfile")).unwrap() + slow;
    space.write("slow/Dockerfile", &longer);
    let mut build = space
        .kiln(&["build", "-q", "-t", "slow", "slow"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = || {
        let mounts = std::fs::read_dir(space.path("store/mounts-v1")).into_iter().flatten().flatten();
        mounts.map(|mount| mount.path().join("data")).find(|data| data.join("seen").exists())
    };
    let began = Instant::now();
    while seen().is_none() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let data = seen().expect("the step began");
    prune(&space, &["--all"]);
    assert!(build.try_wait().unwrap().is_none(), "prune waited for the build");
    assert!(data.join("seen").exists(), "a cache mount in use was taken away");
    std::fs::write(data.join("go"), "").unwrap();
    let output = build.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    space.assert_whole();
    assert!(space.kiln(&["save", "slow", "-o", "slow.tar"]).output().unwrap().status.success());
}

#[test]
fn builds_and_collections_at_once_and_collections_that_are_killed() {
    let space = Space::new();
    if !project("a", &space, 200_000) {
        return;
    }
    project("b", &space, 100_000);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut rounds = 0_u64;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let mut collector = space.kiln(&["prune", "--all"]).stdout(Stdio::null()).spawn().unwrap();
                if rounds % 2 == 1 {
                    std::thread::sleep(Duration::from_millis(rounds * 7 % 30));
                    let _ = collector.kill();
                }
                assert!(collector.wait().unwrap().success() || rounds % 2 == 1);
                rounds += 1;
            }
            rounds
        });
        let build = |name: &'static str| {
            let space = &space;
            scope.spawn(move || {
                for round in 0..12 {
                    let out = format!("type=oci,dest={name}-{round}.tar");
                    let output = space.kiln(&["build", "-q", "-t", name, "-o", &out, name]).output().unwrap();
                    assert!(output.status.success(), "{name} {round}: {}", String::from_utf8_lossy(&output.stderr));
                }
            })
        };
        let builders = [build("a"), build("b"), build("a")];
        let failed = builders.into_iter().filter_map(|builder| builder.join().err()).count();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(collector.join().unwrap() > 3);
        assert_eq!(failed, 0);
    });
    space.assert_whole();
    for name in ["a", "b"] {
        assert!(space.kiln(&["save", name, "-o", "saved.tar"]).output().unwrap().status.success(), "{name}");
    }
    prune(&space, &["--all"]);
    let left: Vec<_> = std::fs::read_dir(space.path("store/store-v1/tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_build_collects_by_itself_when_the_store_is_larger_than_it_may_be() {
    let space = Space::new();
    if !project("a", &space, 2_000_000) {
        return;
    }
    project("b", &space, 2_000_000);
    let build = |name: &str, setting: &str| {
        let output = space.kiln(&["build", "--progress=plain", name]).env("KILN_GC", setting).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(build("a", "off").1.contains("DONE"));
    age(&space, 1);
    let (code, text) = build("b", "max-used-space=16mb,reserved-space=0,min-free-space=0");
    assert!(code == Some(0) && text.contains("collected: freed"), "{text}");
    assert!(du(&space) < 16_500_000);
    assert!(space.built(&["b"]).ran.is_empty(), "what was built last went first");
    // Not after every build.
    let (_, text) = build("a", "max-used-space=1mb,reserved-space=0,min-free-space=0");
    assert!(!text.contains("collected"), "{text}");
    assert_eq!(build("a", "max=1").0, Some(2));
}

#[test]
fn a_full_disk_is_made_room_on_and_then_told() {
    let space = Space::new();
    if !by_root("mount a small disk") {
        return;
    }
    if !project("a", &space, 4_000_000) {
        return;
    }
    for name in ["b", "c", "d", "e", "f", "g"] {
        project(name, &space, 4_000_000);
    }
    let store = space.path("store");
    std::fs::create_dir(&store).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "none"])
        .arg(&store)
        .status()
        .unwrap();
    if !mounted.success() {
        return skipped("the right to mount a small disk");
    }
    // Seven builds of 12 MB each: the last has room because what the first left goes.
    let texts: Vec<_> =
        ["a", "b", "c", "d", "e", "f", "g"].iter().map(|name| space.build(&["-t", "one", name])).collect();
    let text = std::fs::read_to_string(space.path("g/Dockerfile")).unwrap().replace("4000000", "80000000");
    space.write("g/Dockerfile", &text);
    let full = space.build(&["g"]);
    let unmounted = std::process::Command::new("umount").arg(&store).status().unwrap();
    assert!(unmounted.success());
    assert!(texts.iter().all(|built| built.ok), "{texts:?}");
    assert!(!full.ok && full.stderr.contains("kiln prune"), "{}", full.stderr);
}

/// A base of the machine's own busybox: no registry.
fn busybox(space: &Space, folder: &str, rest: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let Some(program) = std::env::split_paths(&paths).map(|dir| dir.join("busybox")).find(|path| path.is_file()) else {
        skipped("the program busybox");
        return false;
    };
    let text = format!("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n{rest}\n");
    space.write(&format!("{folder}/Dockerfile"), &text);
    std::fs::copy(program, space.path(&format!("{folder}/busybox"))).unwrap();
    true
}

#[test]
fn what_killed_builds_leave_goes_with_the_next_collection() {
    let space = Space::new();
    let hang = "RUN busybox dd if=/dev/zero of=/big bs=1048576 count=20; : > /there; busybox sleep 100";
    if !busybox(&space, "app", hang) {
        return;
    }
    space.write("small/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let left = || std::fs::read_dir(space.path("store/store-v1/tmp")).map_or(0, Iterator::count);
    let kill = || {
        let mut build = space.kiln(&["build", "-q", "--network=none", "app"]).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        // Files come and go while it runs: du(1) may complain.
        let grown = || {
            let output = std::process::Command::new("du").arg("-sk").arg(space.path("store")).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.split_whitespace().next().and_then(|size| size.parse::<u64>().ok()).is_some_and(|size| size > 20_000)
        };
        while !grown() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(50));
        }
        build.kill().unwrap();
        build.wait().unwrap();
        assert!(du(&space) > 20_000_000 && left() > 0);
    };
    space.built(&["small"]);
    kill();
    let shown = String::from_utf8(space.kiln(&["du", "--verbose"]).output().unwrap().stdout).unwrap();
    assert!(shown.contains("left by a build that was killed"), "{shown}");
    // An hour later, although the store is far below its limits.
    let time = std::time::SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::options().append(true).open(space.path("store/collector")).unwrap().set_modified(time).unwrap();
    assert!(space.built(&["small"]).stderr.contains("collected"));
    assert!(du(&space) < 10_000_000 && left() == 0, "{}", du(&space));
    kill();
    let text = prune(&space, &[]);
    assert!(text.starts_with("freed 1") || text.starts_with("freed 2"), "{text}");
    assert!(du(&space) < 10_000_000 && left() == 0, "{text} {}", du(&space));
    space.assert_whole();
}

#[test]
fn an_image_that_is_taken_away_is_freed_however_young_it_is() {
    let space = Space::new();
    if !busybox(&space, "app", "RUN busybox dd if=/dev/urandom of=/big bs=1048576 count=8") {
        return;
    }
    space.write("small/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let build = |name: &str, folder: &str| space.built(&["--network=none", "-t", name, folder]).ran.len();
    build("app", "app");
    build("small", "small");
    prune(&space, &[]);
    assert!(du(&space) > 8_000_000, "nobody took it away");
    let rmi = |name: &str| assert!(space.kiln(&["rmi", name]).output().unwrap().status.success());
    // An image with another name stays, and one that is wanted again.
    build("other", "app");
    rmi("app");
    prune(&space, &[]);
    assert_eq!(build("app", "app"), 0);
    rmi("app");
    rmi("other");
    let text = prune(&space, &[]);
    assert!(du(&space) < 2_000_000, "{text}");
    assert_eq!(build("small", "small"), 0, "it has nothing to do with it");
    space.assert_whole();
}

#[test]
fn a_tree_of_any_depth_is_removed_and_what_cannot_be_keeps_nothing_else() {
    let space = Space::new();
    let deep = "RUN i=0; while [ $i -lt 3000 ]; do busybox mkdir d; cd d; i=$((i+1)); done; echo x > f";
    if !busybox(&space, "app", deep) {
        return;
    }
    let limited = |args: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -n 1024; exec \"$@\"", "sh", common::KILN]).args(args);
        command.env("KILN_ROOT", space.path("store")).current_dir(space.dir.path()).output().unwrap()
    };
    let built = limited(&["build", "--network=none", "app"]);
    assert!(matches!(built.status.code(), Some(0 | 1 | 4)), "{built:?}");
    let pruned = limited(&["prune", "--all"]);
    assert!(pruned.status.success(), "{pruned:?}");
    let left = std::fs::read_dir(space.path("store/store-v1/tmp")).unwrap().count();
    assert!(left == 0 && du(&space) < 1_000_000, "{left} {}", du(&space));
    if !by_root("make something that can't be removed") {
        return;
    }
    // A mount point can't: that is said, and everything else goes.
    let stuck = space.path("store/store-v1/tmp/1-stuck/mounted");
    std::fs::create_dir_all(&stuck).unwrap();
    space.write("store/store-v1/tmp/2-left/file", &"x".repeat(2_000_000));
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&stuck).status().unwrap();
    if mounted.success() {
        let output = space.kiln(&["prune", "--all"]).output().unwrap();
        let moved = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let moved = moved.lines().find(|line| line.contains("/mounted ")).map(|line| line.split(' ').nth(4).unwrap());
        run("umount", &[moved.unwrap()]);
        let warned = String::from_utf8_lossy(&output.stderr).contains("cannot remove");
        assert!(output.status.success() && warned, "{output:?}");
        assert!(du(&space) < 1_000_000, "{}", du(&space));
    }
    prune(&space, &[]);
    assert_eq!(std::fs::read_dir(space.path("store/store-v1/tmp")).unwrap().count(), 0);
}

#[test]
fn a_disk_without_inodes_is_made_room_on_and_then_told() {
    let space = Space::new();
    if !by_root("mount a small disk") {
        return;
    }
    let many = "ARG N\nRUN busybox mkdir /n && cd /n && i=0; while [ $i -lt 200 ]; do echo $N > f$i || exit 1; i=$((i+1)); done";
    if !busybox(&space, "app", many) {
        return;
    }
    let store = space.path("store");
    std::fs::create_dir(&store).unwrap();
    let options = "size=200m,nr_inodes=3000,mode=755";
    let mut mount = std::process::Command::new("mount");
    if !mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(&store).status().unwrap().success() {
        return skipped("the right to mount a small disk");
    }
    let build = |n: usize, folder: &str| {
        space.build(&["--network=none", "-t", "app", "--build-arg", &format!("N={n}"), folder])
    };
    let built: Vec<_> = (0..20).map(|n| build(n, "app")).collect();
    let text = std::fs::read_to_string(space.path("app/Dockerfile")).unwrap().replace("-lt 200", "-lt 4000");
    space.write("app/Dockerfile", &text);
    let full = build(99, "app");
    let unmounted = std::process::Command::new("umount").arg(&store).status().unwrap();
    assert!(unmounted.success());
    assert!(built.iter().all(|built| built.ok), "{:?}", built.iter().find(|built| !built.ok));
    assert!(!full.ok && full.stderr.contains("inodes") && full.stderr.contains("kiln prune"), "{}", full.stderr);
}
