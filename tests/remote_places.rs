//! Several places of caches: scopes of one repository, copies from one to another, and which of several wins.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "remote/machine.rs"]
mod machine;
#[path = "push/rig.rs"]
mod rig;

use common::{Space, needs};
use machine::{Desk, Machine, base, steps};
use rig::{Proxy, Registry};

/// A step whose result is another each time.
fn random() -> Space {
    let space = Space::new();
    let text = format!("FROM {}\nRUN head -c 16 /dev/urandom | md5sum >/made\nRUN cp /made /copy\n", base());
    space.write("app/Dockerfile", &text);
    space
}

#[test]
fn a_cache_of_one_tag_is_pruned_and_that_of_another_stays() {
    needs!("docker-registry");
    let (project, registry) = (steps(3), Registry::start(false));
    let (main, pr) = (registry.name("cache:main"), registry.name("cache:pr"));
    // The same machine pushes the very same records to both.
    let machine = Machine::new(&project);
    for name in [&main, &pr] {
        machine.built(&["--cache-to", &format!("type=registry,ref={name}")]);
    }
    let from = format!("type=registry,ref={pr}");
    let prune = machine.space.kiln(&["cache", "prune", "--from", &from, "--keep-duration", "0s"]).output().unwrap();
    assert!(prune.status.success(), "{}", String::from_utf8_lossy(&prune.stderr));
    assert!(!String::from_utf8_lossy(&prune.stdout).starts_with("0 records"));
    assert_eq!(Machine::new(&project).built(&["--cache-from", &pr]).ran.len(), 3);
    assert_eq!(Machine::new(&project).built(&["--cache-from", &main]).ran, [""; 0]);
}

/// Nothing of it runs and only its last step is looked at: all the same every step arrives at the other cache, so that a
/// change of the last step is one step there.
#[test]
fn what_one_cache_has_is_copied_to_another() {
    needs!("docker-registry");
    let registry = Registry::start(false);
    let shared = Space::new();
    let directory = shared.path("cache").display().to_string();
    let places = [
        (format!("type=registry,ref={}", registry.name("c:pr")), registry.name("c:pr")),
        (format!("type=registry,ref={}", registry.name("other")), registry.name("other")),
        (format!("type=local,dest={directory}"), format!("type=local,src={directory}")),
    ];
    for (to, from) in &places {
        let project = steps(4);
        let main = registry.name("c:main");
        Machine::new(&project).built(&["--cache-to", &format!("type=registry,ref={main}")]);
        let to = format!("{to},ignore-error=false");
        let built = Machine::new(&project).built(&["--cache-from", &main, "--cache-to", &to]);
        assert_eq!((built.ran.len(), built.stderr.contains("warning")), (0, false), "{}", built.stderr);
        let text = std::fs::read_to_string(project.path("app/Dockerfile")).unwrap();
        project.write("app/Dockerfile", &text.replace("echo 3", "echo three"));
        let built = Machine::new(&project).built(&["--cache-from", from, "-o", "files"]);
        assert_eq!(built.ran, ["RUN echo three >/file3"], "{from}: {}", built.stderr);
    }
}

