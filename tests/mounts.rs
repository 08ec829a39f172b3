//! Cache mounts between machines: what is moved, what comes back, and what is refused.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::Space;
use std::path::{Path, PathBuf};

fn base() -> String {
    format!("{}/busybox", common::registry().0)
}

/// Bytes of all files below a folder.
fn weight(dir: &Path) -> u64 {
    let size = |entry: std::fs::DirEntry| match entry.path().is_dir() {
        true => weight(&entry.path()),
        false => entry.metadata().unwrap().len(),
    };
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(size).sum()
}

/// The data of the only cache mount of a machine.
fn data(machine: &Space) -> PathBuf {
    let mut mounts = std::fs::read_dir(machine.path("store/mounts-v1")).unwrap();
    mounts.next().unwrap().unwrap().path().join("data")
}

/// `RUN command` with a cache mount at /m, and the folder `files` of the context at /src.
fn run(machine: &Space, command: &str, flags: &[&str]) -> common::Built {
    let mounts = "--mount=type=cache,id=deps,target=/m --mount=type=bind,source=files,target=/src";
    machine.write("app/Dockerfile", &format!("FROM {}\nRUN {mounts} {command}\n", base()));
    machine.write("app/files/x", "");
    machine.built(&[flags, &["app"]].concat())
}

