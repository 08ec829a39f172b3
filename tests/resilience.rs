//! Things go wrong, or many happen at once: kills, interrupts, concurrent builds, large layers.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, have, needs, registry};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

fn project(space: &Space, steps: usize) -> bool {
    if !have("docker-registry") || !have("busybox") {
        return false;
    }
    let mut text = format!("FROM {}/busybox\nWORKDIR /w\nCOPY . src\n", registry().0);
    for step in 0..steps {
        text.push_str(&format!("RUN cp -r src d{step} && head -c 300000 /dev/zero > z{step} && chown 1000:50 d{step} && rm -rf d{step}/f1\n"));
    }
    space.write("app/Dockerfile", &text);
    (0..20).for_each(|file| drop(space.write(&format!("app/f{file}"), &format!("file {file}\n").repeat(200))));
    true
}

/// The digest of the image's manifest, with all times at the epoch.
fn digest(space: &Space, name: &str) -> String {
    let (out, meta) = (space.path(&format!("{name}.tar")), space.path(&format!("{name}.json")));
    let output = space
        .kiln(&[
            "build",
            "-q",
            "-o",
            &format!("type=oci,dest={}", out.display()),
            "--metadata-file",
            meta.to_str().unwrap(),
            "app",
        ])
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
    meta["containerimage.digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_build_that_is_killed_at_any_moment_leaves_a_whole_store_and_the_next_comes_out_the_same() {
    let space = Space::new();
    if !project(&space, 6) {
        return;
    }
    let wanted = {
        let other = Space::new();
        project(&other, 6);
        digest(&other, "wanted")
    };
    for round in 0..50_u64 {
        let mut build = space
            .kiln(&["build", "-q", "-o", "type=oci,dest=killed.tar", "app"])
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments spread over the whole build, in no order.
        std::thread::sleep(Duration::from_millis(round * 7919 % 160));
        let _ = build.kill();
        build.wait().unwrap();
        if round % 8 == 7 {
            // Also from the beginning again.
            let _ = std::fs::remove_dir_all(space.path("store/cache-v2"));
        }
    }
    assert_eq!(digest(&space, "after"), wanted);
    space.assert_whole();
    let processes =
        std::process::Command::new("pgrep").args(["-f", space.dir.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&processes.stdout), "", "a process is left");
}

/// As if the machine had gone down, and nothing were known to have reached the disk before.
fn reboot(space: &Space) {
    space.write("store/boot", "another-boot 0\n");
}

/// All files below a folder, by name.
fn below(folder: &std::path::Path, name: &str) -> Vec<std::path::PathBuf> {
    let found = common::run("find", &[folder.to_str().unwrap(), "-type", "f", "-name", name]);
    String::from_utf8_lossy(&found.stdout).lines().map(std::path::PathBuf::from).collect()
}

#[test]
fn what_was_lost_with_the_power_is_made_again_and_nothing_else_is() {
    let space = Space::new();
    if !project(&space, 2) {
        return;
    }
    let wanted = digest(&space, "wanted");
    let store = space.path("store/store-v1");
    reboot(&space);
    let built = space.built(&["app"]);
    assert_eq!(built.ran, [""; 0], "{}", built.stderr);
    assert!(!built.stderr.contains("lost"), "{}", built.stderr);

    // A file of a RUN's layer, a blob, a layer's record: named, but without their bytes.
    reboot(&space);
    let written = below(&store.join("layers"), "z1");
    assert_eq!(written.len(), 1, "{written:?}");
    std::fs::write(&written[0], "").unwrap();
    let large = below(&store.join("blobs"), "*").into_iter().filter(|blob| blob.metadata().unwrap().len() > 100_000);
    std::fs::write(large.into_iter().next().unwrap(), "").unwrap();
    let built = space.built(&["-t", "app", "app"]);
    assert!(built.stderr.contains("warning: 2 things of the store were lost"), "{}", built.stderr);
    assert_eq!(built.ran.len(), 1, "{:?}", built.ran);
    assert_eq!(digest(&space, "after"), wanted);
    space.assert_whole();
    let built = space.built(&["app"]);
    assert!(built.ran.is_empty() && !built.stderr.contains("lost"), "{}", built.stderr);

    reboot(&space);
    below(&store.join("layers"), "record").iter().for_each(|record| drop(std::fs::write(record, "")));
    let built = space.built(&["app"]);
    assert!(built.stderr.contains("were lost when the machine went down"), "{}", built.stderr);
    assert_eq!(digest(&space, "anew"), wanted);
    space.assert_whole();
}

#[test]
fn a_store_is_brought_to_the_disk_at_once_or_by_a_build_in_the_background() {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    space.built(&["app"]);
    let read = || {
        let text = std::fs::read_to_string(space.path("store/boot")).unwrap();
        let (id, since) = text.trim().split_once(' ').unwrap();
        (id.to_owned(), since.parse::<u64>().unwrap())
    };
    let (id, made) = read();
    let long_ago = || drop(space.write("store/boot", &format!("{id} {}\n", made - 100_000)));
    long_ago();
    assert!(space.kiln(&["sync"]).status().unwrap().success());
    let is_new = |(now, since): (String, u64)| now == id && since + 1 >= made;
    assert!(is_new(read()), "{:?}", read());
    long_ago();
    space.built(&["app"]);
    // It goes on when the build has ended; all of the machine's disk may have to be waited for.
    let come = (0..1200).any(|_| {
        is_new(read()) || {
            std::thread::sleep(Duration::from_millis(50));
            false
        }
    });
    assert!(come, "{:?}", read());
}

#[test]
fn an_interrupted_build_ends_at_once_and_keeps_what_was_done() {
    let space = Space::new();
    if !project(&space, 1) {
        return;
    }
    let mut text = std::fs::read_to_string(space.path("app/Dockerfile")).unwrap();
    text.push_str("RUN echo started && sleep 1000\n");
    space.write("app/Dockerfile", &text);
    let mut build = space.kiln(&["build", "--progress=plain", "app"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = String::new();
    let mut stderr = build.stderr.take().unwrap();
    while !seen.contains(" started\n") {
        let mut buffer = [0; 4096];
        let count = std::io::Read::read(&mut stderr, &mut buffer).unwrap();
        assert!(count > 0, "the build ended:\n{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    common::run("kill", &["-INT", &build.id().to_string()]);
    assert_eq!(build.wait().unwrap().code(), Some(130));
    // Elsewhere, because the Dockerfile of the project is part of what is copied.
    space.write("edited", &text.replace("sleep 1000", "true"));
    assert_eq!(space.built(&["-f", "edited", "app"]).ran, ["RUN echo started && true"]);
    space.assert_whole();
}

#[test]
fn steps_that_only_wait_run_all_at_once_unless_told_otherwise() {
    let space = Space::new();
    needs!("docker-registry");
    let base = format!("FROM {}/busybox", registry().0);
    let stages: String = (0..6).map(|at| format!("{base} AS s{at}\nRUN sleep 2; echo {at} > /out{at}\n")).collect();
    let copies: String = (0..6).map(|at| format!("COPY --from=s{at} /out{at} /\n")).collect();
    space.write("app/Dockerfile", &format!("{stages}{base}\n{copies}"));
    let most_at_once = |args: &[&str]| {
        let log = space.path("log");
        let _ = std::fs::remove_file(&log);
        let mut build = space.kiln(&["build", "-q", "--no-cache", "--network=none"]);
        assert!(build.args(args).arg("app").env("KILN_EVENT_LOG", &log).output().unwrap().status.success());
        let text = std::fs::read_to_string(&log).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let sleeps = |event: &serde_json::Value| event["name"].as_str().is_some_and(|name| name.contains("sleep"));
        let (mut running, mut most) = (std::collections::HashSet::new(), 0);
        for event in events {
            match event["event"].as_str() {
                Some("begin") if sleeps(&event) => drop(running.insert(event["step"].clone())),
                Some("end") => drop(running.remove(&event["step"])),
                _ => {}
            }
            most = most.max(running.len());
        }
        most
    };

    assert_eq!(most_at_once(&[]), 6);
    assert_eq!(most_at_once(&["--jobs=1"]), 1);
    assert!(most_at_once(&["--jobs=3"]) <= 3);
}

#[test]
fn eight_builds_at_once_come_out_as_alone_and_run_each_equal_step_once() {
    let space = Space::new();
    if !project(&space, 3) {
        return;
    }
    let alone = {
        let other = Space::new();
        project(&other, 3);
        digest(&other, "alone")
    };
    let log = space.path("log");
    // Four of the same, and four that share its beginning and then differ.
    let text = std::fs::read_to_string(space.path("app/Dockerfile")).unwrap();
    let builds: Vec<_> = (0..8)
        .map(|number| {
            let file = space.write(
                &format!("D{number}"),
                &if number < 4 { text.clone() } else { format!("{text}RUN echo {number} > /own\n") },
            );
            let meta = space.path(&format!("m{number}.json"));
            let build = space
                .kiln(&[
                    "build",
                    "--progress=plain",
                    "-f",
                    file.to_str().unwrap(),
                    "--metadata-file",
                    meta.to_str().unwrap(),
                    "-o",
                    &format!("type=oci,dest=o{number}.tar"),
                    "app",
                ])
                .env("SOURCE_DATE_EPOCH", "1700000000")
                .env("KILN_EVENT_LOG", &log)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            (build, meta)
        })
        .collect();
    let mut digests = Vec::new();
    for (mut build, meta) in builds {
        assert!(build.wait().unwrap().success());
        let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
        digests.push(meta["containerimage.digest"].as_str().unwrap().to_owned());
    }
    assert!(digests[..4].iter().all(|digest| *digest == alone), "{digests:?} {alone}");
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    common::ran(&log).into_iter().for_each(|step| *count.entry(step).or_default() += 1);
    let more: Vec<_> = count.iter().filter(|(_, count)| **count != 1).collect();
    assert!(more.is_empty() && count.len() == 5 + 4, "{count:?}");
    space.assert_whole();
}

#[test]
fn memory_does_not_grow_with_a_layer() {
    let space = Space::new();
    needs!("docker-registry", "busybox");
    let bytes: u64 = std::env::var("KILN_TEST_LAYER").ok().and_then(|size| size.parse().ok()).unwrap_or(512 << 20);
    let run = format!("RUN dd if=/dev/zero bs=1048576 count={} 2>/dev/null | tr '\\\\0' x > /big", bytes >> 20);
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{run}\n", registry().0));
    let script = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True)\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let store = space.path("store");
    let output = std::process::Command::new("python3")
        .args(["-c", script, common::KILN, "build", "--progress=quiet", "-o", "type=oci,dest=big.tar", "app"])
        .env("KILN_ROOT", store)
        .current_dir(space.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let peak: u64 = text
        .lines()
        .last()
        .and_then(|line| line.parse().ok())
        .unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    assert!(peak < 300 * 1024, "{peak} KiB in use for a layer of {bytes} bytes");
}