/// Within a registry layers are mounted from the one repository into the other, and no byte of them comes here.
#[test]
fn a_copy_and_a_push_within_a_registry_move_no_bytes() {
    needs!("docker-registry");
    let (project, registry) = (Space::new(), Registry::start(false));
    project.write("app/Dockerfile", &format!("FROM {}\nRUN head -c 2000000 /dev/urandom >/big\n", base()));
    let cache = registry.name("cache");
    Machine::new(&project).built(&["--cache-to", &format!("type=registry,ref={cache}")]);
    let to = format!("type=registry,ref={},ignore-error=false", registry.name("copy"));
    let machine = Machine::new(&project);
    let built = machine.built(&["--cache-from", &cache, "--cache-to", &to, "-t", &registry.name("app:1"), "--push"]);
    assert_eq!(built.ran, [""; 0]);
    let log = registry.log();
    let blobs = log.lines().filter(|line| line.starts_with("GET ") && line.contains("/blobs/sha256:"));
    // No blob of the cache is fetched.
    assert_eq!(blobs.filter(|line| line.contains("/cache/")).count(), 0, "{log}");
    // The config and the base's layer, which came from another registry; of the copy the empty config.
    assert_eq!((registry.uploads("app"), registry.uploads("copy")), (2, 1), "{log}");
    let pulled = Space::new();
    let output = pulled.kiln(&["pull", &registry.name("app:1")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_first_cache_that_is_named_wins_and_a_verified_one_before_all() {
    needs!("docker-registry", "openssl");
    let (project, desk, registry) = (random(), Desk::new(), Registry::start(false));
    let slow = Proxy::start(&registry, (0..99).map(|_| rig::Fault::slow("GET", "/v2/", 300)).collect());
    let build = |args: &[&str]| {
        let machine = Machine::new(&project);
        machine.built(&[args, &["-o", "files"]].concat());
        machine.made()
    };
    let signed =
        build(&["--cache-to", &format!("type=registry,ref={},sign-key={}", registry.name("c"), desk.path("private"))]);
    let one = build(&["--cache-to", &desk.to("one")]);
    let two = build(&["--cache-to", &desk.to("two")]);
    let (from_one, from_two) = (desk.from("one"), desk.from("two"));
    let slow_and_plain = slow.name("c");
    let verified = format!("type=registry,ref={},verify-key={}", slow.name("c"), desk.path("public"));
    for (first, second, expected) in [
        (&from_one, &from_two, &one),
        (&from_two, &from_one, &two),
        (&slow_and_plain, &from_one, &signed),
        (&from_one, &verified, &signed),
    ] {
        assert_eq!(&build(&["--cache-from", first, "--cache-from", second]), expected, "{first}, {second}");
    }
}

#[test]
fn a_result_of_no_cache_is_the_newest() {
    let (project, shared) = (random(), Space::new());
    let place = shared.path("cache").display().to_string();
    let (to, from) = (format!("type=local,dest={place}"), format!("type=local,src={place}"));
    let machine = Machine::new(&project);
    machine.built(&["--cache-to", &to, "-o", "files"]);
    let old = machine.made();
    machine.built(&["--cache-to", &to, "--no-cache", "-o", "files"]);
    let new = machine.made();
    let cold = Machine::new(&project);
    assert_eq!(cold.built(&["--cache-from", &from, "-o", "files"]).ran, [""; 0]);
    assert_eq!((cold.made() == new, cold.made() == old), (true, false));
    // With mode=min too, where a result that was made anew is pushed at the end.
    let place = shared.path("min").display().to_string();
    let to = format!("type=local,dest={place},mode=min");
    machine.built(&["--cache-to", &to, "--no-cache", "-o", "files"]);
    let cold = Machine::new(&project);
    assert_eq!(cold.built(&["--cache-from", &format!("type=local,src={place}"), "-o", "files"]).ran, [""; 0]);
    assert_eq!(cold.made(), machine.made());
}

#[test]
fn an_older_client_s_wish_for_an_inline_cache_is_one() {
    needs!("docker-registry");
    let (project, registry) = (steps(2), Registry::start(false));
    let name = registry.name("app:1");
    Machine::new(&project).built(&["--build-arg", "BUILDKIT_INLINE_CACHE=1", "-t", &name, "--push"]);
    assert_eq!(Machine::new(&project).built(&["--cache-from", &name]).ran, [""; 0]);
    let other = registry.name("app:2");
    Machine::new(&project).built(&["--build-arg", "BUILDKIT_INLINE_CACHE=0", "-t", &other, "--push"]);
    assert_eq!(Machine::new(&project).built(&["--cache-from", &other]).ran.len(), 2);
}

#[test]
fn attributes_of_buildkit_are_honoured_or_a_warning() {
    let (project, shared) = (steps(1), Space::new());
    let place = shared.path("cache").display().to_string();
    for (to, warns) in [
        (format!("type=local,dest={place},force-compression=true"), ""),
        (format!("type=local,dest={place},tag=v1"), "tag= has no effect"),
        (format!("type=local,dest={place},reset=true"), "reset= has no effect"),
        (
            "type=s3,bucket=b,name=n,touch_refresh=24h,endpoint_url=http://localhost:1".to_owned(),
            "touch_refresh= has no",
        ),
        ("type=gha,url=http://localhost:1/,token=x".to_owned(), "ACTIONS_RESULTS_URL"),
        ("type=registry,ref=localhost:1/c,registry.insecure=true".to_owned(), "localhost:1"),
    ] {
        let machine = Machine::new(&project);
        let mut command = machine.space.kiln(&["build", "--cache-to", &to, "-t", "x"]);
        command.arg(project.path("app")).env_remove("ACTIONS_RESULTS_URL").env_remove("ACTIONS_RUNTIME_TOKEN");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains(warns), "{to}: {said}");
        assert_eq!(said.contains("warning: "), !warns.is_empty(), "{to}: {said}");
    }
    let built = Machine::new(&project).build(&["--cache-to", &format!("type=local,dest={place},tagg=v1")]);
    assert_eq!(built.code, Some(2), "a name that nobody knows: {}", built.stderr);
}
