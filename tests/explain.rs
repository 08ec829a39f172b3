//! Why a step was not cached: one line in the build, all of it in `kiln explain`, exit code 5 where it must not happen.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Built, Space, have, registry};
use serde_json::Value;

/// A project of three steps, or nothing where there is no base.
fn project() -> Option<Space> {
    if !have("docker-registry") || !have("busybox") {
        return None;
    }
    let space = Space::new();
    dockerfile(&space, "ARG VERSION=1\nENV COLOR=red", "RUN cat src/a > /out", "build");
    (0..30).for_each(|number| drop(space.write(&format!("app/src/f{number}"), "same\n")));
    space.write("app/src/a", "one\n");
    Some(space)
}

fn dockerfile(space: &Space, names: &str, run: &str, stage: &str) {
    let base = &registry().0;
    let text = format!(
        "FROM {base}/busybox AS {stage}\nWORKDIR /w\n{names}\nCOPY src src\n{run}\nFROM scratch\nCOPY --from={stage} /out /out\n"
    );
    space.write("app/Dockerfile", &text);
}

/// The lines that say why, by the beginning of the step's instruction.
fn why(built: &Built, step: &str) -> String {
    let number = |line: &str| line.split(' ').next().unwrap_or("").to_owned();
    let title = built
        .stderr
        .lines()
        .find(|line| line.contains(&format!("] {step}")))
        .unwrap_or_else(|| panic!("{step}: {}", built.stderr));
    let mark = format!("{} not cached: ", number(title));
    built.stderr.lines().find_map(|line| line.strip_prefix(&mark)).unwrap_or("").to_owned()
}

