//! `kiln bake`: targets of one definition in one process, with shared steps run once.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, have, repository, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The result of a run.
struct Baked {
    ok: bool,
    stderr: String,
    /// Steps of Dockerfiles that ran, each with the target that ran it, sorted.
    ran: Vec<String>,
}

fn bake(space: &Space, dir: &str, args: &[&str]) -> Baked {
    let log = space.path("events");
    let _ = std::fs::remove_file(&log);
    let mut command = space.kiln(&["bake", "--progress=plain"]);
    let output = command.args(args).env("KILN_EVENT_LOG", &log).current_dir(space.path(dir)).output().unwrap();
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let mut ran = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = event["name"].as_str().unwrap_or_default();
        let step = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        if let (true, Some((place, step))) = (event["event"] == "begin", step)
            && ["RUN ", "COPY ", "WORKDIR "].iter().any(|word| step.starts_with(word))
        {
            ran.push(format!("{}: {step}", place.split(' ').next().unwrap()));
        }
    }
    ran.sort();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Baked { ok: output.status.success(), stderr, ran }
}

fn baked(space: &Space, dir: &str, args: &[&str]) -> Vec<String> {
    let baked = bake(space, dir, args);
    assert!(baked.ok, "kiln bake {args:?} failed:\n{}", baked.stderr);
    baked.ran
}

fn busybox(to: &Path) {
    let found = run("sh", &["-c", "command -v busybox"]).stdout;
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(String::from_utf8_lossy(&found).trim(), to).unwrap();
}

const TOOLS: &str = "FROM scratch AS tools
COPY busybox /bin/busybox
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
";

#[test]
fn the_example_runs_exactly_what_an_edit_needs() {
    if !have("busybox") {
        return;
    }
    let space = Space::new();
    run("cp", &["-r", repository().join("examples/bake").to_str().unwrap(), space.path("ex").to_str().unwrap()]);
    busybox(&space.path("ex/tools/busybox"));
    let ran = baked(&space, "ex", &["--metadata-file=meta.json"]);
    let install = "tools: RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]";
    let mut steps: Vec<&str> = ran.iter().map(|step| step.split_once(": ").unwrap().1).collect();
    assert!(
        ran.iter().any(|step| step == install) && ran.iter().any(|step| step == "tools: COPY busybox /bin/busybox")
    );
    steps.sort();
    let want = [
        "COPY busybox /bin/busybox",
        "COPY pages .",
        "COPY work.sh /bin/work",
        "RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]",
        "RUN for page in *.html; do gzip -9 -c \"$page\" > \"$page.gz\"; done",
        "RUN mkdir -p /var/queue/$QUEUE",
        "RUN mkdir -p /var/queue/$QUEUE",
        "WORKDIR /srv",
    ];
    assert_eq!(steps, want);
    let metadata: Value = serde_json::from_slice(&std::fs::read(space.path("ex/meta.json")).unwrap()).unwrap();
    let targets: Vec<&String> = metadata.as_object().unwrap().keys().collect();
    assert_eq!(targets, ["site", "tools", "worker-images", "worker-mail"]);
    assert_eq!(metadata["site"]["image.name"], "docker.io/example/site:latest");
    assert_eq!(baked(&space, "ex", &[]), Vec::<String>::new(), "nothing changed");

    space.write("ex/site/pages/index.html", "<h1>edited</h1>\n");
    let edited = baked(&space, "ex", &["--set=site.output=type=local,dest=out"]);
    let gzip = "site: RUN for page in *.html; do gzip -9 -c \"$page\" > \"$page.gz\"; done";
    assert_eq!(edited, ["site: COPY pages .", gzip]);
    let page = std::fs::read_to_string(space.path("ex/out/srv/index.html")).unwrap();
    assert_eq!(page, "<h1>edited</h1>\n");
    assert!(space.path("ex/out/bin/gzip").symlink_metadata().is_ok(), "the linked target's files are its base");
    space.assert_whole();
}

