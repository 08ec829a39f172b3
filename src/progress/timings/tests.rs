//! Constructed events with known times, so that every number is known.

use super::*;
use serde_json::json;

const STEP: u32 = 10;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn begin(report: &mut Report, at: u64, step: u32, name: &str) {
    report.take(ms(at), &Event::Begin { step: StepId(step), name: name.to_owned() });
}

fn end(report: &mut Report, at: u64, step: u32) {
    report.take(ms(at), &Event::End { step: StepId(step), outcome: Outcome::Done, took: Duration::ZERO });
}

fn needs(report: &mut Report, step: u32, inputs: &[u32]) {
    let inputs = inputs.iter().map(|input| StepId(*input)).collect();
    report.take(ms(0), &Event::Needs { step: StepId(step), inputs });
}

/// Resolving a base; a short and a long stage from it, joined by a cached step; and an export.
fn diamond() -> Report {
    let mut report = Report::default();
    begin(&mut report, 1, 1 << 30, "load metadata");
    end(&mut report, 5, 1 << 30);
    needs(&mut report, 0, &[]);
    needs(&mut report, 1, &[0]);
    needs(&mut report, 2, &[0]);
    needs(&mut report, 3, &[2]);
    needs(&mut report, 4, &[1, 3]);
    begin(&mut report, 6, 1, "short");
    begin(&mut report, 7, 2, "long");
    end(&mut report, 20, 1);
    report.take(ms(95), &Event::Phase { step: Some(StepId(2)), name: "run", took: ms(80) });
    end(&mut report, 100, 2);
    report.take(ms(100), &Event::Cached { step: StepId(3), name: "kept".to_owned() });
    begin(&mut report, 101, 4, "join");
    report.take(ms(125), &Event::Phase { step: Some(StepId(1)), name: "settle", took: ms(25) });
    end(&mut report, 120, 4);
    begin(&mut report, 130, STEP, "export");
    end(&mut report, 140, STEP);
    report.total = ms(150);
    report
}

#[test]
fn the_critical_path_goes_through_what_ended_last_and_over_cached_steps() {
    let path = diamond().critical_path();
    assert_eq!(path, [1 << 30, 2, 4, STEP].map(StepId));
}

#[test]
fn the_table_has_the_critical_path_first_and_phases_under_their_steps() {
    let expected = "\
timings: 0.150s in all, 0.126s of it in the steps of the critical path
critical path:
    0.004s  at 0.001s  load metadata
    0.093s  at 0.007s  long
            run 0.080s
    0.019s  at 0.101s  join
    0.010s  at 0.130s  export
beside it:
    0.014s  at 0.006s  short
            settle 0.025s
";
    assert_eq!(diamond().table(), expected);
}

#[test]
fn the_json_names_steps_inputs_and_phases() {
    let json = diamond().json();
    assert_eq!(json["seconds"], 0.15);
    assert_eq!(json["criticalPath"], json!([1 << 30, 2, 4, STEP]));
    let step =
        |number: u32| json["steps"].as_array().and_then(|steps| steps.iter().find(|step| step["step"] == number));
    let long = step(2).expect("the long step");
    assert_eq!((&long["name"], &long["outcome"], &long["inputs"]), (&json!("long"), &json!("done"), &json!([0])));
    assert_eq!(long["phases"], json!([{"name": "run", "start": 0.015, "seconds": 0.08}]));
    assert_eq!(step(3).map(|step| &step["outcome"]), Some(&json!("cached")));
    assert!(step(0).is_none(), "a source took no time and is not told");
}

/// Checks the rules of the Trace Event Format that viewers rely on.
#[test]
fn the_trace_nests_boxes_and_every_arrow_has_two_ends() {
    let trace = trace::of(&diamond());
    let events = trace["traceEvents"].as_array().expect("a list");
    let of = |ph: &str| events.iter().filter(|event| event["ph"] == ph).collect::<Vec<_>>();
    for event in events {
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        assert!(event["ph"] == "M" || (event["ts"].is_number() && event["tid"].is_u64()), "{event}");
    }
    let boxes: Vec<(u64, f64, f64)> = of("X")
        .iter()
        .filter_map(|event| Some((event["tid"].as_u64()?, event["ts"].as_f64()?, event["dur"].as_f64()?)))
        .map(|(lane, at, took)| (lane, at, at + took))
        .collect();
    for one in &boxes {
        for two in boxes.iter().filter(|two| two.0 == one.0) {
            let apart = one.2 <= two.1 || two.2 <= one.1;
            let nested = (one.1 <= two.1 && two.2 <= one.2) || (two.1 <= one.1 && one.2 <= two.2);
            assert!(apart || nested, "{one:?} and {two:?} cross");
        }
    }
    let ids = |ph: &str| of(ph).iter().map(|event| event["id"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ids("s"), ids("f"));
    assert_eq!(ids("s").len(), 2, "long to join, short to join");
    assert!(of("i").iter().any(|event| event["name"] == "cached: kept"));
}

#[test]
fn a_step_that_never_ended_ends_with_the_build_and_no_time_is_told_of_an_empty_one() {
    let timings = Timings::begin();
    timings.event(SystemTime::now(), &Event::Begin { step: StepId(1), name: "hangs".to_owned() });
    assert!(timings.table().contains("hangs"));
    assert_eq!(Report::default().critical_path(), []);
    assert!(Timings::begin().table().starts_with("timings: 0.0"));
}
