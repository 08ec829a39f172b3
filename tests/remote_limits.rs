//! The costs of a cache: requests, bytes, and time when it does not answer.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "../crates/cache/src/tests/github.rs"]
mod github;
#[path = "remote/machine.rs"]
mod machine;
#[path = "push/rig.rs"]
mod rig;

use common::{Space, needs};
use machine::{Machine, base, steps, two_stages};
use rig::{Fault, Proxy, Registry};
use std::time::{Duration, Instant};

fn requests(proxy: &Proxy) -> usize {
    proxy.log().lines().count()
}

#[test]
fn many_small_steps_take_few_requests_in_sequence() {
    needs!("docker-registry");
    let (project, registry) = (steps(24), Registry::start(false));
    let machine = Machine::new(&project);
    // The steps are there already: only the export is measured.
    machine.built(&[]);
    let proxy = Proxy::start(&registry, (0..999).flat_map(|_| slow(400)).collect());
    let to = format!("type=registry,ref={},ignore-error=false", proxy.name("cache"));
    let began = Instant::now();
    machine.built(&["--cache-to", &to]);
    // One after another it would be 24 times 3 requests, 29 s.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}\n{}", began.elapsed(), proxy.log());

    // All is there, and known to be there: the list is all that is asked for.
    let before = requests(&proxy);
    machine.built(&["--cache-to", &to]);
    assert!(requests(&proxy) - before <= 3, "{}", proxy.log());
    // A machine that knows nothing reads it in a few requests too.
    let before = requests(&proxy);
    assert_eq!(Machine::new(&project).built(&["--cache-from", &proxy.name("cache")]).ran, [""; 0]);
    assert!(requests(&proxy) - before <= 8, "{}", proxy.log());
}

fn slow(milliseconds: u64) -> [Fault; 5] {
    ["GET", "HEAD", "POST", "PUT", "PATCH"].map(|method| Fault::slow(method, "/v2/", milliseconds))
}

/// Builds add to a cache; an index keeps the requests of a reader few, and what it has is not read one by one.
#[test]
fn a_cache_of_many_builds_is_read_in_few_requests() {
    needs!("docker-registry");
    let (project, registry) = (steps(2), Registry::start(false));
    let text = std::fs::read_to_string(project.path("app/Dockerfile")).unwrap();
    let name = registry.name("cache");
    let machine = Machine::new(&project);
    let edit = |number: usize| project.write("app/Dockerfile", &text.replace("echo 1", &format!("echo edit {number}")));
    for number in 0..24 {
        edit(number);
        machine.built(&["--cache-to", &format!("type=registry,ref={name},ignore-error=false")]);
    }
    let proxy = Proxy::start(&registry, Vec::new());
    for number in [0, 11, 23] {
        edit(number);
        let before = requests(&proxy);
        assert_eq!(Machine::new(&project).built(&["--cache-from", &proxy.name("cache")]).ran, [""; 0], "{number}");
        assert!(requests(&proxy) - before <= 14, "{}", proxy.log());
    }
    // One that is damaged is a warning, and the batches are there.
    for entry in registry.tags("cache").iter().filter(|tag| tag.contains("index-")) {
        registry.forget("cache", entry);
    }
    edit(0);
    assert_eq!(Machine::new(&project).built(&["--cache-from", &name]).ran, [""; 0]);
}

