//! What the solver asks of the outside: an engine that runs ops, and a cache that remembers results.

use crate::graph::{Graph, VertexId};
use crate::key::{Describe, Key, Manifest};

/// Runs ops. The solver calls it from several threads.
pub trait Engine: Sync {
    /// What a vertex does.
    type Op: Describe + Clone + Send + Sync;
    /// What a vertex results in: a small value that names bytes kept elsewhere.
    type Output: Clone + Send + Sync;
    /// Why an op failed.
    type Error: Send + std::fmt::Display;

    /// What kind of vertex this is to the solver.
    fn role(&self, op: &Self::Op) -> Role;
    /// Whether the result depends on this input. One that is not read is only put below the result
    /// ([`Engine::reuse`] does that), so it does not enter the keys.
    fn reads(&self, op: &Self::Op, input: usize) -> bool;
    /// The digest of what the vertex reads of its [`Role::Open`] inputs. Asked at most once a vertex.
    fn part(&self, graph: &Graph<Self::Op>, id: VertexId) -> Result<Key, Self::Error>;
    /// Describes the content of what the vertex reads of its inputs, once these are there. May be slow.
    fn settle(&self, at: &Step<'_, Self>, to: &mut dyn Manifest) -> Result<(), Self::Error>;
    /// The content of what the vertex itself added to its output. May be slow.
    fn content(&self, output: &Self::Output) -> Result<Key, Self::Error>;
    /// Whether a remembered output can still be used: a cache may name what the store has lost.
    fn usable(&self, output: &Self::Output) -> bool;
    /// Turns a remembered output into the vertex's own.
    fn reuse(&self, at: &Step<'_, Self>, found: &Self::Output, how: Found) -> Self::Output;
    /// Does the work: of a vertex that is remembered only when nothing was found for it, so this is the place to say why.
    fn run(&self, at: &Step<'_, Self>) -> Result<Self::Output, Self::Error>;
    /// Whether the step of this written key ran already for the same wish of the user: its newest record is used even
    /// where nothing older may be. A build that begins again does not run everything again.
    fn ran(&self, _written: &Key) -> bool {
        false
    }
    /// About how long the op takes, in milliseconds: of steps that are ready, those begin first behind which the most is
    /// left to do. Asked only where steps can stand beside each other.
    fn cost(&self, _op: &Self::Op) -> u64 {
        1
    }
    /// What there is too little of for one more step beside those that run. Such a step waits until there is more, or
    /// until none runs.
    fn short_of(&self) -> Option<&'static str> {
        None
    }
    /// Makes what will be asked of a result later. Called when no step is waiting, before the result's content is asked.
    fn ahead(&self, _id: VertexId, _output: &Self::Output) {}
    /// Ends everything that runs, at once. Called when another vertex failed.
    fn stop(&self);
    /// Whether the user wishes the build to end.
    fn stopped(&self) -> bool;
}

/// A vertex whose inputs are done.
pub struct Step<'a, E: Engine + ?Sized> {
    /// The graph it stands in.
    pub graph: &'a Graph<E::Op>,
    /// Which vertex.
    pub id: VertexId,
    /// The outputs of its inputs, in order. None only for inputs that are not read while keys are looked up.
    pub inputs: &'a [Option<E::Output>],
    /// Whether the step must not use anything remembered (`--no-cache`).
    pub fresh: bool,
    /// Its written key; none where nothing is remembered.
    pub written: Option<Key>,
    /// What a step of the same description came to before, on other inputs: no result, but perhaps most of one. Only
    /// [`Engine::run`] gets it.
    pub earlier: Option<&'a E::Output>,
}

impl<E: Engine + ?Sized> Step<'_, E> {
    /// The op of the vertex.
    pub fn op(&self) -> &E::Op {
        &self.graph.get(self.id).op
    }

    /// The output of an input, if the op has it and it is done.
    pub fn input(&self, at: usize) -> Option<&E::Output> {
        self.inputs.get(at).and_then(Option::as_ref)
    }
}

/// What a vertex is to the solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Cheap to have, never cached; its description says all about it (a pinned image).
    Pinned,
    /// Cheap to have, never cached; its readers are keyed by what they read of it (a directory of the user).
    Open,
    /// Worth remembering.
    Work,
}

/// Under which name an output was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The written key: nothing below was looked at.
    Written,
    /// The settled key: everything the op reads has the same content.
    Settled,
    /// The step ran, and its earlier run came out the same.
    Same,
    /// An equal vertex of this graph.
    Equal,
}

/// The shelves of the cache: the same key means another thing on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shelf {
    /// Description and written keys of the inputs.
    Written,
    /// Description and content of what is read.
    Settled,
    /// Description alone: says that a settled record exists.
    Described,
    /// Description and content of the result.
    Same,
}

/// Remembers outputs by key. Losing a record costs time, nothing else; errors count as a miss.
pub trait Cache<Output>: Sync {
    /// What is kept so that nobody else runs the same step.
    type Lock: Send;

    /// These written keys may be asked for soon, in about this order: a cache that answers slowly can begin to look.
    fn expect(&self, keys: &[Key]) {
        let _ = keys;
    }
    /// The records under a key, the newest first.
    fn get(&self, shelf: Shelf, key: &Key) -> Vec<Output>;
    /// Adds a record; `description` is what the key was made of, printed: [`crate::key::key_of_text`] makes the key of it.
    fn put(&self, shelf: Shelf, key: &Key, output: &Output, description: &str);
    /// Takes the lock of a key over all processes, or says who has it.
    fn try_lock(&self, key: &Key) -> Result<Self::Lock, String>;
}
