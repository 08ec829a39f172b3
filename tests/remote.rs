//! Caches that travel, between stores that know nothing of each other, through Debian's docker-registry and a directory.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "remote/machine.rs"]
mod machine;
#[path = "push/rig.rs"]
mod rig;

use common::{Space, needs};
use machine::{Desk, Machine, base, two_stages};
use rig::{Fault, Proxy, Registry};
use std::collections::BTreeSet;

/// Digests of blobs that were sent to somebody from a repository.
fn fetched(registry: &Registry, repository: &str) -> BTreeSet<String> {
    let prefix = format!("GET /v2/{repository}/blobs/sha256:");
    registry.log().lines().filter_map(|line| Some(line.strip_prefix(&prefix)?.get(..64)?.to_owned())).collect()
}

fn layers_of(space: &Space, layout: &str) -> Vec<String> {
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(space.path(layout).join("index.json")).unwrap()).unwrap();
    let blob = |digest: &serde_json::Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        std::fs::read(space.path(layout).join("blobs/sha256").join(hex)).unwrap()
    };
    let manifest: serde_json::Value = serde_json::from_slice(&blob(&index["manifests"][0]["digest"])).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned()).collect()
}

#[test]
fn a_cold_machine_runs_nothing_and_fetches_only_what_the_export_needs() {
    needs!("docker-registry");
    let (project, registry) = (two_stages(), Registry::start(false));
    let name = registry.name("team/cache");
    let cache = format!("type=registry,ref={name}");
    let (first, second) = (Machine::new(&project), Machine::new(&project));
    let built = first.built(&["--cache-to", &cache, "--iidfile", "id"]);
    assert_eq!(built.ran.len(), 5, "{:?}", built.ran);
    // Workers side by side ask for each blob once.
    let asked: Vec<String> =
        registry.log().lines().filter(|line| line.starts_with("HEAD ")).map(str::to_owned).collect();
    let once: BTreeSet<&String> = asked.iter().collect();
    assert!(asked.len() > 3 && asked.len() == once.len(), "{asked:#?}");

    // Under a name alone nothing is fetched at all.
    let built = second.built(&["--cache-from", &name, "--iidfile", "id", "-t", "app"]);
    assert_eq!(built.ran, [""; 0]);
    let id = |machine: &Machine| std::fs::read_to_string(machine.space.path("id")).unwrap();
    assert_eq!(id(&first), id(&second));
    assert_eq!(fetched(&registry, "team/cache"), BTreeSet::new());

    // An export fetches its own layers, of which the first stage's are none.
    second.built(&["--cache-from", &cache, "-o", "type=oci,tar=false,dest=out"]);
    first.built(&["-o", "type=oci,tar=false,dest=out"]);
    let layers = layers_of(&second.space, "out");
    assert_eq!(layers, layers_of(&first.space, "out"));
    let own: BTreeSet<String> = layers.into_iter().skip(1).collect();
    assert_eq!(fetched(&registry, "team/cache"), own);
    second.space.assert_whole();
}

#[test]
fn a_change_runs_what_it_changes_on_layers_of_the_cache() {
    needs!("docker-registry");
    let (project, registry) = (two_stages(), Registry::start(false));
    let cache = format!("type=registry,ref={}", registry.name("cache"));
    Machine::new(&project).built(&["--cache-to", &cache]);
    project.write(
        "app/Dockerfile",
        &std::fs::read_to_string(project.path("app/Dockerfile")).unwrap().replace("more", "other"),
    );
    let third = Machine::new(&project);
    let built = third.built(&["--cache-from", &cache, "-o", "files"]);
    assert_eq!(built.ran, ["RUN echo other >>/out", "COPY --from=build /out /app", "RUN cat /app >/copy"]);
    assert_eq!(std::fs::read_to_string(third.space.path("files/copy")).unwrap(), "source\nother\n");
    third.space.assert_whole();
}