/// Files of 4 KB that don't compress, two hundred in each folder; every `step`th of 20,000.
fn files(machine: &Space, step: usize, seed: u64) {
    let _ = std::fs::remove_dir_all(machine.path("app/files"));
    let mut state = seed;
    for number in (0..20_000).step_by(step) {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .take(4096)
        .collect();
        let path = machine.path(&format!("app/files/{}/f{number}", number / 200));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Megabytes that a build says it has moved.
fn moved(built: &common::Built) -> f64 {
    let line =
        built.stderr.lines().find(|line| line.contains(" MB moved")).unwrap_or_else(|| panic!("{}", built.stderr));
    line.split(": ").last().unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_mount_of_twenty_thousand_files_moves_what_has_changed() {
    let (cache, one, two) = (Space::new(), Space::new(), Space::new());
    let to = format!("type=local,dest={},mounts=true", cache.path("c").display());
    let from = format!("type=local,src={},mounts=true", cache.path("c").display());
    files(&one, 1, 1);
    let fill = "cp -r /src/. /m && ln -s 1/f200 /m/link && ln /m/1/f200 /m/hard && chmod 751 /m/2 && chown 7:8 /m/3";
    let whole = moved(&run(&one, fill, &["--cache-to", &to]));
    assert!((80.0..90.0).contains(&whole), "{whole} MB of 82 MB");
    let restored = moved(&run(&two, "ls /m >/dev/null", &["--cache-from", &from, "--cache-to", &to]));
    assert!((80.0..90.0).contains(&restored), "{restored} MB of 82 MB");

    files(&one, 20, 2);
    let change = "cp -r /src/. /m";
    let before = weight(&cache.path("c"));
    let saved = moved(&run(&one, change, &["--cache-to", &to]));
    let grown = (weight(&cache.path("c")) - before) as f64 / 1e6;
    assert!(saved < 82.0 * 0.15 && grown < 82.0 * 0.15, "{saved} MB sent, {grown} MB more there");
    // The other machine has the earlier state, and takes only what is new.
    let back = moved(&run(&two, "echo again; ls /m >/dev/null", &["--cache-from", &from]));
    assert!(back < 82.0 * 0.15, "{back} MB came");
    common::run("diff", &["-r", &data(&one).display().to_string(), &data(&two).display().to_string()]);
    let list = |machine: &Space| {
        let script = "find . -mindepth 1 -printf '%P %y %m %U:%G %n %l %T@\\n' | sort";
        let output =
            std::process::Command::new("bash").args(["-c", script]).current_dir(data(machine)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(list(&one), list(&two));
}

#[test]
fn a_branch_falls_back_to_the_default_branch_and_keeps_what_is_its_own() {
    let cache = Space::new();
    let flags = |scopes: &str| {
        let place = cache.path("c").display().to_string();
        [
            format!("type=local,dest={place},mounts=true,mounts-scope={scopes}"),
            format!("type=local,src={place},mounts=true,mounts-scope={scopes}"),
        ]
    };
    let job = |scopes: &str, command: &str| {
        let [to, from] = flags(scopes);
        let machine = Space::new();
        run(&machine, command, &["--cache-to", &to, "--cache-from", &from, "--no-cache"]);
        std::fs::read_to_string(data(&machine).join("log")).unwrap()
    };
    assert_eq!(job("main", "echo main >>/m/log"), "main\n");
    assert_eq!(job("feature/1;main", "echo feature >>/m/log"), "main\nfeature\n");
    assert_eq!(job("feature/1;main", "echo more >>/m/log"), "main\nfeature\nmore\n");
    assert_eq!(job("main", "echo next >>/m/log"), "main\nnext\n");
}

#[test]
fn what_is_newer_here_stays_and_what_is_too_large_is_not_saved() {
    let (cache, one, two) = (Space::new(), Space::new(), Space::new());
    let place = cache.path("c").display().to_string();
    let to = format!("type=local,dest={place},mounts=true");
    let from = format!("type=local,src={place},mounts=true");
    run(&one, "echo one >/m/file", &["--cache-to", &to]);
    run(&two, "echo two >/m/file", &[]);
    run(&two, "echo three; cat /m/file", &["--cache-from", &from]);
    assert_eq!(std::fs::read_to_string(data(&two).join("file")).unwrap(), "two\n");
    let built = run(&one, "head -c 2000000 /dev/urandom >/m/big", &["--cache-to", &format!("{to},mounts-limit=1m")]);
    assert!(built.stderr.contains("more than mounts-limit= allows"), "{}", built.stderr);
}

#[test]
fn a_damaged_save_is_a_warning_and_an_empty_mount() {
    let (cache, one) = (Space::new(), Space::new());
    let place = cache.path("c");
    run(
        &one,
        "head -c 400000 /dev/urandom >/m/file",
        &["--cache-to", &format!("type=local,dest={},mounts=true", place.display())],
    );
    let from = format!("type=local,src={},mounts=true", place.display());
    for folder in ["chunks", "objects"] {
        let output = common::run("find", &[place.join(folder).to_str().unwrap(), "-type", "f", "-size", "+0"]);
        for path in String::from_utf8(output.stdout).unwrap().lines() {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
        let machine = Space::new();
        let built = run(&machine, "ls /m", &["--cache-from", &from]);
        assert!(built.stderr.contains("cache mount"), "{folder}: {}", built.stderr);
        assert_eq!(std::fs::read_dir(data(&machine)).unwrap().count(), 0);
    }
}

#[test]
fn mounts_are_listed_exported_imported_and_removed() {
    let (cache, one, two) = (Space::new(), Space::new(), Space::new());
    let place = cache.path("c").display().to_string();
    let (to, from) = (format!("type=local,dest={place}"), format!("type=local,src={place}"));
    let kiln = |machine: &Space, args: &[&str]| {
        let output = machine.kiln(&[&["cache"], args].concat()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&one, "echo hello >/m/file", &[]);
    assert!(kiln(&one, &["ls"]).contains("deps"), "{}", kiln(&one, &["ls"]));
    kiln(&one, &["export", "--to", &to]);
    assert!(kiln(&two, &["ls", "--from", &from]).contains("deps"));
    kiln(&two, &["import", "--from", &from, "deps"]);
    run(&two, "cat /m/file", &[]);
    assert_eq!(std::fs::read_to_string(data(&two).join("file")).unwrap(), "hello\n");
    kiln(&one, &["rm", "deps"]);
    assert!(!kiln(&one, &["ls"]).contains("deps"));
    kiln(&one, &["rm", "--from", &from, "deps"]);
    assert!(!kiln(&two, &["ls", "--from", &from]).contains("deps"));
    let output = one.kiln(&["cache", "rm", "deps"]).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("no cache mount `deps`"));
}
