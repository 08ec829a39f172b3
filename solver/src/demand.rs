//! The wanted vertices, the knowledge of each, and the ready ones: the state that one thread owns.
//!
//! | key | made of | for |
//! |---|---|---|
//! | written | description, result keys of the inputs that are read | looking the vertex up |
//! | result | the written key; the result key of the base, where that is not read | the keys of its users |
//! | class | as the result key, and what must run again in this build | finding equal vertices |

use crate::engine::{Base, Cache, Engine, Found, Role, Shelf, Take};
use crate::graph::{Graph, VertexId};
use crate::key::{Describe, Key, Manifest, key_of, print_of};
use crate::solve::{Failure, Task};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The knowledge of a vertex.
pub(crate) enum State<E: Engine> {
    /// Nobody wants it.
    Unwanted,
    /// Nobody needs it, because what stands on it was found.
    Below,
    /// Its output was found, but the base that its layer goes on is not done.
    Found(E::Output),
    /// Wanted; the inputs are not all done, or it is waiting for its turn.
    Wanted,
    /// It has its output.
    Done(E::Output),
}

/// The state of every vertex of the graph, by its place.
pub(crate) struct Demand<E: Engine> {
    vertices: Vec<Known<E>>,
    /// Wanted, all inputs done, not yet begun: those first that most is behind, then in order, so that equal builds run in
    /// equal order.
    ready: BTreeSet<(Reverse<u64>, VertexId)>,
    /// Ready, but put off: another process has the lock, or there is too little memory.
    waiting: BTreeSet<VertexId>,
    open: usize,
}

struct Known<E: Engine> {
    state: State<E>,
    role: Role,
    base: Base,
    /// The key of its look-up: its description and the result keys of what it reads.
    written: Option<Key>,
    /// Stands for its whole result in the keys of its users. Another than `written` only where the base is not
    /// read: then `written` says which layer, and this says which layer on which base.
    result: Option<Key>,
    /// The parts of its open inputs that it reads.
    part: Option<Key>,
    /// It must run.
    fresh: bool,
    /// It reads the result of one that must run, or of one that does: its written key does not say which result it
    /// stands for, the one that is remembered or the one of this build.
    tainted: bool,
    /// It ran in this build already, so its newest record is the fresh result.
    done: bool,
    /// It, or anything below it, must run: the same is true of its result key.
    renewed: bool,
    /// Equal in two vertices that have the same result in this build.
    class: Key,
    /// It was told that it waits.
    told: bool,
    found_at_once: bool,
    /// A vertex at a smaller place whose output serves for this one, and how.
    equal: Option<(VertexId, Found)>,
    /// The vertices that must be done first, and those that wait for this one.
    needs: Vec<VertexId>,
    pending: usize,
    users: Vec<VertexId>,
    /// The cost of the vertex and of the longest way from it to a target.
    height: u64,
}

/// The first vertex of each class: of those with the same result, and of those with the same layer.
#[derive(Default)]
struct Seen {
    results: HashMap<Key, VertexId>,
    layers: HashMap<Key, VertexId>,
}

impl<E: Engine> Demand<E> {
    /// Looks at the whole graph once: keys forward, wishes backward.
    pub(crate) fn of<C: Cache<E::Output>>(
        task: &Task<'_, E::Op>,
        engine: &E,
        cache: &C,
    ) -> Result<Self, Failure<E::Error>> {
        let ancestors = ancestors(task);
        let mut demand = Demand { vertices: Vec::new(), ready: BTreeSet::new(), waiting: BTreeSet::new(), open: 0 };
        let mut seen = Seen::default();
        for (id, _) in task.graph.iter() {
            let known = demand.look(task, engine, id, ancestors[id.index()], &mut seen)?;
            demand.vertices.push(known);
        }
        for &target in task.targets {
            demand.vertices[target.index()].state = State::Wanted;
        }
        cache.expect(&demand.askable());
        for id in task.graph.iter().map(|(id, _)| id).collect::<Vec<_>>().into_iter().rev() {
            if matches!(demand.vertices[id.index()].state, State::Wanted) {
                demand.ask(task.graph, engine, cache, id);
            }
        }
        demand.mark_below(task.graph);
        demand.link();
        Ok(demand)
    }

