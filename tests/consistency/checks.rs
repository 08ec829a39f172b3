//! The comparisons: every way to build a state against a build of it that uses nothing from before.

use crate::edit::edited;
use crate::generate;
use crate::image::{Image, based, difference};
use crate::program::Program;
use crate::random::Random;
use crate::world::{Outcome, World};
use std::time::{Duration, Instant};

/// A difference: in which check, and how.
#[derive(Debug)]
pub struct Failure {
    pub check: &'static str,
    pub text: String,
}

type Check = fn(&mut Trial<'_>) -> Result<(), Failure>;

/// The tries beside edits; each seed tries one, after all states were built.
const BESIDES: [(&str, Check); 4] = [
    ("two at once", two_at_once),
    ("after prune", after_prune),
    ("after kill -9", after_kill),
    ("through a remote cache", through_a_remote_cache),
];

/// Why a program may be refused. Every other error is kiln's own: steps always succeed. (Below a mount that is read
/// only, a further mount point or the working directory can't be made.)
const REFUSALS: [&str; 3] = ["was not found", "of the target", "Read-only file system"];

/// The states of a seed's program, first to last.
pub fn states(seed: u64) -> Vec<Program> {
    let mut random = Random::new(seed);
    let mut states = vec![generate::program(&mut random, seed)];
    for _ in 0..3 {
        let next = edited(&mut random, &states);
        states.push(next);
    }
    states
}

/// A run through the checks; `store` has seen every state so far.
struct Trial<'a> {
    world: World,
    states: &'a [Program],
    random: Random,
    stores: usize,
    cold: Duration,
    /// The outcome of each state; each was compared with a build without a past.
    built: Vec<Outcome>,
}

/// Nothing if all came out the same; the error of a program that can't be built at all.
pub fn examine(seed: u64, states: &[Program]) -> Result<Option<String>, Failure> {
    let random = Random::new(!seed);
    let mut trial = Trial { world: World::new(), states, random, stores: 0, cold: Duration::ZERO, built: Vec::new() };
    trial.world.enter(&states[0]);
    let begun = Instant::now();
    let cold = trial.build("cold", "store", &[])?;
    trial.cold = begun.elapsed();
    match &cold.image {
        Ok(image) => trial.warm(image)?,
        Err(text) => return Ok(Some(text.clone())),
    }
    trial.built.push(cold);
    let kinds = BESIDES.len();
    let (name, beside) = BESIDES[usize::try_from(seed).unwrap() % kinds];
    for (number, state) in states.iter().enumerate().skip(1) {
        trial.world.enter(state);
        if name == "after kill -9" {
            trial.killed("store");
        }
        let edited = trial.build("after an edit", "store", &[])?;
        trial.equal("after an edit", &edited, false).map_err(|failure| failure.at(number))?;
        trial.built.push(edited);
    }
    beside(&mut trial)?;
    trial.world.kiln("store", &["fsck"]).map_err(|text| Failure { check: "fsck", text })?;
    Ok(None)
}

impl Failure {
    fn at(self, state: usize) -> Failure {
        Failure { text: format!("state {state}: {}", self.text), ..self }
    }
}

impl Trial<'_> {
    /// Builds what the world is in. An image must be a valid one; a failure must be the program's own.
    fn build(&mut self, check: &'static str, store: &str, more: &[&str]) -> Result<Outcome, Failure> {
        let outcome = self.world.build(store, more);
        self.sound(check, outcome)
    }

    fn sound(&self, check: &'static str, outcome: Outcome) -> Result<Outcome, Failure> {
        let wrong = match &outcome.image {
            Ok(image) => based(image, self.world.base()).err(),
            Err(text) => (!REFUSALS.iter().any(|words| text.contains(words))).then(|| text.clone()),
        };
        wrong.map_or(Ok(outcome), |text| Err(Failure { check, text: last_error(&text).to_owned() }))
    }

    fn empty_store(&mut self) -> String {
        self.stores += 1;
        format!("store{}", self.stores)
    }

    /// The state at hand, built in an empty store without a cache.
    fn fresh(&mut self) -> Result<Outcome, Failure> {
        let store = self.empty_store();
        let outcome = self.build("--no-cache", &store, &["--no-cache"]);
        self.world.forget(&store);
        outcome
    }

    /// An outcome must be that of a build without a past.
    fn equal(&mut self, check: &'static str, found: &Outcome, times: bool) -> Result<(), Failure> {
        let fresh = self.fresh()?;
        same(check, &fresh, found, times)
    }

    /// The same again: the same layers, and nothing runs.
    fn warm(&mut self, cold: &Image) -> Result<(), Failure> {
        let warm = self.build("warm", "store", &[])?;
        let Ok(image) = &warm.image else { return same("warm", &warm, &warm, true) };
        let ran = !self.world.runs_again() && !warm.ran.is_empty();
        let text = match difference(cold, image, !self.world.runs_again()) {
            None if ran => format!("ran again: {:?}", warm.ran),
            None => return Ok(()),
            Some(text) => text,
        };
        Err(Failure { check: "warm", text })
    }

    /// Ends two builds of the state at hand at moments of their own.
    fn killed(&mut self, store: &str) {
        for _ in 0..2 {
            let begun = self.world.begin(store, &[]);
            let share = u32::try_from(self.random.below(100)).unwrap();
            self.world.kill(begun, self.cold * share / 100);
        }
    }
}