#[test]
fn a_failed_build_leaves_its_good_steps_behind() {
    let (project, shared) = (two_stages(), Space::new());
    let cache = shared.path("cache").display().to_string();
    let text = std::fs::read_to_string(project.path("app/Dockerfile")).unwrap();
    project.write("app/Dockerfile", &format!("{text}RUN false\n"));
    let built = Machine::new(&project).build(&["--cache-to", &format!("type=local,dest={cache}")]);
    assert!(!built.ok && built.ran.len() == 6, "{}", built.stderr);
    project.write("app/Dockerfile", &text);
    let built = Machine::new(&project).built(&["--cache-from", &format!("type=local,src={cache}")]);
    assert_eq!(built.ran, [""; 0]);
}

/// A fault of the registry, how often it happens, and true if the cache still answers. It answers each request in the
/// end or not at all; the build works either way, and says what went wrong in one line.
type Read = (&'static str, fn() -> Fault, usize, bool);

const READS: &[Read] = &[
    ("401 once", || Fault::status("GET", "/manifests/", 401), 1, true),
    ("401", || Fault::status("GET", "/manifests/", 401), 99, false),
    ("403", || Fault::status("GET", "/manifests/", 403), 99, false),
    ("429 twice", || Fault::status("GET", "/manifests/", 429), 2, true),
    ("500 twice", || Fault::status("GET", "/manifests/", 500), 2, true),
    ("502", || Fault::status("GET", "/manifests/", 502), 99, false),
    ("a record that breaks off once", || Fault::broken("GET", "/manifests/", 100), 1, true),
    ("records that break off", || Fault::broken("GET", "/manifests/", 100), 99, false),
    ("a record with another byte", || Fault::corrupt("GET", "/manifests/"), 99, false),
    ("a record that is shorter than its length once", || Fault::longer("GET", "/manifests/", 10), 1, true),
    ("a blob that breaks off", || Fault::broken("GET", "/blobs/", 1000), 2, true),
    ("a blob that is shorter than its length", || Fault::longer("GET", "/blobs/", 10), 1, true),
    ("500 for blobs", || Fault::status("GET", "/blobs/", 500), 3, true),
    ("404 for blobs", || Fault::status("GET", "/blobs/", 404), 99, false),
    ("blobs with another byte", || Fault::corrupt("GET", "/blobs/"), 99, false),
];

#[test]
fn whatever_the_registry_answers_the_build_works_and_says_one_clear_line() {
    needs!("docker-registry");
    let (project, registry) = (two_stages(), Registry::start(false));
    Machine::new(&project).built(&["--cache-to", &format!("type=registry,ref={}", registry.name("cache"))]);
    for (what, fault, times, still) in READS {
        let proxy = Proxy::start(&registry, (0..*times).map(|_| fault()).collect());
        let machine = Machine::new(&project);
        let built = machine.built(&["--cache-from", &proxy.name("cache"), "-o", "files"]);
        assert_eq!(built.ran.is_empty(), *still, "{what}: {:?}\n{}", built.ran, built.stderr);
        let lines = built.stderr.lines().filter(|line| line.starts_with("warning: cache ")).count();
        assert_eq!(lines == 1, !*still, "{what}:\n{}", built.stderr);
        assert!(proxy.log().contains("FAULT "), "{what} did not happen");
        assert_eq!(std::fs::read_to_string(machine.space.path("files/copy")).unwrap(), "source\nmore\n", "{what}");
        machine.space.assert_whole();
    }
}

#[test]
fn a_write_that_fails_is_a_warning_or_the_build_s_failure_as_was_said() {
    needs!("docker-registry");
    let project = two_stages();
    for (what, fault, times, works) in [
        ("429", Fault::status("PUT", "/manifests/", 429), 2, true),
        ("an upload that breaks off", Fault::cut("PUT", "/blobs/uploads/", 500_000), 1, true),
        ("another digest", Fault::lie("PUT", "/manifests/"), 1, false),
        ("500", Fault::status("PUT", "/manifests/", 500), 99, false),
        ("403", Fault::status("POST", "/blobs/uploads/", 403), 99, false),
    ] {
        let registry = Registry::start(false);
        let proxy = Proxy::start(&registry, (0..times).map(|_| fault.clone()).collect());
        let to = format!("type=registry,ref={}", proxy.name("cache"));
        let built = Machine::new(&project).built(&["--cache-to", &to]);
        let lines = built.stderr.lines().filter(|line| line.starts_with("warning: cache ")).count();
        assert_eq!(lines, usize::from(!works), "{what}:\n{}\n{}\n{}", built.stderr, proxy.log(), registry.log());
        if works {
            assert_eq!(Machine::new(&project).built(&["--cache-from", &registry.name("cache")]).ran, [""; 0], "{what}");
        } else {
            let proxy = Proxy::start(&registry, (0..times).map(|_| fault.clone()).collect());
            let to = format!("type=registry,ref={},ignore-error=false", proxy.name("cache"));
            let built = Machine::new(&project).build(&["--cache-to", &to]);
            assert!(!built.ok && built.stderr.contains("ignore-error=true"), "{what}: {}", built.stderr);
        }
    }
}

#[test]
fn a_cache_that_is_not_there_costs_at_most_its_timeout() {
    needs!("docker-registry");
    let (project, registry) = (two_stages(), Registry::start(false));
    let silent = Proxy::start(&registry, (0..999).map(|_| Fault::hang("GET", "/v2/", 60)).collect());
    let began = std::time::Instant::now();
    let from = format!("type=registry,ref={},timeout=1", silent.name("cache"));
    let built = Machine::new(&project).built(&["--cache-from", &from, "--cache-from", "localhost:1/nobody"]);
    // Far below what the silence lasts, far above what a busy machine needs.
    assert!(began.elapsed().as_secs() < 40);
    assert_eq!(built.ran.len(), 5);
    for line in ["no answer in 1 s; the build goes on without it", "cannot reach localhost:1"] {
        assert_eq!(built.stderr.matches(line).count(), 1, "{line}:\n{}", built.stderr);
    }
}

#[test]
fn sixteen_jobs_share_a_cache_and_lose_nothing() {
    needs!("docker-registry");
    let registry = Registry::start(false);
    let cache = format!("type=registry,ref={}", registry.name("shared"));
    let project = |number: usize, fails: bool| {
        let space = Space::new();
        let last = if fails { "RUN false\n" } else { "RUN echo done >/done\n" };
        let base = base();
        let text = format!("FROM {base}\nRUN echo shared >/shared\nRUN echo {number} >/own\nRUN cp /own /last\n{last}");
        space.write("app/Dockerfile", &text);
        space
    };
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (project, cache) = (project(number, number % 2 == 0), &cache);
            scope.spawn(move || {
                let built = Machine::new(&project).build(&["--cache-to", cache, "--cache-from", cache]);
                assert_eq!(built.ok, number % 2 == 1, "{}", built.stderr);
                assert!(!built.stderr.contains("warning: cache "), "{}", built.stderr);
            });
        }
    });
    for number in 0..16 {
        let built = Machine::new(&project(number, number % 2 == 0)).build(&["--cache-from", &cache]);
        let expected: &[&str] = if number % 2 == 0 { &["RUN false"] } else { &[] };
        assert_eq!(built.ran, expected, "job {number}: {}", built.stderr);
    }
}

