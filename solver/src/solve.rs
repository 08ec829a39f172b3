//! The solver: demand-driven from the target, the cheapest question first. Knows no op, no file, no container.
//!
//! 1. Forward over the target's ancestors: written keys (`demand`), which need no result.
//! 2. Backward from the target: a vertex found under its written key is done, and nothing below it is looked at;
//!    for any other vertex its inputs are wanted too (`demand`).
//! 3. One thread (this one) owns all state; workers do what is ready and send results back.
//!    A ready vertex takes the lock of its key, looks again, asks for its settled key where a settled record exists
//!    for its description, and only then runs. What ran is recorded at once; its settled record follows in the
//!    background, while other steps run.
//!
//! Vertices of a stage that must be fresh are not looked up. What stands on a fresh result is not looked up by
//! its written key either, because that key does not say which of the two results it means; the settled key does.

use crate::demand::{Demand, State};
use crate::engine::{Cache, Engine, Found, Room, Shelf, Step, Take};
use crate::event::{Event, Observer, Outcome, StepId, phase};
use crate::graph::{Graph, VertexId};
use crate::key::{Describe, Key, key_and_print, key_of, print_of};
use crate::work::{Job, Pool};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// How often the locks of other processes' steps are tried again.
const LOCK_POLL: Duration = Duration::from_millis(15);
/// How often the user's wish to stop is looked at while steps run.
const STOP_POLL: Duration = Duration::from_millis(50);

/// The targets, and how to solve them.
pub struct Task<'a, Op> {
    /// The graph.
    pub graph: &'a Graph<Op>,
    /// The vertices whose outputs are wanted.
    pub targets: &'a [VertexId],
    /// True if a vertex must run even if its result is remembered.
    pub fresh: &'a (dyn Fn(VertexId) -> bool + Sync),
    /// How many steps may run at once. Asked when the first is about to.
    pub jobs: &'a (dyn Fn() -> usize + Sync),
    /// The id of the graph's first vertex in the stream of events.
    pub first_step: u32,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Failure<E> {
    /// A vertex failed; everything else was stopped.
    Failed {
        /// The vertex.
        vertex: VertexId,
        /// Why.
        error: E,
    },
    /// The user wished the build to end.
    Stopped,
}

/// Solves the targets; their outputs come in the order of `task.targets`.
pub fn solve<E, C>(
    task: &Task<'_, E::Op>,
    engine: &E,
    cache: &C,
    observer: &dyn Observer,
) -> Result<Vec<E::Output>, Failure<E::Error>>
where
    E: Engine,
    C: Cache<E::Output>,
{
    let solver = Solver { task, engine, cache, observer };
    if observer.wants_phases() {
        solver.show_needs();
    }
    let mut demand = phase(observer, None, "look up", || Demand::of(task, engine, cache))?;
    solver.show_cached(&demand);
    if !demand.all_done() {
        solver.work(&mut demand)?;
    }
    let outputs = task.targets.iter().map(|&target| demand.output(target).cloned());
    outputs.collect::<Option<Vec<_>>>().ok_or(Failure::Stopped)
}

/// The vertices whose work is wanted and not known by their written keys: those that will most likely run. Nothing is
/// done, and nobody is told.
pub fn missing<E, C>(task: &Task<'_, E::Op>, engine: &E, cache: &C) -> Result<Vec<VertexId>, Failure<E::Error>>
where
    E: Engine,
    C: Cache<E::Output>,
{
    let demand = Demand::of(task, engine, cache)?;
    let runs = |id: &VertexId| demand.written(*id).is_some() && !demand.has_equal(*id);
    let wanted = |id: &VertexId| matches!(demand.state(*id), State::Wanted) && runs(id);
    Ok(task.graph.iter().map(|(id, _)| id).filter(wanted).collect())
}

pub(crate) struct Solver<'a, E: Engine, C> {
    pub(crate) task: &'a Task<'a, E::Op>,
    pub(crate) engine: &'a E,
    pub(crate) cache: &'a C,
    observer: &'a dyn Observer,
}

/// A worker's answer.
enum Message<E: Engine> {
    /// A step ended.
    Done { id: VertexId, result: Result<Solved<E>, E::Error>, began: Option<Instant> },
    /// A settled record was written, or could not be.
    Settled,
}

struct Solved<E: Engine> {
    output: E::Output,
    /// True if the settled record still has to be written, and its key and text if they are known already.
    unsettled: Option<Option<(Key, String)>>,
}