#[test]
fn a_cache_that_is_silent_costs_one_timeout_whoever_asks() {
    needs!("docker-registry");
    let registry = Registry::start(false);
    let project = Space::new();
    let text = format!("FROM {}\nRUN --mount=type=cache,target=/c echo 1 >/c/f\n", base());
    project.write("app/Dockerfile", &text);
    let hang = || (0..999).flat_map(|_| ["GET", "HEAD", "POST", "PUT"].map(|method| Fault::hang(method, "/v2/", 90)));
    let silent = Proxy::start(&registry, hang().collect());
    let place = format!("type=registry,ref={},timeout=2,mounts=true", silent.name("cache"));
    for args in [&["--cache-from", &place, "--cache-to", &place][..], &["--cache-to", &place]] {
        let machine = Machine::new(&project);
        let warm = machine.built(&["-t", "x"]);
        assert_eq!(warm.ran.len(), 1);
        let began = Instant::now();
        let built = machine.built(&[args, &["--no-cache"]].concat());
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}: {}", began.elapsed(), built.stderr);
        assert_eq!(built.stderr.matches("no answer in 2 s").count(), 1, "{}", built.stderr);
    }
    // It was there while it was read, and then is silent.
    let late = Proxy::start(&registry, (0..99).map(|_| Fault::hang("POST", "/v2/", 90)).collect());
    let to = format!("type=registry,ref={},timeout=2,ignore-error=false", late.name("cache"));
    let began = Instant::now();
    let built = Machine::new(&two_stages()).build(&["--cache-to", &to]);
    assert!(!built.ok && began.elapsed() < Duration::from_secs(15), "{:?}: {}", began.elapsed(), built.stderr);
}

#[test]
fn a_signal_ends_the_wait_for_a_cache() {
    needs!("docker-registry");
    let (project, registry) = (two_stages(), Registry::start(false));
    for (method, flag) in [("GET", "--cache-from"), ("POST", "--cache-to")] {
        let hang = (0..99).map(|_| Fault::hang(method, "/v2/", 90)).collect();
        let silent = Proxy::start(&registry, hang);
        let machine = Machine::new(&project);
        let place = format!("type=registry,ref={},timeout=60", silent.name("cache"));
        let mut child =
            machine.space.kiln(&["build", flag, &place, "-t", "x"]).arg(project.path("app")).spawn().unwrap();
        let began = Instant::now();
        while !silent.log().contains("FAULT ") {
            assert!(began.elapsed() < Duration::from_secs(60), "nobody asks");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(300));
        common::run("kill", &["-INT", &child.id().to_string()]);
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(8), "{flag}: a signal does not end it");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The warning names the first cause, not the end of the retries.
#[test]
fn a_warning_says_the_true_cause() {
    needs!("docker-registry");
    let (project, registry) = (steps(2), Registry::start(false));
    let all = |fault: &dyn Fn(&'static str) -> Fault| -> Vec<Fault> {
        (0..400).flat_map(|_| ["GET", "HEAD", "POST", "PUT"].map(fault)).collect()
    };
    for (faults, said) in [
        (all(&|method| Fault::status(method, "/v2/", 500)), "answers 500"),
        (all(&|method| Fault::page(method, "/v2/")), "answers with a web page"),
        (all(&|method| Fault::status(method, "/v2/", 403)), "access denied"),
    ] {
        for timeout in ["", ",timeout=1"] {
            for key in ["--cache-to", "--cache-from"] {
                let proxy = Proxy::start(&registry, faults.clone());
                let place = format!("type=registry,ref={}{timeout}", proxy.name("cache"));
                let built = Machine::new(&project).built(&[key, &place]);
                assert_eq!(built.stderr.matches("warning: cache ").count(), 1, "{said}: {}", built.stderr);
                assert!(built.stderr.contains(said), "{said}: {}", built.stderr);
            }
        }
    }
}

/// GitHub removes entries that nobody fetched for a week, of a cache that is read well the blobs first; an entry can't be
/// written again. The new result is found all the same.
#[test]
fn blobs_that_github_removed_are_replaced() {
    let project = Space::new();
    let text = format!("FROM {}\nRUN cat /proc/sys/kernel/random/uuid >/made\nRUN cp /made /copy\n", base());
    project.write("app/Dockerfile", &text);
    let (url, state) = github::serve_open();
    let place = format!("type=gha,url_v2={url},token={}", github::TOKEN);
    Machine::new(&project).built(&["--cache-to", &place]);
    state.lock().unwrap().evict("-blob-");
    let args = ["--cache-from", &place, "--cache-to", &place, "-o", "files"];
    assert_eq!(Machine::new(&project).built(&args).ran.len(), 2);
    for _ in 0..2 {
        assert_eq!(Machine::new(&project).built(&args).ran, [""; 0]);
    }
}
