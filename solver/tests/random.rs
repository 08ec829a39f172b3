//! Random graphs, edits and losses over one cache, held against an oracle that simply executes everything.
//!
//! Every build must give what the oracle gives, whatever was remembered before, lost, or run again; a build in which
//! nothing changed must run nothing; what must run again runs; and no step's layer is older than a layer below it.
//! `SOLVER_SEEDS=100000` looks further. A failure names its seed: `SOLVER_SEED=17` repeats it alone.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "random/cache.rs"]
mod cache;
#[path = "random/program.rs"]
mod program;
#[path = "random/toys.rs"]
mod toys;

use cache::Lossy;
use program::{Program, Random};
use solver::{Event, Observer, Task, VertexId, solve};
use std::time::SystemTime;
use toys::{Stack, Toys};

/// Programs of a usual run, and builds of each.
const SEEDS: u64 = 1500;
const BUILDS: usize = 6;

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: SystemTime, _: &Event) {}
}

/// One build: what came out for each target.
fn build(program: &Program, toys: &Toys, cache: &Lossy, fresh: &[VertexId], jobs: usize) -> Vec<Stack> {
    let is_fresh = |id: VertexId| fresh.contains(&id);
    let task =
        Task { graph: &program.graph, targets: &program.targets, fresh: &is_fresh, jobs: &|| jobs, first_step: 0 };
    solve(&task, toys, cache, &Nobody).unwrap_or_else(|failure| panic!("{failure:?}"))
}

fn check(program: &Program, toys: &Toys, outputs: &[Stack]) {
    let expected = toys.execute(&program.graph);
    for (target, output) in program.targets.iter().zip(outputs) {
        let contents: Vec<u64> = output.iter().map(|layer| layer.content).collect();
        assert_eq!(contents, expected[target.index()], "vertex {}", target.index());
        for (at, layer) in output.iter().enumerate().filter(|(_, layer)| layer.ran) {
            let newest = output[..at].iter().map(|below| below.made).max().unwrap_or(0);
            assert!(newest <= layer.made, "a step's layer is older than what is below it: {output:?}");
        }
    }
}

/// One program and its edits.
fn play(seed: u64) {
    let mut random = Random::new(seed);
    let (toys, cache) = (Toys::default(), Lossy::default());
    let mut program = Program::random(&mut random);
    for _ in 0..BUILDS {
        let fresh = program.some_fresh(&mut random);
        let jobs = if random.chance(10) { 3 } else { 1 };
        if random.chance(10) {
            // Another build of something similar at the same time.
            let mut other = program.clone();
            other.edit(&mut random, &toys);
            std::thread::scope(|scope| {
                scope.spawn(|| check(&other, &toys, &build(&other, &toys, &cache, &[], jobs)));
                check(&program, &toys, &build(&program, &toys, &cache, &fresh, jobs));
            });
            toys.take_ran();
        } else {
            check(&program, &toys, &build(&program, &toys, &cache, &fresh, jobs));
            let ran = toys.take_ran();
            for id in program.reached().into_iter().filter(|id| fresh.contains(id)) {
                assert!(ran.contains(&program.graph.get(id).op), "vertex {} did not run again", id.index());
            }
        }
        if random.chance(50) {
            check(&program, &toys, &build(&program, &toys, &cache, &[], jobs));
            toys.take_ran();
            check(&program, &toys, &build(&program, &toys, &cache, &[], jobs));
            assert_eq!(toys.take_ran(), [], "nothing changed");
        }
        match random.below(10) {
            0 => cache.lose(&mut random),
            1 => toys.lose(&mut random),
            2 => program = Program::random(&mut random),
            _ => (),
        }
        (0..1 + random.below(3)).for_each(|_| program.edit(&mut random, &toys));
    }
}

#[test]
fn every_build_gives_what_executing_everything_gives() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SOLVER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SOLVER_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if std::panic::catch_unwind(|| play(seed)).is_err() {
            panic!("seed {seed}");
        }
    }
}
