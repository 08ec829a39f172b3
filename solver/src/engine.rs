//! The solver's view of the outside: an engine that runs ops, and a cache that remembers results.
//!
//! An output is a stack of layers. A vertex of [`Role::Work`] adds exactly one layer and puts it on
//! the output of one input, its base. [`Base`] says how much of the base the op reads, and with that
//! `Found::take` says how much of a remembered output is the vertex's own. Nothing else decides
//! that, and a base that is needed and not there is an error, never an empty stack.

use crate::graph::{Graph, VertexId};
use crate::key::{Describe, Key, Manifest};
use std::fmt;

/// Runs ops. The solver calls it from several threads.
pub trait Engine: Sync {
    /// The operation of a vertex.
    type Op: Describe + Clone + Send + Sync;
    /// The result of a vertex: a small value that names a stack of layers kept elsewhere.
    type Output: Clone + PartialEq + Send + Sync;
    /// Why an op failed.
    type Error: Send + fmt::Display + From<Bug>;

    /// The role of a vertex for the solver.
    fn role(&self, op: &Self::Op) -> Role;
    /// The base of the op's layer. Asked only of [`Role::Work`].
    fn base(&self, op: &Self::Op) -> Base;
    /// The digest of what the vertex reads of its [`Role::Open`] inputs. Asked at most once a vertex.
    fn part(&self, graph: &Graph<Self::Op>, id: VertexId) -> Result<Key, Self::Error>;
    /// Describes the content of what the vertex reads of its inputs, once these are there. May be slow.
    fn settle(&self, at: &Step<'_, Self>, to: &mut dyn Manifest) -> Result<(), Self::Error>;
    /// The content of what the vertex itself added to its output. May be slow.
    fn content(&self, output: &Self::Output) -> Result<Key, Self::Error>;
    /// True if a remembered output can still be used: a cache may name what the store has lost.
    fn usable(&self, output: &Self::Output) -> bool;
    /// The topmost layer of `found` on a base; on nothing where there is no base.
    fn stack(&self, base: Option<&Self::Output>, found: &Self::Output) -> Result<Self::Output, Self::Error>;
    /// True if the topmost layer of `found`, which was made on another base, may stand on this one: the order of times
    /// in the result must be one that running the op here could have produced. Asked where `Found::take` says
    /// `Take::Layer` of an output that was found by its content.
    fn fits(
        &self,
        at: &Step<'_, Self>,
        base: &Self::Output,
        found: &Self::Output,
        how: Found,
    ) -> Result<bool, Self::Error>;
    /// A step ran and its result is that of an earlier run, whichever of the two layers is kept.
    fn came_out_the_same(&self, _id: VertexId) {}
    /// Does the work. Of [`Role::Work`] the topmost layer of the answer counts: the solver puts it on the base. Such a
    /// vertex runs only when nothing was found for it, so this is the place to say why.
    fn run(&self, at: &Step<'_, Self>) -> Result<Self::Output, Self::Error>;
    /// True if the step of this written key ran already for the same wish of the user: its newest record is used even
    /// where nothing older may be. A build that begins again does not run everything again.
    fn ran(&self, _written: &Key) -> bool {
        false
    }
    /// About how long the op takes, in milliseconds: of steps that are ready, those begin first behind which the most is
    /// left to do. Asked only where steps can stand beside each other.
    fn cost(&self, _op: &Self::Op) -> u64 {
        1
    }
    /// True if one more step may begin beside those that run. One that may not waits until it may, or until none runs.
    fn room(&self, _running: usize) -> Room {
        Room::Free
    }
    /// Makes what will be asked of a result later. Called when no step is waiting, before the result's content is asked.
    fn ahead(&self, _id: VertexId, _output: &Self::Output) {}
    /// Ends everything that runs, at once. Called when another vertex failed.
    fn stop(&self);
    /// True if the user wishes the build to end.
    fn stopped(&self) -> bool;
}

/// A vertex whose inputs are done.
pub struct Step<'a, E: Engine + ?Sized> {
    /// The graph it stands in.
    pub graph: &'a Graph<E::Op>,
    /// The vertex.
    pub id: VertexId,
    /// The outputs of its inputs, in order; none of those that are not done. [`Step::input`] is the way to ask for one.
    pub inputs: &'a [Option<E::Output>],
    /// True if the step must not use anything remembered (`--no-cache`).
    pub fresh: bool,
    /// Its written key; none where nothing is remembered.
    pub written: Option<Key>,
    /// The earlier result of a step of the same description, on other inputs: no result, but perhaps most of one. Only
    /// [`Engine::run`] gets it.
    pub earlier: Option<&'a E::Output>,
}

impl<E: Engine + ?Sized> Step<'_, E> {
    /// The op of the vertex.
    pub fn op(&self) -> &E::Op {
        &self.graph.get(self.id).op
    }

