//! Plans of the conformance cases: config, history and errors as BuildKit recorded them, without building anything.
#![allow(clippy::unwrap_used, missing_docs)]

use frontend::config::{History, ImageConfig};
use frontend::diagnostic::Diagnostic;
use frontend::plan::{Past, Plan, Request};
use frontend::platform::Platform;
use frontend::resolve::{Resolve, ResolveError, Resolved};
use frontend::text;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The base images of `testdata/conformance/bases.sh`.
struct Bases<'a>(&'a Value);

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn base(name: &str, platform: &Platform) -> Option<ImageConfig> {
    let name = name.strip_prefix("localhost:5000/")?;
    let name = name.split('@').next()?;
    let run = match name.strip_suffix(":latest").unwrap_or(name) {
        "busybox" => json!({"Env": [PATH], "Cmd": ["sh"]}),
        "busybox:onbuild" => json!({"Env": [PATH], "Cmd": ["sh"], "OnBuild": [
            "RUN echo \"trigger one $TRIGGER_ENV\" > /trigger1", "ENV FROM_TRIGGER=yes", "COPY trigger.txt /trigger2"]}),
        "config" => json!({
            "Env": [PATH, "BASE_VAR=base", "EMPTY_VAR=", "SPACED=a b"], "Entrypoint": ["/entry.sh", "base"],
            "Cmd": ["base-cmd", "arg"], "User": "1000:50", "WorkingDir": "/srv/data",
            "Labels": {"org.base": "one", "keep": "base"}, "Volumes": {"/srv/vol": {}},
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "StopSignal": "SIGQUIT", "Shell": ["/bin/sh", "-ec"],
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000_i64, "Retries": 4}}),
        "multi" => json!({"Env": [PATH, format!("IMAGE_ARCH={}", platform.architecture)]}),
        _ => return None,
    };
    let mut config: ImageConfig =
        serde_json::from_value(json!({"architecture": "amd64", "os": "linux", "config": run})).unwrap();
    let past = |text: &str, empty_layer| History { created_by: text.to_owned(), empty_layer, ..History::default() };
    config.history = vec![past("base layer 0", false)];
    config.rootfs.diff_ids = vec!["sha256:layer".to_owned()];
    if name.starts_with("config") {
        config.history.extend([past("base layer 1", false), past("ENV BASE_VAR=base", true)]);
    }
    if name.starts_with("multi") {
        config.history.extend((platform.architecture == "amd64").then(|| past("base layer 1", false)));
        config.architecture.clone_from(&platform.architecture);
        config.variant = (platform.architecture == "arm64").then(|| "v8".to_owned());
    }
    Some(config)
}

