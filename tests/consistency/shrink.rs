//! Makes a failing program smaller as long as it fails in the same check.

use crate::checks::{Failure, examine};
use crate::program::{Node, Program, complete, stage};
use std::time::{Duration, Instant};

/// A smaller program that fails the same check, and its failure; no longer than so.
pub fn shrunk(seed: u64, mut states: Vec<Program>, mut failure: Failure, most: Duration) -> (Vec<Program>, Failure) {
    let end = Instant::now() + most;
    let mut again = true;
    while again && Instant::now() < end {
        again = false;
        for cut in cuts(&states) {
            let mut smaller = states.clone();
            cut.apply(&mut smaller);
            if Instant::now() > end || smaller.is_empty() {
                break;
            }
            if let Err(other) = examine(seed, &smaller)
                && alike(&other, &failure)
            {
                (states, failure, again) = (smaller, other, true);
            }
        }
    }
    (states, failure)
}

/// The same check, in the same way: the rest differs from one program to the next.
fn alike(one: &Failure, other: &Failure) -> bool {
    let kind = |failure: &Failure| {
        let text = failure
            .text
            .split_once(": ")
            .filter(|(first, _)| first.starts_with("state"))
            .map_or(failure.text.as_str(), |(_, rest)| rest);
        text.split([' ', ':']).next().unwrap_or_default().to_owned()
    };
    one.check == other.check && kind(one) == kind(other)
}

/// The parts that may be left out.
enum Cut {
    State(usize),
    Stage(String),
    Step(usize),
    File(String),
    Flag(&'static str),
}

fn cuts(states: &[Program]) -> Vec<Cut> {
    let first = &states[0];
    let mut cuts: Vec<Cut> = (1..states.len()).rev().map(Cut::State).collect();
    cuts.extend(first.steps.iter().rev().filter_map(|step| Some(Cut::Stage(stage(&step.text)?.1.to_owned()))));
    let mut steps: Vec<usize> = states.iter().flat_map(|state| &state.steps).map(|step| step.number).collect();
    steps.sort_unstable();
    steps.dedup();
    cuts.extend(steps.into_iter().rev().map(Cut::Step));
    cuts.extend(first.flags.iter().map(|flag| Cut::Flag(flag.0)));
    cuts.extend(first.context.keys().rev().cloned().map(Cut::File));
    cuts
}

impl Cut {
    fn apply(&self, states: &mut Vec<Program>) {
        if let Cut::State(number) = self {
            if *number < states.len() {
                states.remove(*number);
            }
            return;
        }
        for state in states {
            match self {
                Cut::Stage(name) => {
                    let mut inside = false;
                    state.steps.retain(|step| {
                        inside = stage(&step.text).map_or(inside, |stage| stage.1 == name);
                        !inside && !step.text.contains(&format!("from={name}"))
                    });
                }
                Cut::Step(number) => {
                    state.steps.retain(|step| step.number != *number || stage(&step.text).is_some());
                }
                Cut::File(name) => {
                    let below = format!("{name}/");
                    state.context.retain(|path, node| {
                        path != name && !path.starts_with(&below) && !matches!(node, Node::HardLink(of) if of == name)
                    });
                    complete(&mut state.context);
                }
                Cut::Flag(flag) => state.flags.retain(|other| other.0 != *flag),
                Cut::State(_) => {}
            }
        }
    }
}