    /// The output of an input. One that is not there is a bug: there is no stand-in for it.
    pub fn input(&self, at: usize) -> Result<&E::Output, Bug> {
        self.inputs.get(at).and_then(Option::as_ref).ok_or(Bug("an input of a step is not done"))
    }
}

/// The solver or its caller did what it must not: nothing that a user gave is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug(pub &'static str);

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BUG: {}", self.0)
    }
}

impl From<Bug> for base::error::Error {
    fn from(bug: Bug) -> base::error::Error {
        base::error::Error::new(base::error::Kind::System, bug.to_string())
            .hint("please report this with the Dockerfile")
    }
}

impl From<Bug> for String {
    fn from(bug: Bug) -> String {
        bug.to_string()
    }
}

/// The base of an op's layer, by the place of the input, and how much of it the op reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the layer is the whole output.
    None,
    /// The op may read all of it: both keys speak of all of it (RUN).
    Whole(usize),
    /// The op looks parts up in it: the written key speaks of all of it, the settled key of those parts (COPY).
    Part(usize),
    /// The op does not look at it: neither key speaks of it (COPY --link).
    Under(usize),
}

impl Base {
    /// The input that it is.
    pub fn input(self) -> Option<usize> {
        match self {
            Base::None => None,
            Base::Whole(at) | Base::Part(at) | Base::Under(at) => Some(at),
        }
    }

    /// True if the op reads an input. The base is the only one that it may not read.
    pub fn reads(self, input: usize) -> bool {
        self != Base::Under(input)
    }
}

/// The role of a vertex for the solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Cheap to have, never cached; its description says all about it (a pinned image).
    Pinned,
    /// Cheap to have, never cached; its readers are keyed by what they read of it (a directory of the user).
    Open,
    /// Worth remembering.
    Work,
}

/// True if one more step may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It begins.
    Free,
    /// That will be known soon. Nobody is told.
    Unknown,
    /// There is too little of something.
    Short(&'static str),
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
    /// Another vertex of this graph does the same on the same inputs.
    Equal,
    /// Another vertex of this graph does the same on another base, which neither of them reads.
    EqualLayer,
}

/// How much of a found output is the vertex's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// All of it.
    Whole,
    /// The topmost layer. It is put on the output of the vertex's base.
    Layer,
}

impl Found {
    /// How much of an output that was found so is the vertex's own: all of it where what it was found by speaks of the
    /// whole base, and else the layer.
    ///
    /// | | no base | `Whole` | `Part` | `Under` |
    /// |---|---|---|---|---|
    /// | `Written` | whole | whole | whole | layer |
    /// | `Settled` | whole | whole | layer | layer |
    /// | `Same` | whole | layer | layer | layer |
    /// | `Equal` | whole | whole | whole | whole |
    /// | `EqualLayer` | | | | layer |
    pub(crate) fn take(self, base: Base) -> Take {
        match (self, base) {
            (_, Base::None) | (Found::Equal, _) => Take::Whole,
            (Found::Written, Base::Whole(_) | Base::Part(_)) | (Found::Settled, Base::Whole(_)) => Take::Whole,
            (Found::Written | Found::Settled | Found::Same | Found::EqualLayer, _) => Take::Layer,
        }
    }

    /// The input whose output is needed to make the vertex's own of an output that was found so.
    pub(crate) fn needs(self, base: Base) -> Option<usize> {
        base.input().filter(|_| self.take(base) == Take::Layer)
    }
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
    /// A lock that keeps everybody else from running the same step.
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