    fn look(
        &self,
        task: &Task<'_, E::Op>,
        engine: &E,
        id: VertexId,
        reached: bool,
        seen: &mut Seen,
    ) -> Result<Known<E>, Failure<E::Error>> {
        let vertex = task.graph.get(id);
        let role = engine.role(&vertex.op);
        let mut known = Known::of(role);
        if !reached {
            return Ok(known);
        }
        if role != Role::Work {
            known.class = key_of(|to| vertex.op.describe(to));
            return Ok(known);
        }
        let inputs = || vertex.inputs.iter().map(|input| &self.vertices[input.index()]);
        let base = engine.base(&vertex.op);
        let read = || inputs().enumerate().filter(|(at, _)| base.reads(*at)).map(|(_, input)| input);
        known.base = base;
        known.fresh = (task.fresh)(id);
        known.tainted = read().any(|input| input.renewed);
        known.renewed = known.fresh || inputs().any(|input| input.renewed);
        if inputs().any(|input| input.role == Role::Open) {
            let part = engine.part(task.graph, id).map_err(|error| Failure::Failed { vertex: id, error })?;
            known.part = Some(part);
        }
        let written = key_of(|to| self.describe(task.graph, engine, id, known.part, to));
        let below = match base {
            Base::Under(at) => inputs().nth(at),
            _ => None,
        };
        known.written = Some(written);
        known.done = engine.ran(&written);
        known.result = Some(below.map_or(written, |below| on(&written, below.result.as_ref().unwrap_or(&below.class))));
        // Without a fresh vertex equal keys are equal results. With one, what it made is told apart from what is
        // remembered under the same key.
        let layer = match known.fresh || known.tainted {
            false => written,
            true => key_of(|to| {
                to.key("written", &written);
                to.flag("fresh", known.fresh);
                read().for_each(|input| to.key("input", &input.class));
            }),
        };
        known.class = below.map_or(layer, |below| on(&layer, &below.class));
        known.equal = seen.equal(id, known.class, layer);
        Ok(known)
    }

    /// The parts of a written key.
    fn describe(&self, graph: &Graph<E::Op>, engine: &E, id: VertexId, part: Option<Key>, to: &mut dyn Manifest) {
        let vertex = graph.get(id);
        let base = engine.base(&vertex.op);
        vertex.op.describe(to);
        to.open("inputs");
        for (at, input) in vertex.inputs.iter().enumerate() {
            let known = &self.vertices[input.index()];
            match known.role {
                _ if !base.reads(at) => to.text("below", ""),
                Role::Work => to.text("result", &known.result.map(|key| key.to_string()).unwrap_or_default()),
                Role::Pinned => to.key("pinned", &known.class),
                Role::Open => to.text("open", ""),
            }
        }
        to.close();
        to.text("part", &part.map(|key| key.to_string()).unwrap_or_default());
    }

    /// The written keys that may be asked for, those nearest to the targets first.
    fn askable(&self) -> Vec<Key> {
        self.vertices.iter().rev().filter_map(Known::lookup).collect()
    }

    /// The description behind the written key of a vertex, printed.
    pub(crate) fn printed(&self, graph: &Graph<E::Op>, engine: &E, id: VertexId) -> String {
        print_of(|to| self.describe(graph, engine, id, self.vertices[id.index()].part, to))
    }

    /// A wanted vertex: found, equal to another, or in need of its inputs.
    fn ask<C: Cache<E::Output>>(&mut self, graph: &Graph<E::Op>, engine: &E, cache: &C, id: VertexId) {
        let inputs = &graph.get(id).inputs;
        let known = &self.vertices[id.index()];
        let found = known
            .lookup()
            .and_then(|key| cache.get(Shelf::Written, &key).into_iter().find(|output| engine.usable(output)));
        let how = if found.is_some() { Some(Found::Written) } else { known.equal.map(|(_, how)| how) };
        let needs: BTreeSet<VertexId> = match how {
            // Exactly what makes the vertex's own output of what was found.
            Some(how) => {
                let below = how.needs(known.base).and_then(|at| inputs.get(at).copied());
                known.equal.map(|(first, _)| first).into_iter().chain(below).collect()
            }
            None => inputs.iter().copied().collect(),
        };
        for need in &needs {
            let state = &mut self.vertices[need.index()].state;
            if matches!(state, State::Unwanted) {
                *state = State::Wanted;
            }
        }
        let known = &mut self.vertices[id.index()];
        known.needs = needs.into_iter().collect();
        if let Some(output) = found {
            known.found_at_once = true;
            known.state = match Found::Written.take(known.base) {
                Take::Whole => State::Done(output),
                Take::Layer => State::Found(output),
            };
        }
    }