#[test]
fn a_tampered_byte_is_a_miss_and_a_warning() {
    let (project, shared) = (two_stages(), Space::new());
    let cache = shared.path("cache");
    let (to, from) = (format!("type=local,dest={}", cache.display()), format!("type=local,src={}", cache.display()));
    Machine::new(&project).built(&["--cache-to", &to]);
    for folder in ["objects", "chunks"] {
        let spoilt = spoil(&cache.join(folder));
        assert!(spoilt >= 1, "{spoilt} files in {folder}");
        let machine = Machine::new(&project);
        let built = machine.built(&["--cache-from", &from, "-o", "files"]);
        assert!(!built.ran.is_empty() && built.stderr.contains("warning: "), "{folder}: {}", built.stderr);
        assert_eq!(std::fs::read_to_string(machine.space.path("files/copy")).unwrap(), "source\nmore\n");
        machine.space.assert_whole();
        std::fs::remove_dir_all(&cache).unwrap();
        Machine::new(&project).built(&["--cache-to", &to]);
    }
}

/// Changes one byte in the middle of every file.
fn spoil(dir: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            count += spoil(&entry.path());
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(entry.path(), bytes).unwrap();
        count += 1;
    }
    count
}

/// A pull request's job reads what the main branch's jobs wrote. What it writes itself counts nowhere else: it has
/// another place to write to, and not the key to sign with.
#[test]
fn signed_records_count_and_others_do_not() {
    needs!("openssl");
    let (project, desk) = (two_stages(), Desk::new());
    let (to, from) = (desk.to("cache"), desk.verified("cache"));

    // Somebody without the key.
    Machine::new(&project).built(&["--cache-to", &to]);
    let built = Machine::new(&project).built(&["--cache-from", &from]);
    assert_eq!(built.ran.len(), 5);
    assert_eq!(built.stderr.matches("a record is not used: it is not signed").count(), 1, "{}", built.stderr);

    // The owner of the key; then what was signed, under another name.
    Machine::new(&project).built(&["--cache-to", &desk.signed("cache")]);
    assert_eq!(Machine::new(&project).built(&["--cache-from", &from]).ran, [""; 0]);
    for entry in std::fs::read_dir(desk.path("cache/objects")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().replacen("batch-0", "batch-1", 1);
        std::fs::rename(entry.path(), entry.path().with_file_name(name)).unwrap();
    }
    let built = Machine::new(&project).built(&["--cache-from", &from]);
    assert_eq!(built.ran.len(), 5);
    assert!(built.stderr.contains("a record is not used: it"), "{}", built.stderr);
}