impl Resolve for Bases<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Result<Option<Resolved>, ResolveError> {
        match self.0.get(name).and_then(Value::as_str) {
            Some(image) if image.starts_with("docker-image://") => {
                self.image(image.trim_start_matches("docker-image://"), platform).map(Some)
            }
            Some(_) => Ok(Some(Resolved::Context { name: name.to_owned() })),
            None => Ok(None),
        }
    }
    fn image(&self, name: &str, platform: &Platform) -> Result<Resolved, ResolveError> {
        match base(name, platform) {
            Some(config) => Ok(Resolved::Image {
                name: name.to_owned(),
                digest: format!("sha256:{name}"),
                config: Box::new(config),
            }),
            None => Err(ResolveError { message: format!("{name}: not found"), hint: None }),
        }
    }
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn request(args: &Value, env: &Value, platform: &str) -> Request {
    let mut build_args = BTreeMap::new();
    for (name, value) in args["build-arg"].as_object().into_iter().flatten() {
        let value = value.as_str().or_else(|| env.get(name).and_then(Value::as_str));
        build_args.extend(value.map(|value| (name.clone(), value.to_owned())));
    }
    let labels = args["label"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Request {
        target: args["target"].as_str().map(str::to_owned),
        build_args,
        labels: labels.map(|label| label.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        several_platforms: args["platform"].as_str().is_some_and(|platform| platform.contains(',')),
        build_platform: Platform::parse("linux/amd64").unwrap(),
        ..Request::new(Platform::parse(platform).unwrap())
    }
}

fn plan(dockerfile: &[u8], request: &Request, contexts: &Value) -> Result<Plan, Vec<Diagnostic>> {
    frontend::plan(&text::parse(dockerfile)?, request, &Bases(contexts))
}

/// An image as the expectations have it, as far as a plan knows it.
fn image(plan: &Plan) -> Value {
    let squeeze = |text: &str| text.trim_end_matches(" # buildkit").split_whitespace().collect::<Vec<_>>().join(" ");
    let history: Vec<Value> = (plan.history.iter())
        .map(|past| match past {
            Past::Base(base) => json!({"created_by": squeeze(&base.created_by), "empty_layer": base.empty_layer}),
            Past::New { created_by, vertex } => {
                json!({"created_by": squeeze(created_by), "empty_layer": vertex.is_none()})
            }
        })
        .collect();
    let config = serde_json::to_value(&plan.config).unwrap();
    let mut run = config["config"].clone();
    let map = run.as_object_mut().unwrap();
    map.retain(|key, value| key != "ArgsEscaped" && !matches!(value, Value::Array(list) if list.is_empty()));
    if map.get("WorkingDir") == Some(&json!("/")) {
        map.remove("WorkingDir");
    }
    let mut image = json!({"architecture": config["architecture"], "os": config["os"], "config": run});
    for key in ["variant", "author"] {
        if let Some(value) = config.get(key) {
            image[key] = value.clone();
        }
    }
    json!({"config": image, "history": history})
}

fn wanted(image: &Value) -> Value {
    let mut config = image["config"].clone();
    if config["config"]["WorkingDir"] == "/" {
        config["config"].as_object_mut().unwrap().remove("WorkingDir");
    }
    json!({"config": config, "history": image["history"]})
}

/// Cases whose outcome is decided when steps run, not by the plan.
const AT_RUN_TIME: &[&str] = &[
    "bad-tar-gz",
    "chown-name-on-scratch",
    "copy-from-missing-file",
    "copy-missing-dir-part",
    "parents-missing",
    "dockerfile-missing",
    "heredoc-run-fails",
    "exit-code-pipeline",
    "mount-secret-required",
    "network-host-denied",
    "security-insecure-denied",
    "signal-exit",
    "user-unknown",
    "mount-symlink-source",
    "onbuild-bad-trigger-runs",
    "dir-over-file",
    "escaped-space",
    "file-over-dir",
];

fn check(case: &Path) -> Result<(), String> {
    let spec = read(&case.join("case.json"));
    let area = case.parent().unwrap();
    let expected = testdata().join("expected").join(area.file_name().unwrap());
    let expected = read(&expected.join(case.file_name().unwrap()).with_extension("json"));
    let file = spec["args"]["file"].as_str().map(|file| case.join("context").join(file)).filter(|path| path.exists());
    let Ok(source) = std::fs::read(file.unwrap_or_else(|| case.join("Dockerfile"))) else { return Ok(()) };
    let null = Value::Null;
    let (args, env) = (spec.get("args").unwrap_or(&null), spec.get("env").unwrap_or(&null));
    let platforms = args["platform"].as_str().unwrap_or("linux/amd64");
    for platform in platforms.split(',') {
        let plan = plan(&source, &request(args, env, platform), &args["build-context"]);
        match (expected["outcome"].as_str(), plan) {
            (Some("error"), Err(errors)) => {
                let text: String = errors.iter().map(|error| error.render("Dockerfile", &source, false)).collect();
                let text = text.to_lowercase();
                for word in spec["error_contains"].as_array().into_iter().flatten() {
                    let any: Vec<&str> = match word {
                        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
                        word => vec![word.as_str().unwrap()],
                    };
                    if !any.iter().any(|word| text.contains(&word.to_lowercase())) {
                        return Err(format!("the error lacks {any:?}:\n{text}"));
                    }
                }
            }
            (Some("error"), Ok(_)) => return Err("planned, but BuildKit has an error".to_owned()),
            (_, Err(errors)) => return Err(format!("{:?}", errors.iter().map(|e| &e.message).collect::<Vec<_>>())),
            (_, Ok(plan)) => {
                let want = expected
                    .get("image")
                    .unwrap_or(&expected["images"][Platform::parse(platform).unwrap().to_string()]);
                let compare = spec["compare"].as_array();
                let (mut got, mut want) = (image(&plan), wanted(want));
                for part in ["config", "history"] {
                    if compare.is_some_and(|list| !list.contains(&json!(part))) || want[part].is_null() {
                        got.as_object_mut().unwrap().remove(part);
                        want.as_object_mut().unwrap().remove(part);
                    }
                }
                if got != want {
                    return Err(format!("want {want}\n got {got}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn plans_have_the_config_history_and_errors_that_buildkit_recorded() {
    let (mut count, mut failed) = (0, Vec::new());
    for area in std::fs::read_dir(testdata().join("cases")).unwrap() {
        for case in std::fs::read_dir(area.unwrap().path()).unwrap() {
            let case = case.unwrap().path();
            if AT_RUN_TIME.contains(&case.file_name().unwrap().to_str().unwrap()) {
                continue;
            }
            count += 1;
            failed.extend(check(&case).err().map(|why| format!("{}: {why}", case.display())));
        }
    }
    assert!(count > 280, "only {count} cases found");
    failed.sort();
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn ten_thousand_stages_are_planned_and_only_what_is_needed_is_lowered() {
    let mut chain = String::from("FROM scratch AS s0\nWORKDIR /x\n");
    for at in 1..10_000 {
        chain.push_str(&format!("FROM s{} AS s{at}\nWORKDIR /x{at}\n", at - 1));
    }
    let request = request(&json!({}), &json!({}), "linux/amd64");
    assert_eq!(plan(chain.as_bytes(), &request, &json!({})).unwrap().graph.len(), 10_000);
    let single = Request { target: Some("s1".to_owned()), ..request };
    assert_eq!(plan(chain.as_bytes(), &single, &json!({})).unwrap().graph.len(), 2);
}

#[test]
fn steps_are_numbered_as_in_buildkit() {
    let numbers = |dockerfile: &str| {
        let platform = Platform::parse("linux/amd64").unwrap();
        let contexts = json!({"given": "docker-image://localhost:5000/busybox:latest"});
        let plan = plan(dockerfile.as_bytes(), &Request::new(platform), &contexts).unwrap();
        let names = plan.graph.iter().map(|(_, vertex)| vertex.name.clone());
        let number = |name: String| name.strip_prefix('[')?.split_once(']').map(|(number, _)| number.to_owned());
        names.filter_map(number).collect::<Vec<_>>().join(", ")
    };
    let base = "FROM localhost:5000/busybox";
    assert_eq!(numbers(&format!("{base}\nENV A=1\nRUN a\nWORKDIR /w\n")), "1/3, 2/3, 3/3");
    // A FROM of another stage, or of scratch, is no step.
    assert_eq!(numbers(&format!("{base} AS a\nRUN a\nFROM a AS b\nRUN b\n")), "a 1/2, a 2/2, b 1/1");
    assert_eq!(numbers("FROM scratch\nCOPY a /\nCOPY b /\n"), "1/2, 2/2");
    // Every trigger counts, if only in the total and not where the FROM is shown.
    assert_eq!(numbers(&format!("{base}:onbuild\nRUN a\n")), "1/2, 2/5, 3/5, 4/5");
    let own = "FROM scratch AS a\nONBUILD COPY x /\nONBUILD ENV A=1\nFROM a AS b\nCOPY y /\n";
    assert_eq!(numbers(own), "b 1/3, b 2/3");
    // A context that the user gave in place of an image is not shown as a FROM.
    assert_eq!(numbers("FROM given\nRUN a\nRUN b\n"), "context given, 1/3, 2/3");
}