    /// A vertex below a found one that nobody wants is as good as cached.
    fn mark_below(&mut self, graph: &Graph<E::Op>) {
        let ids: Vec<VertexId> = graph.iter().map(|(id, _)| id).collect();
        for &id in ids.iter().rev() {
            let known = &self.vertices[id.index()];
            if known.found_at_once || matches!(known.state, State::Below) {
                for input in &graph.get(id).inputs {
                    let state = &mut self.vertices[input.index()].state;
                    if matches!(state, State::Unwanted) {
                        *state = State::Below;
                    }
                }
            }
        }
    }

    /// Counts what each vertex still waits for.
    fn link(&mut self) {
        for at in 0..self.vertices.len() {
            if matches!(self.vertices[at].state, State::Wanted | State::Found(_)) {
                self.open += 1;
                let id = VertexId::at(at);
                let needs: Vec<VertexId> = self.vertices[at].needs.clone();
                let missing = needs.iter().filter(|need| !matches!(self.vertices[need.index()].state, State::Done(_)));
                let missing: Vec<VertexId> = missing.copied().collect();
                self.vertices[at].pending = missing.len();
                missing.iter().for_each(|need| self.vertices[need.index()].users.push(id));
                if missing.is_empty() {
                    self.make_ready(id);
                }
            }
        }
    }

    /// Where steps can stand beside each other, finds the way to a target that takes longest.
    pub(crate) fn weigh(&mut self, graph: &Graph<E::Op>, engine: &E) {
        let runs = |known: &Known<E>| {
            matches!(known.state, State::Wanted) && known.role == Role::Work && known.equal.is_none()
        };
        // How many of a chain end at each vertex: two that are equally far on may run at once.
        let (mut steps, mut seen) = (vec![0_usize; self.vertices.len()], HashSet::new());
        let mut wide = false;
        for at in 0..self.vertices.len() {
            let known = &self.vertices[at];
            let below = known.needs.iter().map(|need| steps[need.index()]).max().unwrap_or(0);
            steps[at] = below + usize::from(runs(known));
            wide |= runs(known) && !seen.insert(steps[at]);
        }
        if !wide {
            return;
        }
        for at in (0..self.vertices.len()).rev() {
            let known = &self.vertices[at];
            let behind = known.users.iter().map(|user| self.vertices[user.index()].height).max().unwrap_or(0);
            let own = if runs(known) { engine.cost(&graph.get(VertexId::at(at)).op) } else { 0 };
            self.vertices[at].height = behind.saturating_add(own);
        }
        for (_, id) in std::mem::take(&mut self.ready) {
            self.make_ready(id);
        }
    }

    fn make_ready(&mut self, id: VertexId) {
        self.ready.insert((Reverse(self.vertices[id.index()].height), id));
    }

    /// A vertex that can go on now; it counts as begun.
    pub(crate) fn next_ready(&mut self) -> Option<VertexId> {
        self.ready.pop_first().map(|(_, id)| id)
    }

    /// An output that serves without any work: the vertex's own, or that of an equal one.
    pub(crate) fn found(&self, id: VertexId) -> Option<(E::Output, Found)> {
        let known = &self.vertices[id.index()];
        match (&known.state, known.equal) {
            (State::Found(output), _) => Some((output.clone(), Found::Written)),
            (_, Some((first, how))) => self.output(first).map(|output| (output.clone(), how)),
            _ => None,
        }
    }