#[test]
fn an_image_carries_its_own_cache() {
    needs!("docker-registry");
    let (project, registry) = (two_stages(), Registry::start(false));
    let name = registry.name("team/app:1");
    let first = Machine::new(&project);
    let args = ["--cache-to", "type=inline", "-t", name.as_str(), "--push", "--iidfile", "id"];
    first.built(&args);
    let id = |machine: &Machine| std::fs::read_to_string(machine.space.path("id")).unwrap();
    let made = id(&first);
    first.built(&args);
    assert_eq!(id(&first), made, "a cached build makes the same image");

    let second = Machine::new(&project);
    let built = second.built(&["--cache-from", &name, "--cache-to", "type=inline", "--iidfile", "id", "-o", "files"]);
    assert_eq!(built.ran, [""; 0], "{}", built.stderr);
    assert_eq!(id(&second), made);
    // A cache in an image holds only steps of the image: the first stage runs again.
    let text = std::fs::read_to_string(project.path("app/Dockerfile")).unwrap();
    project.write("app/Dockerfile", &text.replace("/copy", "/other"));
    let built = Machine::new(&project).built(&["--cache-from", &name, "-t", "x"]);
    assert_eq!(built.ran, ["RUN cat /app >/other"], "{}", built.stderr);
    project.write("app/Dockerfile", &text.replace("more", "other"));
    let built = Machine::new(&project).built(&["--cache-from", &name, "-t", "x"]);
    assert_eq!(built.ran.len(), 5);
}