/// The last words, after all progress.
fn last_error(text: &str) -> &str {
    text.rfind("\nerror").map_or(text, |at| &text[at + 1..])
}

fn same(check: &'static str, wanted: &Outcome, found: &Outcome, times: bool) -> Result<(), Failure> {
    let text = match (&wanted.image, &found.image) {
        (Ok(wanted), Ok(found)) => difference(wanted, found, times),
        (Err(_), Err(_)) => None,
        (Ok(_), Err(text)) => Some(format!("fails: {}", last_error(text))),
        (Err(text), Ok(_)) => Some(format!("builds, and must fail: {}", last_error(text))),
    };
    text.map_or(Ok(()), |text| Err(Failure { check, text }))
}

/// Two builds side by side, of one state or of two, in the store that knows much and in one that knows nothing.
fn two_at_once(trial: &mut Trial<'_>) -> Result<(), Failure> {
    let check = "two at once";
    let (last, before) = (trial.states.len() - 1, trial.states.len().saturating_sub(2));
    for (store, other) in [("store", last), ("store", before), ("both", before)] {
        let begun = [trial.world.begin(store, &[]), trial.world.begin_aside(&trial.states[other], store)];
        let ended = begun.map(|begun| trial.world.end(begun));
        for (outcome, state) in ended.iter().zip([last, other]) {
            same(check, &trial.built[state], outcome, false).map_err(|failure| failure.at(state))?;
        }
    }
    Ok(())
}

fn after_prune(trial: &mut Trial<'_>) -> Result<(), Failure> {
    let wanted = trial.fresh()?;
    let ways: &[&[&str]] = &[
        &["--max-used-space", "2300kb", "--keep-duration", "0s"],
        &["--max-used-space", "100kb"],
        &["--filter", "description~=COPY"],
        &["--filter", "type=regular"],
        &["--all"],
    ];
    for way in trial.random.some(ways, 3, 3) {
        let prune = trial.world.kiln("store", &[&["prune"], way].concat());
        prune.map_err(|text| Failure { check: "prune", text })?;
        let found = trial.build("after prune", "store", &[])?;
        same("after prune", &wanted, &found, false)
            .map_err(|failure| Failure { text: format!("{way:?}: {}", failure.text), ..failure })?;
    }
    Ok(())
}

/// The edits' builds were killed before they were built; here one in a store that knows nothing.
fn after_kill(trial: &mut Trial<'_>) -> Result<(), Failure> {
    trial.killed("young");
    let found = trial.build("after kill -9", "young", &[])?;
    trial.equal("after kill -9", &found, false)?;
    trial.world.kiln("young", &["fsck"]).map_err(|text| Failure { check: "fsck after kill -9", text })
}

/// Another machine gets the state before the last edit from a cache, runs nothing, and then builds the last one.
fn through_a_remote_cache(trial: &mut Trial<'_>) -> Result<(), Failure> {
    let check = "through a remote cache";
    let (last, before) = (trial.states.len() - 1, trial.states.len().saturating_sub(2));
    trial.world.enter(&trial.states[before]);
    let sent = trial.build(check, "store", &["--cache-to", "type=local,dest=cache"])?;
    trial.equal(check, &sent, false)?;
    let from = ["--cache-from", "type=local,src=cache"];
    let got = trial.build(check, "away", &from)?;
    same(check, &sent, &got, !trial.world.runs_again())?;
    if sent.image.is_ok() && !got.ran.is_empty() && !trial.world.runs_again() {
        return Err(Failure { check, text: format!("ran again: {:?}", got.ran) });
    }
    trial.world.enter(&trial.states[last]);
    let found = trial.build(check, "further", &from)?;
    trial.equal(check, &found, false).map_err(|failure| failure.at(last))
}
