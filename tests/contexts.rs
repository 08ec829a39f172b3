//! A build context that changes while a build reads it. A build takes what was there at some time, or says which file
//! changes all the time; what it keeps under a key is what the key says, for later builds and for other machines.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod common;

use common::{Built, Space, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A file of the image that a build of `app` makes; none if there is none.
fn file(space: &Space, name: &str, args: &[&str]) -> (Built, Option<Vec<u8>>) {
    let out = space.path("out.tar");
    let _ = fs::remove_file(&out);
    let dest = format!("type=tar,dest={}", out.display());
    let built = space.build(&[&["-o", &dest, "app"], args].concat());
    let found = built.ok.then(|| member(&out, name)).flatten();
    (built, found)
}

fn member(tar: &Path, name: &str) -> Option<Vec<u8>> {
    let mut command = std::process::Command::new("tar");
    let output = command.arg("-xOf").arg(tar).arg(name).stderr(Stdio::null()).output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// Builds `app`, and does something as soon as its RUN has begun.
fn during_run(space: &Space, args: &[&str], meanwhile: impl FnOnce()) -> Output {
    let log = space.path("events-during");
    let _ = fs::remove_file(&log);
    let mut command = space.kiln(&[&["build", "--progress=plain", "app"], args].concat());
    let child = command.env("KILN_EVENT_LOG", &log).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let since = Instant::now();
    while !common::ran(&log).iter().any(|step| step.starts_with("RUN")) {
        assert!(since.elapsed() < Duration::from_secs(60), "the RUN never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    meanwhile();
    child.wait_with_output().unwrap()
}

/// Replaces a file as editors do.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

type Way = (&'static str, fn(&Path));

const WAYS: &[Way] = &[
    ("rewritten", |f| fs::write(f, "new\n").unwrap()),
    ("replaced", |f| replace(f, "new\n")),
    ("longer", |f| fs::write(f, "quite new\n").unwrap()),
    ("shorter", |f| fs::write(f, "\n").unwrap()),
    ("emptied", |f| fs::write(f, "").unwrap()),
    ("appended", |f| fs::write(f, "old\nand new\n").unwrap()),
    ("gone", |f| fs::remove_file(f).unwrap()),
    ("a link", |f| {
        fs::remove_file(f).unwrap();
        symlink("Dockerfile", f).unwrap();
    }),
    ("a directory", |f| {
        fs::remove_file(f).unwrap();
        fs::create_dir(f).unwrap();
        fs::write(f.join("x"), "").unwrap();
    }),
    ("a pipe", |f| {
        fs::remove_file(f).unwrap();
        run("mkfifo", &[f.to_str().unwrap()]);
    }),
];

#[test]
fn a_file_that_changes_before_it_is_copied_is_copied_as_it_is_then() {
    let space = Space::new();
    let base = format!("{}/busybox", common::registry().0);
    for (number, (way, change)) in WAYS.iter().enumerate() {
        let text = format!("FROM {base}\nRUN sleep 0.7; echo {number}\nCOPY d /d/\nRUN cp -a /d /e\n");
        space.write("app/Dockerfile", &text);
        let subject = space.path("app/d/f");
        let old = || {
            let _ = fs::remove_dir_all(space.path("app/d"));
            space.write("app/d/f", "old\n");
            // The space has a store of its own: nothing is known yet of a copy with it.
            space.write("app/d/other", way);
            std::thread::sleep(Duration::from_millis(150));
        };
        old();
        let out = space.path("first.tar");
        let output = during_run(&space, &["-o", &format!("type=tar,dest={}", out.display())], || change(&subject));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{way}: {said}");
        // Bytes of the old file are taken from an earlier layer, and nobody looks at the new one.
        let kept = member(&out, "d/f").as_deref() == Some(b"old\n");
        assert!(kept || said.contains("`d/f` changed while it was copied"), "{way}: {said}");
        assert_eq!(member(&out, "d/f"), member(&out, "e/f"), "{way}: two steps of one build");
        assert_eq!(member(&out, "d/other").as_deref(), Some(way.as_bytes()), "{way}");
        let (_, now) = file(&space, "e/f", &[]);
        let (_, fresh) = file(&space, "e/f", &["--no-cache"]);
        assert_eq!(now, fresh, "{way}: what is there now");
        old();
        let (built, found) = file(&space, "e/f", &[]);
        assert_eq!(found.as_deref(), Some(&b"old\n"[..]), "{way}: with the old file again\n{}", built.stderr);
    }
    space.assert_whole();
}

#[test]
fn a_remote_cache_gets_what_its_keys_say() {
    let (space, other) = (Space::new(), Space::new());
    let base = format!("{}/busybox", common::registry().0);
    space.write("app/Dockerfile", &format!("FROM {base}\nRUN sleep 0.7\nCOPY f /f\nRUN cp /f /g\n"));
    space.write("app/f", "old");
    std::thread::sleep(Duration::from_millis(150));
    let (to, from) = ("type=local,dest=../cache", format!("type=local,src={}", space.path("cache").display()));
    let to = to.replace("..", space.dir.path().to_str().unwrap());
    let output = during_run(&space, &["--cache-to", &to], || replace(&space.path("app/f"), "new"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    other.write("app/Dockerfile", &fs::read_to_string(space.path("app/Dockerfile")).unwrap());
    for text in ["old", "new"] {
        other.write("app/f", text);
        let (built, found) = file(&other, "g", &["--cache-from", &from]);
        assert_eq!(found.as_deref(), Some(text.as_bytes()), "{}", built.stderr);
        assert_eq!(built.ran.is_empty(), text == "new", "{text}: {:?}", built.ran);
    }
}

#[test]
fn an_archive_that_changes_before_it_is_unpacked_is_unpacked_as_it_is_then() {
    let space = Space::new();
    let base = format!("{}/busybox", common::registry().0);
    let archive = |name: &str, text: &str| {
        space.write("in/f", text);
        let path = space.path(name);
        run("tar", &["-C", space.path("in").to_str().unwrap(), "-czf", path.to_str().unwrap(), "f"]);
        path
    };
    fs::create_dir_all(space.path("app")).unwrap();
    let (old, new) = (archive("old.tar.gz", "old"), archive("new.tar.gz", "new"));
    let plain = space.write("plain", "no archive");
    for (number, (first, second)) in [(&old, &new), (&old, &plain), (&plain, &new)].into_iter().enumerate() {
        let text = format!("FROM {base}\nRUN sleep 0.7; echo {number}\nADD a /d/\nRUN cp -a /d /e\n");
        space.write("app/Dockerfile", &text);
        let put = |from: &PathBuf| {
            fs::copy(from, space.path("app/next")).unwrap();
            fs::rename(space.path("app/next"), space.path("app/a")).unwrap();
        };
        put(first);
        std::thread::sleep(Duration::from_millis(150));
        let output = during_run(&space, &[], || put(second));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for state in [second, first, second] {
            put(state);
            for name in ["d/f", "e/f", "d/a"] {
                let (built, found) = file(&space, name, &[]);
                let wanted = match (name, state == &plain) {
                    ("d/a", true) => Some(&b"no archive"[..]),
                    ("d/a", false) => None,
                    (_, true) => None,
                    (_, false) => Some(if state == &old { &b"old"[..] } else { &b"new"[..] }),
                };
                assert_eq!(found.as_deref(), wanted, "{number} {name} {}\n{}", state.display(), built.stderr);
            }
        }
    }
}

#[test]
fn a_time_or_a_name_more_is_no_change() {
    let space = Space::new();
    let base = format!("{}/busybox", common::registry().0);
    space.write("app/Dockerfile", &format!("FROM {base}\nRUN sleep 0.7\nCOPY f /f\n"));
    let path = space.write("app/f", "text");
    let output = during_run(&space, &[], || {
        fs::hard_link(&path, space.path("app/more")).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("changed while"), "{said}");
}

/// The contents that a file of the storm may have.
fn contents() -> [Vec<u8>; 4] {
    [vec![b'a'; 400_000], vec![b'b'; 400_000], vec![b'a'; 700_000], vec![b'b'; 10]]
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

/// Changes `f` and `d` of a context in all the ways that programs do, until it is told to stop.
fn storm(app: &Path, beside: &Path, stop: &AtomicBool) {
    let (f, contents, mut dice) = (app.join("f"), contents(), Dice(7));
    while !stop.load(Ordering::Relaxed) {
        let text = &contents[dice.below(4)];
        match dice.below(6) {
            0 => fs::write(&f, text).unwrap(),
            1 => {
                fs::write(beside.join("next"), text).unwrap();
                fs::rename(beside.join("next"), &f).unwrap();
            }
            2 => drop(fs::remove_file(&f)),
            3 => {
                let file = fs::File::options().create(true).append(true).open(&f).unwrap();
                std::io::Write::write_all(&mut (&file), &text[..1000.min(text.len())]).unwrap();
                file.set_len(text.len() as u64).unwrap();
            }
            4 => {
                // The files below keep all their times: the directory alone is another.
                fs::rename(app.join("d"), beside.join("gone")).unwrap();
                fs::rename(beside.join("e"), app.join("d")).unwrap();
                fs::rename(beside.join("gone"), beside.join("e")).unwrap();
            }
            _ => {
                let _ = fs::remove_file(&f);
                symlink("n", &f).unwrap();
                std::thread::sleep(Duration::from_millis(1));
                fs::remove_file(&f).unwrap();
                fs::write(&f, text).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(dice.below(5) as u64));
    }
}

#[test]
fn builds_beside_a_program_that_never_stops_writing_leave_no_wrong_record() {
    let builds: usize = std::env::var("KILN_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let (space, other) = (Space::new(), Space::new());
    let (app, beside) = (space.path("app"), space.path("beside"));
    space.write("app/Dockerfile", "FROM scratch\nCOPY n f* /c/\nCOPY --parents d /p/\nADD f* /a/\n");
    space.write("app/f", "");
    space.write("app/d/g", "one");
    space.write("beside/e/g", "two");
    fs::write(app.join("n"), "0").unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let to = format!("type=local,dest={}", space.path("cache").display());
    let stop = AtomicBool::new(false);
    let mut worked = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| storm(&app, &beside, &stop));
        for number in 0..builds {
            fs::write(app.join("n"), number.to_string()).unwrap();
            let built = space.build(&["app", "--cache-to", &to]);
            worked += usize::from(built.ok);
            let names_it =
                built.stderr.contains("changed while it was copied") || built.stderr.contains("was not found");
            assert!(built.ok || names_it, "{}", built.stderr);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(worked * 10 >= builds * 9, "{worked} of {builds} builds worked");
    for number in 0..builds {
        fs::write(app.join("n"), number.to_string()).unwrap();
        other.write("app/n", &number.to_string());
        for (kind, text) in contents().into_iter().enumerate() {
            let _ = fs::remove_file(app.join("f"));
            fs::write(app.join("f"), &text).unwrap();
            let (built, _) = file(&space, "c/f", &[]);
            let out = space.path("out.tar");
            let same = |name| member(&out, name).unwrap_or_default() == text;
            assert!(same("c/f") && same("a/f"), "build {number}, content {kind}:\n{}", built.stderr);
            assert_eq!(member(&out, "p/d/g").unwrap(), fs::read(app.join("d/g")).unwrap(), "build {number}");
            if number % 8 == 0 {
                fs::rename(app.join("d"), beside.join("gone")).unwrap();
                fs::rename(beside.join("e"), app.join("d")).unwrap();
                fs::rename(beside.join("gone"), beside.join("e")).unwrap();
                for name in ["Dockerfile", "d/g"] {
                    other.write(&format!("app/{name}"), &fs::read_to_string(app.join(name)).unwrap());
                }
                fs::write(other.path("app/f"), &text).unwrap();
                let from = format!("type=local,src={}", space.path("cache").display());
                let (built, found) = file(&other, "c/f", &["--cache-from", &from]);
                assert!(
                    found.unwrap_or_default() == text,
                    "build {number}, content {kind}, elsewhere:\n{}",
                    built.stderr
                );
                let there = member(&other.path("out.tar"), "p/d/g").unwrap();
                assert_eq!(there, fs::read(app.join("d/g")).unwrap(), "build {number}, elsewhere");
            }
        }
    }
    space.assert_whole();
}

#[test]
fn what_ran_before_the_change_is_not_run_again_even_without_a_cache() {
    let space = Space::new();
    let base = format!("{}/busybox", common::registry().0);
    let text = format!(
        "FROM {base}\nCOPY same /same\nRUN cat /proc/sys/kernel/random/uuid > /id; sleep 0.7\nCOPY f /f\nRUN cat /f /id > /all\n"
    );
    space.write("app/Dockerfile", &text);
    space.write("app/same", "same");
    let old = |text| replace(&space.path("app/f"), text);
    old("old");
    let (_, before) = file(&space, "all", &[]);
    old("new");
    file(&space, "all", &[]);
    old("old");
    std::thread::sleep(Duration::from_millis(150));
    let out = space.path("first.tar");
    let args = ["--no-cache", "-o", &format!("type=tar,dest={}", out.display())];
    let output = during_run(&space, &args, || old("new"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ran = common::ran(&space.path("events-during"));
    assert_eq!(ran.iter().filter(|step| step.contains("random")).count(), 1, "{ran:?}");
    // And nothing older comes in its place, or in the place of what stands on it.
    let [id, all] = ["id", "all"].map(|name| String::from_utf8(member(&out, name).unwrap()).unwrap());
    assert_eq!(all, format!("new{id}"));
    assert!(!String::from_utf8(before.unwrap()).unwrap().ends_with(&id));
}
