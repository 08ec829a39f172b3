//! Caches that travel, between stores that know nothing of each other, through Debian's docker-registry and a directory.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "push/rig.rs"]
#[allow(dead_code)]
mod rig;

use common::{Built, Space, have};
use rig::Registry;
use std::collections::BTreeSet;

/// A machine of its own: another store, the same project.
struct Machine {
    space: Space,
    project: std::path::PathBuf,
}

impl Machine {
    fn new(project: &Space) -> Machine {
        Machine { space: Space::new(), project: project.path("app") }
    }
    fn build(&self, args: &[&str]) -> Built {
        self.space.build(&[args, &[self.project.to_str().unwrap()]].concat())
    }
    fn built(&self, args: &[&str]) -> Built {
        let built = self.build(args);
        assert!(built.ok, "kiln build {args:?} failed:\n{}", built.stderr);
        built
    }
}

fn base() -> String {
    format!("{}/busybox", common::registry().0)
}

/// Two stages: what the second takes is small, what the first makes besides is not.
fn two_stages() -> Space {
    let space = Space::new();
    let dockerfile = format!(
        "FROM {base} AS build\nCOPY source /src/\nRUN head -c 3000000 /dev/urandom >/big && cp /src/source /out\n\
         RUN echo more >>/out\nFROM {base}\nCOPY --from=build /out /app\nRUN cat /app >/copy\n",
        base = base()
    );
    space.write("app/Dockerfile", &dockerfile);
    space.write("app/source", "source\n");
    space
}

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
    if !have("docker-registry") {
        return;
    }
    let (project, registry) = (two_stages(), Registry::start(false));
    let name = registry.name("team/cache");
    let cache = format!("type=registry,ref={name}");
    let (first, second) = (Machine::new(&project), Machine::new(&project));
    let built = first.built(&["--cache-to", &cache, "--iidfile", "id"]);
    assert_eq!(built.ran.len(), 5, "{:?}", built.ran);

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
    if !have("docker-registry") {
        return;
    }
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