fn explained(space: &Space, args: &[&str]) -> Value {
    let output = space.kiln(&["explain", "--json"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_first_difference_is_named_for_every_kind_of_it() {
    let Some(space) = project() else { return };
    let first = space.built(&["app"]);
    assert_eq!(why(&first, "COPY src"), "never built here");
    assert_eq!(why(&first, "RUN"), "never built here");
    let again = space.built(&["app"]);
    assert!(!again.stderr.contains("not cached"), "{}", again.stderr);

    // A file: and what stands on it says whom it follows.
    space.write("app/src/a", "two and more\n");
    let built = space.built(&["app"]);
    let file = why(&built, "COPY src");
    assert!(
        file.starts_with("file src/a: sha256:") && file.contains("4 bytes -> sha256:") && file.ends_with("13 bytes"),
        "{file}"
    );
    assert_eq!(why(&built, "RUN"), format!("follows [build 3/4] COPY src src ({file})"));
    assert!(why(&built, "COPY --from").contains("file out: sha256:"), "{}", built.stderr);

    // Another mode, a file more, a file less.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(space.path("app/src/f3"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(why(&space.built(&["app"]), "COPY src"), "file src/f3: mode 0644 -> mode 0755");
    space.write("app/src/new", "");
    std::fs::remove_file(space.path("app/src/f4")).unwrap();
    assert_eq!(why(&space.built(&["app"]), "COPY src"), "file src/new is new (and 1 more)");

    // A build argument, a variable, the text, an inserted line under another stage's name.
    assert_eq!(why(&space.built(&["--build-arg=VERSION=2", "app"]), "RUN"), "build argument VERSION: `1` -> `2`");
    dockerfile(&space, "ARG VERSION=1\nENV COLOR=blue", "RUN cat src/a > /out", "build");
    assert_eq!(why(&space.built(&["app"]), "RUN"), "variable COLOR: `red` -> `blue`");
    dockerfile(&space, "ARG VERSION=1\nENV COLOR=blue", "RUN cat src/new > /out", "build");
    assert_eq!(why(&space.built(&["app"]), "RUN"), "instruction: `RUN cat src/a > /out` -> `RUN cat src/new > /out`");
    dockerfile(&space, "RUN true\nARG VERSION=1\nENV COLOR=blue", "RUN cat src/new > /out", "compile");
    let built = space.built(&["app"]);
    assert_eq!(why(&built, "RUN true"), "never built here");
    assert!(
        why(&built, "RUN cat").starts_with("follows [compile 3/5] RUN true") || why(&built, "RUN cat").is_empty(),
        "{}",
        built.stderr
    );

    // A mount.
    dockerfile(&space, "ARG VERSION=1\nENV COLOR=blue", "RUN --mount=type=tmpfs,target=/t cat src/new > /out", "build");
    assert_eq!(why(&space.built(&["app"]), "RUN"), "mount /t is new");

    // On purpose.
    assert_eq!(why(&space.built(&["--no-cache", "app"]), "RUN"), "--no-cache");
}

#[test]
fn a_base_a_failure_and_what_was_pruned_are_told() {
    let Some(space) = project() else { return };
    let base = &registry().0;
    space.built(&["app"]);
    let text = std::fs::read_to_string(space.path("app/Dockerfile")).unwrap();
    space.write("app/Dockerfile", &text.replace("/busybox", "/config"));
    let moved = why(&space.build(&["app"]), "WORKDIR");
    assert!(moved.starts_with(&format!("base image: {base}/busybox:latest@sha256:")), "{moved}");
    // The same name, another digest.
    let named = format!("{base}/busybox=docker-image://{base}/multi");
    space.write("app/Dockerfile", &text);
    let moved = why(&space.build(&["--build-context", &named, "app"]), "WORKDIR");
    assert!(moved.starts_with("base image: "), "{moved}");

    // A step that failed before.
    dockerfile(&space, "", "RUN exit 3", "build");
    assert!(!space.build(&["app"]).ok);
    let built = space.build(&["app"]);
    assert!(why(&built, "RUN exit").starts_with("it did not end well"), "{}", built.stderr);
    assert_eq!(explained(&space, &["RUN exit"])["steps"][0]["state"], "failed");

    // A pruned record; and lost layers.
    space.write("app/Dockerfile", &text);
    assert!(space.built(&["app"]).ran.is_empty());
    assert!(space.kiln(&["prune", "--all"]).output().unwrap().status.success());
    let built = space.built(&["app"]);
    assert!(
        why(&built, "COPY src").starts_with("evicted 20") && why(&built, "COPY src").ends_with("by kiln prune --all"),
        "{}",
        built.stderr
    );
    let built = explained(&space, &["-n1"]);
    assert!(built["steps"].as_array().unwrap().iter().any(|step| step["miss"]["cause"] == "evicted"), "{built}");
    for layer in std::fs::read_dir(space.path("store/store-v1/layers")).unwrap() {
        let _ = std::fs::remove_file(layer.unwrap().path().join("record"));
    }
    assert!(why(&space.built(&["app"]), "WORKDIR").ends_with("but its result is gone"));
}

#[test]
fn explain_tells_of_the_last_builds_and_of_single_steps() {
    let Some(space) = project() else { return };
    let none = space.kiln(&["explain"]).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
    space.built(&["app"]);
    (0..5).for_each(|number| drop(space.write(&format!("app/src/f{number}"), "changed\n")));
    space.built(&["app"]);
    space.built(&["app"]);

    let build = explained(&space, &[]);
    let steps = build["steps"].as_array().unwrap();
    let copy = steps.iter().find(|step| step["name"].as_str().unwrap().contains("COPY src")).unwrap();
    assert_eq!(copy["miss"]["cause"], "file");
    assert_eq!(copy["miss"]["differences"].as_array().unwrap().len(), 5);
    assert!(steps.iter().any(|step| step["state"] == "cached"), "{build}");
    assert_eq!(explained(&space, &["-n2", "COPY src"])["steps"][0]["miss"]["cause"], "new");

    let text = String::from_utf8(space.kiln(&["explain", "COPY src"]).output().unwrap().stdout).unwrap();
    assert_eq!(text.matches("file src/f").count(), 1 + 5, "{text}");
    assert_eq!(space.kiln(&["explain", "nonsense"]).output().unwrap().status.code(), Some(2));

    // Another checkout of the same project, in a folder that was never seen.
    std::fs::rename(space.path("app"), space.path("app2")).unwrap();
    space.write("app2/src/f9", "elsewhere\n");
    assert!(why(&space.built(&["app2"]), "COPY src").starts_with("file src/f9: "));
}

#[test]
fn fail_on_miss_ends_the_build_before_the_step_runs() {
    let Some(space) = project() else { return };
    let cold = space.build(&["--fail-on-miss=RUN cat", "app"]);
    assert_eq!(cold.code, Some(5), "{}", cold.stderr);
    assert!(
        cold.stderr.contains("was not cached: never built here") && !cold.stderr.contains("DONE\n"),
        "{}",
        cold.stderr
    );
    space.built(&["app"]);
    for step in ["build", "3/4", "build 3/4", "[build 3/4]", "COPY src", "stage-1"] {
        space.built(&["--fail-on-miss", step, "app"]);
    }
    // A change that the step does not see is none.
    space.write("app/src/f1", "other\n");
    space.built(&["--fail-on-miss=stage-1", "app"]);
    space.write("app/src/a", "other\n");
    let missed = space.build(&["--fail-on-miss=stage-1", "app"]);
    assert_eq!(missed.code, Some(5));
    assert!(missed.stderr.contains("file out: sha256:"), "{}", missed.stderr);
    let unknown = space.build(&["--fail-on-miss=RUN nothing", "app"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
}

/// A cache that an earlier build wrote to and this one does not read; what it says is what helps.
#[test]
fn what_only_another_cache_has_is_told_with_the_way_out() {
    let Some(space) = project() else { return };
    let cache = space.path("cache").display().to_string();
    let (to, from) = (format!("type=local,dest={cache}"), format!("type=local,src={cache}"));
    let prune = || assert!(space.kiln(&["prune", "--all"]).output().unwrap().status.success());
    space.built(&["--cache-to", &to, "app"]);
    prune();
    let built = space.built(&["app"]);
    let advice = format!("only in remote local {cache}: add --cache-from {from} (here: evicted ");
    for step in ["WORKDIR", "COPY src", "RUN", "COPY --from"] {
        assert!(why(&built, step).starts_with(&advice), "{}", built.stderr);
    }
    let step = &explained(&space, &["COPY src"])["steps"][0]["miss"];
    assert_eq!(step["cause"], "remote");
    let one = &step["differences"][0];
    assert_eq!((&one["cause"], &one["old"]), (&Value::from("remote"), &Value::Null));
    assert_eq!(one["name"], format!("local {cache}"));
    assert_eq!(one["new"], format!("add --cache-from {from}"));
    prune();
    assert_eq!(space.built(&["--cache-from", &from, "app"]).ran, [""; 0], "the advice helps");

    // A step that nobody else has is told as ever.
    space.write("app/src/a", "two\n");
    assert!(why(&space.built(&["app"]), "COPY src").starts_with("file src/a: "));
    assert_eq!(why(&space.built(&["--no-cache", "app"]), "RUN"), "--no-cache");
    space.write("app/src/a", "one\n");

    // It is named, but does not answer; then it answers and has nothing, which is remembered.
    prune();
    std::fs::rename(&cache, space.path("elsewhere")).unwrap();
    std::fs::write(&cache, "no directory").unwrap();
    let built = space.built(&["--cache-from", &from, "app"]);
    let expected = format!("only in remote local {cache}, not used because it can't be reached: the warning says why");
    assert!(why(&built, "RUN").starts_with(&expected), "{}", built.stderr);
    std::fs::remove_file(&cache).unwrap();
    for args in [&["--cache-from", &from, "app"][..], &["app"]] {
        prune();
        let built = space.built(args);
        assert!(why(&built, "RUN").starts_with("evicted "), "{}", built.stderr);
    }
}

#[test]
fn a_record_that_is_refused_is_told_with_the_reason() {
    let Some(space) = project() else { return };
    let cache = space.path("cache").display().to_string();
    let (to, from) = (format!("type=local,dest={cache}"), format!("type=local,src={cache}"));
    let app = space.path("app").display().to_string();
    space.built(&["--cache-to", &to, "app"]);
    let on_another = |args: &[&str], reason: &str, steps: &[&str]| {
        let other = Space::new();
        let built = other.built(&[args, &[app.as_str()]].concat());
        let expected = format!("only in remote local {cache}, not used because {reason}");
        for step in steps {
            // A build that loses a layer on its way begins again: the step has two numbers then.
            let titles = built.stderr.lines().filter(|line| line.contains(&format!("] {step}")));
            let mut numbers = titles.map(|line| line.split(' ').next().unwrap_or(""));
            let told = |number: &str| built.stderr.contains(&format!("\n{number} not cached: {expected}\n"));
            assert!(numbers.any(told), "{step}: {}", built.stderr);
        }
        let build = explained(&other, &["RUN"]);
        let mut causes = build["steps"].as_array().unwrap().iter().map(|step| &step["miss"]["differences"][0]["cause"]);
        assert!(causes.any(|cause| cause == "remote"), "{build}");
    };
    if have("openssl") {
        let path = |name: &str| space.path(name).display().to_string();
        common::run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", &path("private")]);
        common::run("openssl", &["pkey", "-in", &path("private"), "-pubout", "-out", &path("public")]);
        let from = format!("{from},verify-key={}", path("public"));
        let reason = "it is not signed: push it with sign-key=, or take away verify-key=";
        on_another(&["--cache-from", &from], reason, &["COPY src", "RUN", "COPY --from"]);
    }
    // Layers are gone: what needs one runs again.
    std::fs::remove_dir_all(space.path("cache/chunks")).unwrap();
    let reason = "a layer of it can't be had: a build with --cache-to writes it anew";
    on_another(&["--cache-from", &from, "-o", "files"], reason, &["COPY --from"]);
    for object in std::fs::read_dir(space.path("cache/objects")).unwrap().flatten() {
        std::fs::write(object.path(), "kiln-object 1 nonsense\n\n{}").unwrap();
    }
    // Nobody knows whose records those were.
    let built = Space::new().built(&["--cache-from", &from, &app]);
    assert!(built.stderr.contains("a record is not used: it is damaged"), "{}", built.stderr);
}
