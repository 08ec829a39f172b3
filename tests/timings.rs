//! Where the time went, of real builds: the table, the metadata, the trace.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, needs, registry};
use serde_json::Value;

fn json(space: &Space, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(space.path(name)).unwrap()).unwrap()
}

fn step<'a>(timings: &'a Value, name: &str) -> &'a Value {
    let steps = timings["steps"].as_array().unwrap();
    steps
        .iter()
        .find(|step| step["name"].as_str().unwrap().contains(name))
        .unwrap_or_else(|| panic!("{name}: {timings}"))
}

fn phases(step: &Value) -> Vec<&str> {
    step["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect()
}

#[test]
fn a_build_says_where_its_time_went_and_only_when_it_is_asked() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    let base = &registry().0;
    space.write("app/f", "one\n");
    let text = format!(
        "FROM {base}/busybox AS slow\nRUN sleep 0.3; echo slow > /o\nFROM {base}/busybox AS fast\nCOPY f /o\n\
         FROM {base}/busybox\nCOPY --from=slow /o /slow\nCOPY --from=fast /o /fast\n"
    );
    space.write("app/Dockerfile", &text);
    let asked = ["--timings", "--trace", "t.json", "--metadata-file", "m.json", "app"];
    let built = space.built(&asked);
    let (table, beside) = built.stderr.split_once("critical path:").unwrap().1.split_once("beside it:").unwrap();
    assert!(table.contains("RUN sleep") && table.contains("COPY --from=slow"), "{table}");
    assert!(beside.contains("COPY f"), "{beside}");

    let timings = &json(&space, "m.json")["kiln.timings"];
    assert!(timings["seconds"].as_f64().unwrap() >= 0.3);
    let run = step(timings, "RUN sleep");
    let wanted = ["pull", "unpack", "run", "harvest", "settle"];
    assert!(wanted.iter().all(|name| phases(run).contains(name)), "{run}");
    let path = timings["criticalPath"].as_array().unwrap();
    assert!(path.contains(&run["step"]) && !path.contains(&step(timings, "COPY f")["step"]), "{timings}");
    let join = step(timings, "COPY --from=slow");
    assert!(join["inputs"].as_array().unwrap().contains(&run["step"]), "{join}");

    let trace = json(&space, "t.json");
    let events = trace["traceEvents"].as_array().unwrap();
    let boxed = |name: &str| events.iter().any(|event| event["ph"] == "X" && event["name"].as_str() == Some(name));
    assert!(boxed(run["name"].as_str().unwrap()) && boxed("run") && boxed("plan"), "{trace}");

    let again = space.built(&asked);
    assert_eq!(again.ran, [""; 0]);
    assert_eq!(step(&json(&space, "m.json")["kiln.timings"], "RUN sleep")["outcome"], "cached");

    let plain = space.built(&["--metadata-file", "m.json", "app"]);
    assert!(!plain.stderr.contains("timings"));
    assert!(json(&space, "m.json")["kiln.timings"].is_null());
}

#[test]
fn a_build_that_fails_says_it_too() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    space.write("app/Dockerfile", &format!("FROM {}/busybox\nRUN false\n", registry().0));
    let built = space.build(&["--timings", "--trace", "t.json", "app"]);
    assert!(!built.ok && built.stderr.contains("critical path:"), "{}", built.stderr);
    assert!(json(&space, "t.json")["traceEvents"].is_array());
}
