//! GRAPH -> RESULT: keys, cache look-ups, scheduling and events over ops it knows nothing about.
//!
//! Read [`key`] first (what a key is), then [`engine`] (what is asked of the outside), then [`mod@solve`] (the loop).
//! There is no file, no process and no Dockerfile here; tests use toy ops and state which of them ran.
//!
//! The two keys in a few lines: the *written* key is an op's own description and the written keys of its inputs;
//! it costs nothing. The *settled* key puts the content of what the op reads in their place; it is asked only
//! after a miss, and stops a change that came to nothing.

mod demand;
pub mod engine;
pub mod event;
pub mod graph;
pub mod key;
pub mod memory;
pub mod solve;
mod work;

pub use engine::{Cache, Engine, Found, Role, Shelf, Step};
pub use event::{Difference, Event, Miss, Observer, Outcome, StepId, Stream, phase};
pub use graph::{Graph, Vertex, VertexId};
pub use key::{Describe, Key, Manifest};
pub use solve::{Failure, Task, missing, solve};
