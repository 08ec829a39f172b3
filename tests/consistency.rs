//! Random programs and edits of them, built in every way that must give the same image: in an empty store, again, after
//! each edit, two at once, after a prune, after kill -9, through a remote cache. No other builder is needed.
//!
//! `KILN_CONSISTENCY=7` examines one seed, `KILN_CONSISTENCY=100..400` many; `KILN_BINARY` another kiln. A failure prints the program, made smaller,
//! and how to see it again.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "common/archives.rs"]
mod archives;
#[path = "consistency/checks.rs"]
mod checks;
mod common;
#[path = "consistency/edit.rs"]
mod edit;
#[path = "consistency/generate.rs"]
mod generate;
#[path = "consistency/image.rs"]
mod image;
#[path = "consistency/program.rs"]
mod program;
#[path = "consistency/random.rs"]
mod random;
#[path = "consistency/shell.rs"]
mod shell;
#[path = "consistency/shrink.rs"]
mod shrink;
#[path = "consistency/world.rs"]
mod world;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The seeds of a usual run: about a minute on two cores that do nothing else. After BUDGET it begins no further one,
/// but on the slowest machine it still examines LEAST of them.
const USUAL: Range<u64> = 0..100;
const BUDGET: Duration = Duration::from_secs(90);
const LEAST: u64 = 40;

/// How long a failing program is made smaller.
const SHRINK: Duration = Duration::from_secs(40);

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("KILN_CONSISTENCY: {text:?} is no number"));
    match std::env::var("KILN_CONSISTENCY") {
        Err(_) => USUAL,
        Ok(text) => match text.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => number(&text)..number(&text) + 1,
        },
    }
}

#[test]
fn every_way_to_build_a_program_gives_the_same_image() {
    common::needs!("docker-registry", "busybox");
    common::registry();
    let (seeds, begun) = (seeds(), Instant::now());
    let (next, refused, failed) = (AtomicU64::new(seeds.start), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let bounded = std::env::var_os("KILN_CONSISTENCY").is_none();
    let work = || {
        while !bounded || begun.elapsed() < BUDGET || next.load(Ordering::SeqCst) < seeds.start + LEAST {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return;
            }
            match checks::examine(seed, &checks::states(seed)) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    let why = text.lines().find(|line| line.starts_with("error")).unwrap_or_default();
                    println!("seed {seed} is refused: {why}");
                    refused.fetch_add(1, Ordering::SeqCst);
                }
                Err(failure) => {
                    println!("seed {seed}: {}: {}", failure.check, failure.text);
                    failed.lock().unwrap().push((seed, failure));
                }
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let (refused, mut failed) = (refused.into_inner(), failed.into_inner().unwrap());
    let count = usize::try_from(next.into_inner().min(seeds.end) - seeds.start).unwrap();
    println!("{count} programs: {refused} refused, {} failed, {:?}", failed.len(), begun.elapsed());
    let wanted = usize::try_from(seeds.end - seeds.start).unwrap();
    if count < wanted {
        common::visible(&format!("CUT OFF: {count} of {wanted} programs in {:?}", begun.elapsed()));
    }
    assert!(!bounded || count >= usize::try_from(LEAST).unwrap(), "only {count} programs were examined");
    failed.sort_by_key(|(seed, _)| *seed);
    let all: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    if let Some((seed, failure)) = failed.into_iter().next() {
        let (states, failure) = shrink::shrunk(seed, checks::states(seed), failure, SHRINK);
        let shown: Vec<String> =
            states.iter().enumerate().map(|(at, state)| format!("--- state {at}: {}", state.show())).collect();
        panic!(
            "{}: {}\n{}\nof the seeds {all:?}; again: KILN_CONSISTENCY={seed} cargo test --test consistency",
            failure.check,
            failure.text,
            shown.join("\n")
        );
    }
    // A program that is refused says little: most must build.
    assert!(count < 20 || refused * 4 < count, "{refused} of {count} programs were refused");
}

/// Writes programs and an edit of each, for the recorder of `testdata/programs`: KILN_PROGRAMS=FILE.
#[test]
#[ignore = "writes a file for a recorder"]
fn candidates_are_written() {
    let Ok(file) = std::env::var("KILN_PROGRAMS") else { return };
    let lines = (10_000..12_000).map(|seed| {
        let states = checks::states(seed);
        let [mut before, mut after] = [&states[0], &states[1]].map(program::as_json);
        let (whole, edited) = (before.as_object_mut().unwrap(), after.as_object_mut().unwrap());
        edited.remove("steps");
        edited.retain(|name, value| whole[name] != *value);
        whole.insert("edit".to_owned(), after);
        whole.insert("seed".to_owned(), seed.into());
        format!("{before}\n")
    });
    std::fs::write(file, lines.collect::<String>()).unwrap();
}