impl<E: Engine, C: Cache<E::Output>> Solver<'_, E, C> {
    /// The loop: everything that changes state happens here.
    fn work(&self, demand: &mut Demand<E>) -> Result<(), Failure<E::Error>> {
        demand.weigh(self.task.graph, self.engine);
        let jobs = (self.task.jobs)().max(1);
        let pool = Pool::new(jobs);
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            let result = self.turn(demand, jobs, &pool, scope, &sender, &receiver);
            pool.close(result.is_err());
            result
        })
    }

    fn turn<'job, 'scope, 'env>(
        &'job self,
        demand: &mut Demand<E>,
        jobs: usize,
        pool: &'env Pool<'job>,
        scope: &'scope std::thread::Scope<'scope, 'env>,
        sender: &Sender<Message<E>>,
        receiver: &Receiver<Message<E>>,
    ) -> Result<(), Failure<E::Error>> {
        let mut failure: Option<Failure<E::Error>> = None;
        let (mut running, mut settling) = (0_usize, 0_usize);
        loop {
            if failure.is_none() {
                // No more than there are threads for: what becomes ready meanwhile may be more urgent.
                while running < jobs
                    && let Some(id) = demand.next_ready()
                {
                    if let Some((found, how)) = demand.found(id) {
                        if let Err(error) = self.finish_found(demand, id, &found, how) {
                            failure = Some(self.fail(id, error, None, failure.take()));
                            break;
                        }
                    } else if let Some(room) = self.full(running) {
                        self.put_off(demand, id, room);
                    } else if let Some(lock) = self.lock(demand, id) {
                        running += 1;
                        pool.run(scope, self.step_job(demand, id, lock, sender.clone()));
                    }
                }
            }
            if running == 0 && (failure.is_some() || (demand.waiters().is_empty() && settling == 0)) {
                return failure.map_or(Ok(()), Err);
            }
            if failure.is_none() && self.engine.stopped() {
                self.engine.stop();
                failure = Some(Failure::Stopped);
                continue;
            }
            let pause = if demand.waiters().is_empty() { STOP_POLL } else { LOCK_POLL };
            match receiver.recv_timeout(pause) {
                Ok(Message::Settled) => settling -= 1,
                Ok(Message::Done { id, result: Ok(solved), began }) => {
                    running -= 1;
                    self.end(id, Outcome::Done, began);
                    if let Some(settled) = solved.unsettled.filter(|_| failure.is_none()) {
                        settling += 1;
                        pool.later(scope, self.settle_job(demand, id, solved.output.clone(), settled, sender.clone()));
                    }
                    demand.finish(id, solved.output);
                }
                Ok(Message::Done { id, result: Err(error), began }) => {
                    running -= 1;
                    failure = Some(self.fail(id, error, began, failure));
                }
                // Nothing came in time: only a look at the locks and at the user's wish.
                Err(_) => assert!(!pool.panicked(), "BUG: a worker panicked"),
            }
            demand.retry_waiters();
        }
    }

    /// Keeps the first failure: what fails after it was most likely stopped because of it.
    fn fail(
        &self,
        id: VertexId,
        error: E::Error,
        began: Option<Instant>,
        earlier: Option<Failure<E::Error>>,
    ) -> Failure<E::Error> {
        let stopped = earlier.is_some() || self.engine.stopped();
        let outcome = if stopped { Outcome::Stopped } else { Outcome::Failed(error.to_string()) };
        self.end(id, outcome, began);
        match earlier {
            Some(earlier) => earlier,
            None => {
                self.engine.stop();
                if stopped { Failure::Stopped } else { Failure::Failed { vertex: id, error } }
            }
        }
    }

    /// The lock of the vertex's key, or none while somebody else has it. `Some(None)` where no lock is wanted.
    fn lock(&self, demand: &mut Demand<E>, id: VertexId) -> Option<Option<C::Lock>> {
        let Some(key) = demand.written(id).filter(|_| !demand.is_fresh(id)) else { return Some(None) };
        match self.cache.try_lock(&key) {
            Ok(lock) => Some(Some(lock)),
            Err(owner) => {
                self.put_off(demand, id, Some(&format!("the same step of {owner}")));
                None
            }
        }
    }

    /// Why no step may begin beside those that run; `Some(None)` where there is nothing to tell yet.
    fn full(&self, running: usize) -> Option<Option<&'static str>> {
        match if running == 0 { Room::Free } else { self.engine.room(running) } {
            Room::Free => None,
            Room::Unknown => Some(None),
            Room::Short(what) => Some(Some(what)),
        }
    }

    /// The step is tried again soon. What it waits for is told once.
    fn put_off(&self, demand: &mut Demand<E>, id: VertexId, what: Option<&str>) {
        demand.wait(id);
        if let Some(what) = what
            && demand.tell(id)
        {
            let name = self.task.graph.get(id).name.clone();
            let event = Event::Waiting { step: self.step(id), name, what: what.to_owned() };
            self.observer.event(SystemTime::now(), &event);
        }
    }

    fn step_job<'job>(
        &'job self,
        demand: &Demand<E>,
        id: VertexId,
        lock: Option<C::Lock>,
        sender: Sender<Message<E>>,
    ) -> Job<'job>
    where
        E: 'job,
        C::Lock: 'job,
    {
        let inputs = demand.inputs(self.task.graph, id);
        let (fresh, written, tainted) = (demand.is_fresh(id), demand.written(id), demand.is_tainted(id));
        let printed = written.map(|_| demand.printed(self.task.graph, self.engine, id)).unwrap_or_default();
        Box::new(move || {
            let step = Step { graph: self.task.graph, id, inputs: &inputs, fresh, written, earlier: None };
            let began = Mutex::new(None);
            let result = self.solve_step(&step, printed, tainted, &began);
            drop(lock);
            let began = began.into_inner().unwrap_or(None);
            // The owner only stops listening when the build is over.
            let _ = sender.send(Message::Done { id, result, began });
        })
    }

    /// The questions in order, the work last. Runs on a worker.
    fn solve_step(
        &self,
        step: &Step<'_, E>,
        printed: String,
        tainted: bool,
        began: &Mutex<Option<Instant>>,
    ) -> Result<Solved<E>, E::Error> {
        let name = || self.task.graph.get(step.id).name.clone();
        let cached = |output| {
            self.observer.event(SystemTime::now(), &Event::Cached { step: self.step(step.id), name: name() });
            Ok(Solved { output, unsettled: None })
        };
        let Some(written) = step.written else {
            // A source has no base.
            return Ok(Solved { output: self.engine.run(step)?, unsettled: None });
        };
        // Somebody else may have ended the same step between the first look and the lock.
        if !step.fresh
            && !tainted
            && let Some(found) = self.find(Shelf::Written, &written)
        {
            return cached(self.own(step, &found, Found::Written)?);
        }
        let earlier = self.cache.get(Shelf::Described, &self.described(step.id));
        let known = !step.fresh && !earlier.is_empty();
        let earlier = earlier.into_iter().find(|output| self.engine.usable(output));
        let settled = if known { Some(self.phase(step.id, "key", || self.settled(step))?) } else { None };
        if let Some((key, _)) = &settled
            && let Some(output) = self.find_own(step, Shelf::Settled, key, Found::Settled)?
        {
            self.cache.put(Shelf::Written, &written, &output, &printed);
            return cached(output);
        }
        if let Ok(mut began) = began.lock() {
            *began = Some(Instant::now());
        }
        self.observer.event(SystemTime::now(), &Event::Begin { step: self.step(step.id), name: name() });
        let step = &Step { earlier: earlier.as_ref(), ..*step };
        let made = self.engine.run(step)?;
        let mut output = self.stack(step, &made)?;
        if known {
            let (same, _) = self.phase(step.id, "compare", || self.same(step.id, &output))?;
            if self.find(Shelf::Same, &same).is_some() {
                self.engine.came_out_the_same(step.id);
            }
            output = self.find_own(step, Shelf::Same, &same, Found::Same)?.unwrap_or(output);
        }
        self.cache.put(Shelf::Written, &written, &output, &printed);
        Ok(Solved { output, unsettled: Some(settled) })
    }

    /// Writes what only later builds need: the settled record, and the content of the result.
    fn settle_job<'job>(
        &'job self,
        demand: &Demand<E>,
        id: VertexId,
        output: E::Output,
        settled: Option<(Key, String)>,
        sender: Sender<Message<E>>,
    ) -> Job<'job>
    where
        E: 'job,
    {
        let inputs = demand.inputs(self.task.graph, id);
        let (fresh, written) = (demand.is_fresh(id), demand.written(id));
        Box::new(move || {
            let step = Step { graph: self.task.graph, id, inputs: &inputs, fresh, written, earlier: None };
            self.phase(id, "ahead", || self.engine.ahead(id, &output));
            // A record that can't be made is a miss of a later build, not a failure of this one.
            self.phase(id, "settle", || {
                let settled = settled.map_or_else(|| self.settled(&step), Ok);
                if let (Ok((settled, content)), Ok((same, result))) = (settled, self.same(id, &output)) {
                    self.cache.put(Shelf::Same, &same, &output, &result);
                    self.cache.put(Shelf::Settled, &settled, &output, &content);
                    let op = print_of(|to| self.task.graph.get(id).op.describe(to));
                    self.cache.put(Shelf::Described, &self.described(id), &output, &op);
                }
            });
            let _ = sender.send(Message::Settled);
        })
    }

    /// A vertex that needs no work: what was found becomes its own output.
    fn finish_found(
        &self,
        demand: &mut Demand<E>,
        id: VertexId,
        found: &E::Output,
        how: Found,
    ) -> Result<(), E::Error> {
        let inputs = demand.inputs(self.task.graph, id);
        let written = demand.written(id);
        let step = Step { graph: self.task.graph, id, inputs: &inputs, fresh: false, written, earlier: None };
        let output = self.own(&step, found, how)?;
        if let (Found::Written, Some(key)) = (how, written.filter(|_| output != *found)) {
            // The newest record is the one that stands on the base of today.
            let printed = demand.printed(self.task.graph, self.engine, id);
            self.cache.put(Shelf::Written, &key, &output, &printed);
        }
        demand.finish(id, output);
        Ok(())
    }

    fn find(&self, shelf: Shelf, key: &Key) -> Option<E::Output> {
        self.cache.get(shelf, key).into_iter().find(|output| self.engine.usable(output))
    }

    /// The newest record under a key of contents that may stand where the vertex stands, as its own output.
    fn find_own(&self, step: &Step<'_, E>, shelf: Shelf, key: &Key, how: Found) -> Result<Option<E::Output>, E::Error> {
        let base = how.needs(self.engine.base(step.op())).map(|at| step.input(at)).transpose()?;
        for found in self.cache.get(shelf, key).iter().filter(|output| self.engine.usable(output)) {
            let fits = base.map_or(Ok(true), |base| self.engine.fits(step, base, found, how))?;
            if fits {
                return self.own(step, found, how).map(Some);
            }
        }
        Ok(None)
    }

    /// The vertex's own output of one that was found.
    fn own(&self, step: &Step<'_, E>, found: &E::Output, how: Found) -> Result<E::Output, E::Error> {
        match how.take(self.engine.base(step.op())) {
            Take::Whole => Ok(found.clone()),
            Take::Layer => self.stack(step, found),
        }
    }

    /// The topmost layer of an output on the vertex's base.
    fn stack(&self, step: &Step<'_, E>, layer: &E::Output) -> Result<E::Output, E::Error> {
        let base = self.engine.base(step.op()).input().map(|at| step.input(at)).transpose()?;
        self.engine.stack(base, layer)
    }

    fn described(&self, id: VertexId) -> Key {
        key_of(|to| self.task.graph.get(id).op.describe(to))
    }

    fn settled(&self, step: &Step<'_, E>) -> Result<(Key, String), E::Error> {
        let mut failed = None;
        let settled = key_and_print(|to| {
            step.op().describe(to);
            to.open("content");
            if let Err(error) = self.engine.settle(step, to) {
                failed = Some(error);
            }
            to.close();
        });
        failed.map_or(Ok(settled), Err)
    }

    fn same(&self, id: VertexId, output: &E::Output) -> Result<(Key, String), E::Error> {
        let content = self.engine.content(output)?;
        let walk = |to: &mut dyn crate::key::Manifest| {
            self.task.graph.get(id).op.describe(to);
            to.key("result", &content);
        };
        Ok((key_of(walk), print_of(walk)))
    }

    fn phase<T>(&self, id: VertexId, name: &'static str, work: impl FnOnce() -> T) -> T {
        phase(self.observer, Some(self.step(id)), name, work)
    }

    fn show_needs(&self) {
        for (id, vertex) in self.task.graph.iter() {
            let inputs = vertex.inputs.iter().map(|input| self.step(*input)).collect();
            self.observer.event(SystemTime::now(), &Event::Needs { step: self.step(id), inputs });
        }
    }

    fn step(&self, id: VertexId) -> StepId {
        StepId(self.task.first_step.saturating_add(id.index() as u32))
    }

    fn end(&self, id: VertexId, outcome: Outcome, began: Option<Instant>) {
        if let Some(began) = began {
            let event = Event::End { step: self.step(id), outcome, took: began.elapsed() };
            self.observer.event(SystemTime::now(), &event);
        }
    }

    /// Tells of everything that the first look already found, and of what stands below it, in order.
    fn show_cached(&self, demand: &Demand<E>) {
        for (id, vertex) in self.task.graph.iter() {
            let shown = matches!(demand.state(id), State::Found(_) | State::Below) || demand.was_found(id);
            if shown && !vertex.name.is_empty() {
                let event = Event::Cached { step: self.step(id), name: vertex.name.clone() };
                self.observer.event(SystemTime::now(), &event);
            }
        }
    }
}