    /// Gives a vertex its output and makes ready who waited for it.
    pub(crate) fn finish(&mut self, id: VertexId, output: E::Output) {
        self.vertices[id.index()].state = State::Done(output);
        self.open -= 1;
        for user in std::mem::take(&mut self.vertices[id.index()].users) {
            let known = &mut self.vertices[user.index()];
            known.pending -= 1;
            if known.pending == 0 {
                self.make_ready(user);
            }
        }
    }

    /// Puts a vertex aside until it is tried again.
    pub(crate) fn wait(&mut self, id: VertexId) {
        self.waiting.insert(id);
    }

    /// True if it is still to be told that the vertex waits.
    pub(crate) fn tell(&mut self, id: VertexId) -> bool {
        !std::mem::replace(&mut self.vertices[id.index()].told, true)
    }

    /// Lets all that were put off try again.
    pub(crate) fn retry_waiters(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            self.make_ready(id);
        }
    }

    pub(crate) fn waiters(&self) -> &BTreeSet<VertexId> {
        &self.waiting
    }
    pub(crate) fn all_done(&self) -> bool {
        self.open == 0
    }
    pub(crate) fn state(&self, id: VertexId) -> &State<E> {
        &self.vertices[id.index()].state
    }
    /// True if another vertex does its work.
    pub(crate) fn has_equal(&self, id: VertexId) -> bool {
        self.vertices[id.index()].equal.is_some()
    }
    pub(crate) fn was_found(&self, id: VertexId) -> bool {
        self.vertices[id.index()].found_at_once
    }
    pub(crate) fn written(&self, id: VertexId) -> Option<Key> {
        self.vertices[id.index()].written
    }
    pub(crate) fn is_fresh(&self, id: VertexId) -> bool {
        self.vertices[id.index()].fresh
    }
    pub(crate) fn is_tainted(&self, id: VertexId) -> bool {
        self.vertices[id.index()].tainted
    }
    pub(crate) fn output(&self, id: VertexId) -> Option<&E::Output> {
        match &self.vertices[id.index()].state {
            State::Done(output) => Some(output),
            _ => None,
        }
    }
    pub(crate) fn inputs(&self, graph: &Graph<E::Op>, id: VertexId) -> Vec<Option<E::Output>> {
        graph.get(id).inputs.iter().map(|input| self.output(*input).cloned()).collect()
    }
}

impl<E: Engine> Known<E> {
    fn of(role: Role) -> Known<E> {
        Known {
            state: State::Unwanted,
            role,
            base: Base::None,
            written: None,
            result: None,
            part: None,
            fresh: false,
            tainted: false,
            done: false,
            renewed: false,
            class: Key([0; 32]),
            told: false,
            found_at_once: false,
            equal: None,
            needs: Vec::new(),
            pending: 0,
            users: Vec::new(),
            height: 0,
        }
    }

    /// The written key, if a record under it is the vertex's own and no other vertex asks for it.
    fn lookup(&self) -> Option<Key> {
        let may = self.done || (!self.fresh && !self.tainted);
        self.written.filter(|_| may && self.equal.is_none())
    }
}

impl Seen {
    /// The vertex that does what this one would do, if there is one already.
    fn equal(&mut self, id: VertexId, class: Key, layer: Key) -> Option<(VertexId, Found)> {
        let result = *self.results.entry(class).or_insert(id);
        let first = *self.layers.entry(layer).or_insert(id);
        match () {
            () if result != id => Some((result, Found::Equal)),
            () if first != id => Some((first, Found::EqualLayer)),
            () => None,
        }
    }
}

/// The key of a layer on a base that it does not read.
fn on(layer: &Key, base: &Key) -> Key {
    key_of(|to| {
        to.key("layer", layer);
        to.key("base", base);
    })
}

/// The vertices that a target can reach at all.
fn ancestors<Op>(task: &Task<'_, Op>) -> Vec<bool> {
    let mut reached = vec![false; task.graph.len()];
    task.targets.iter().for_each(|target| reached[target.index()] = true);
    for at in (0..reached.len()).rev() {
        if reached[at] {
            task.graph.get(VertexId::at(at)).inputs.iter().for_each(|input| reached[input.index()] = true);
        }
    }
    reached
}