#[test]
fn twelve_targets_run_three_shared_stages_once() {
    if !have("busybox") {
        return;
    }
    let space = Space::new();
    busybox(&space.path("app/busybox"));
    let dockerfile = format!(
        "{TOOLS}FROM tools AS compile
RUN sleep 1 && echo compiled > /program
FROM tools AS docs
RUN sleep 1 && echo written > /manual
FROM tools
ARG NAME
COPY --from=compile /program /program
COPY --from=docs /manual /manual
RUN echo $NAME > /name
"
    );
    space.write("app/Dockerfile", &dockerfile);
    let definition = "target \"default\" {
  name   = \"t${n}\"
  matrix = { n = range(12) }
  args   = { NAME = \"t${n}\" }
  output = [{ type = \"local\", dest = \"out/t${n}\" }]
}
";
    space.write("app/docker-bake.hcl", definition);
    let ran = baked(&space, "app", &[]);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &ran {
        *count.entry(step.split_once(": ").unwrap().1).or_default() += 1;
    }
    for step in ["RUN sleep 1 && echo compiled > /program", "RUN sleep 1 && echo written > /manual"] {
        assert_eq!(count.get(step), Some(&1), "{count:?}");
    }
    assert_eq!(count.get("RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]"), Some(&1), "{count:?}");
    assert_eq!(count.get("RUN echo $NAME > /name"), Some(&12), "{count:?}");
    for target in 0..12 {
        let name = std::fs::read_to_string(space.path(&format!("app/out/t{target}/name"))).unwrap();
        assert_eq!(name, format!("t{target}\n"));
    }
    assert_eq!(baked(&space, "app", &[]), Vec::<String>::new());
    space.assert_whole();
}

#[test]
fn a_target_that_fails_is_named_and_stops_the_others() {
    if !have("busybox") {
        return;
    }
    let space = Space::new();
    busybox(&space.path("app/busybox"));
    space.write("app/Dockerfile", &format!("{TOOLS}FROM tools AS bad\nRUN false\nFROM tools AS slow\nRUN sleep 60\n"));
    let definition = "group \"default\" { targets = [\"bad\", \"slow\"] }
target \"bad\" { target = \"bad\" }
target \"slow\" { target = \"slow\" }
";
    space.write("app/docker-bake.hcl", definition);
    let began = std::time::Instant::now();
    let failed = bake(&space, "app", &[]);
    assert!(!failed.ok && failed.stderr.contains("`bad`") && failed.stderr.contains("RUN false"), "{}", failed.stderr);
    assert!(began.elapsed().as_secs() < 50, "the other target was not waited for");
}

#[test]
fn files_outside_of_the_folder_need_leave() {
    let space = Space::new();
    space.write("app/docker-bake.hcl", "target \"default\" { contexts = { up = \"..\" } }\n");
    space.write("app/Dockerfile", "FROM scratch\nCOPY --from=up app/docker-bake.hcl /\n");
    let refused = bake(&space, "app", &[]);
    assert!(!refused.ok && refused.stderr.contains("--allow=fs.read=.."), "{}", refused.stderr);
    assert_eq!(baked(&space, "app", &["--allow=fs.read=.."]).len(), 1);
    let output = space.kiln(&["buildx", "bake", "--print"]).current_dir(space.path("app")).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("\"up\": \"..\""));
}

#[test]
fn a_question_is_answered_for_each_target() {
    let space = Space::new();
    space.write("app/docker-bake.hcl", "target \"a\" {}\ntarget \"b\" { dockerfile = \"b.Dockerfile\" }\n");
    space.write("app/Dockerfile", "FROM scratch\nCOPY . /\n");
    space.write("app/b.Dockerfile", "from scratch\nCOPY . /\n");
    let check = |targets: &[&str]| {
        let mut command = space.kiln(&["bake", "--check"]);
        command.args(targets).current_dir(space.path("app")).output().unwrap()
    };
    assert!(check(&["a"]).status.success());
    let both = check(&["a", "b"]);
    let text = String::from_utf8_lossy(&both.stdout);
    assert!(!both.status.success() && text.contains("b.Dockerfile") && text.starts_with("a\n"), "{text}");
}

#[test]
fn a_linked_target_is_brought_from_the_cache_of_its_target() {
    let first = Space::new();
    let cache = first.path("cache");
    let definition = format!(
        "target \"base\" {{
  context = \"base\"
  cache-from = [\"type=local,src={0}\"]
  cache-to = [\"type=local,dest={0},mode=max\"]
}}
target \"app\" {{
  contexts = {{ base = \"target:base\" }}
  output = [\"type=local,dest=out\"]
}}
",
        cache.display()
    );
    let bake_on = |space: &Space, file: &str| {
        space.write("app/docker-bake.hcl", &definition);
        space.write("app/base/Dockerfile", "FROM scratch\nCOPY a /a\n");
        space.write("app/base/a", "a\n");
        space.write("app/Dockerfile", "FROM base AS one\nCOPY b /b\nFROM scratch\nCOPY --from=one /a /b /\n");
        space.write("app/b", file);
        baked(space, "app", &["app", "--allow=fs=*"])
    };
    assert_eq!(bake_on(&first, "b\n"), ["app: COPY --from=one /a /b /", "app: COPY b /b", "base: COPY a /a"]);
    let other = Space::new();
    assert_eq!(bake_on(&other, "c\n"), ["app: COPY --from=one /a /b /", "app: COPY b /b"]);
    assert_eq!(std::fs::read_to_string(other.path("app/out/a")).unwrap(), "a\n");
    other.assert_whole();
}