#[test]
fn min_keeps_what_the_image_contains() {
    let (project, shared) = (two_stages(), Space::new());
    let place = shared.path("cache").display().to_string();
    Machine::new(&project).built(&["--cache-to", &format!("type=local,dest={place},mode=min")]);
    let names = std::fs::read_dir(shared.path("cache/objects")).unwrap().count();
    assert!((1..=2).contains(&names), "the first batch goes out at once: {names}");
    let built =
        Machine::new(&project).built(&["--cache-from", &format!("type=local,src={place}"), "--target", "build"]);
    assert_eq!(built.ran.len(), 3, "only what the image contains: {}", built.stderr);
    assert_eq!(Machine::new(&project).built(&["--cache-from", &format!("type=local,src={place}")]).ran, [""; 0]);
}

/// The image's own layers and the cache's are the same blobs: one is mounted from the other, or was there first.
#[test]
fn what_the_cache_has_is_not_sent_again_with_the_image() {
    needs!("docker-registry");
    let (project, registry) = (two_stages(), Registry::start(false));
    let cache = format!("type=registry,ref={}", registry.name("cache"));
    Machine::new(&project).built(&["--cache-to", &cache]);
    let second = Machine::new(&project);
    second.built(&["--cache-from", &cache, "-t", &registry.name("app:1"), "--push"]);
    // The config, and the base's layer, which came from another registry.
    assert_eq!(registry.uploads("app"), 2, "{}", registry.log());
}

/// SOURCE_DATE_EPOCH bounds times in the bytes, whether a layer was made here or came from a cache.
#[test]
fn times_are_bounded_in_layers_of_a_cache_too() {
    let (project, shared) = (two_stages(), Space::new());
    let place = shared.path("cache").display().to_string();
    let args = |place: &str| ["--cache-to".to_owned(), format!("type=local,dest={place}")];
    let (first, second) = (Machine::new(&project), Machine::new(&project));
    let [flag, to] = args(&place);
    let epoch = "--build-arg=SOURCE_DATE_EPOCH=1000000000";
    first.built(&[&flag, &to, epoch, "-o", "type=oci,tar=false,dest=out"]);
    let from = format!("type=local,src={place}");
    let built = second.built(&["--cache-from", &from, epoch, "-o", "type=oci,tar=false,dest=out"]);
    assert_eq!(built.ran, [""; 0]);
    assert_eq!(layers_of(&first.space, "out"), layers_of(&second.space, "out"));
}

/// Old records go, with the chunks that no other record names; what was written since works as before.
#[test]
fn old_records_are_removed_with_what_only_they_name() {
    let (project, shared) = (two_stages(), Space::new());
    let cache = shared.path("cache");
    let (to, from) = (format!("type=local,dest={}", cache.display()), format!("type=local,src={}", cache.display()));
    Machine::new(&project).built(&["--cache-to", &to]);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 86_400);
    let old = files(&cache);
    for path in &old {
        std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    // Its first step is the old one: the new records name old chunks.
    let text = std::fs::read_to_string(project.path("app/Dockerfile")).unwrap();
    project.write("app/Dockerfile", &text.replace("head -c 3000000", "head -c 2000000"));
    Machine::new(&project).built(&["--cache-to", &to]);
    let prune = |keep: &str| {
        let output = shared.kiln(&["cache", "prune", "--from", &from, "--keep-duration", keep]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(prune("50d").starts_with("0 records removed, "));
    let said = prune("30d");
    assert!(!said.starts_with("0 records") && said.contains("3.0 MB of chunks removed"), "{said}");
    assert!(old.iter().any(|path| !path.exists()), "{said}");
    let machine = Machine::new(&project);
    let built = machine.built(&["--cache-from", &from, "--target", "build", "-o", "files"]);
    assert_eq!(built.ran, [""; 0], "{}", built.stderr);
    machine.space.assert_whole();
    prune("0");
    assert_eq!(files(&cache), Vec::<std::path::PathBuf>::new());

    let gha = ["cache", "prune", "--keep-duration", "1d", "--from", "type=gha,url_v2=http://localhost:1,token=x"];
    assert_eq!(shared.kiln(&gha).output().unwrap().status.code(), Some(2));
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
