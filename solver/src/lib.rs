//! GRAPH -> RESULT: keys, cache look-ups, scheduling and events over ops it knows nothing about.
//!
//! Read [`key`] first (what a key is), then [`engine`] (what is asked of the outside), then [`mod@solve`] (the loop).
//! There is no file, no process and no Dockerfile here; tests use toy ops and state which of them ran.
//!
//! The keys in a few lines. The *written* key of a vertex is its op's description and the result keys of the inputs
//! that it reads; it costs nothing. The *result* key stands for the vertex in the keys of its users: it is the written
//! key, with the result key of the base where the op does not read that (see `demand`). The *settled* key has the
//! content of what the op reads in place of keys; it is asked only after a miss, and stops a change that came to nothing.

#![warn(unreachable_pub)]

mod demand;
pub mod engine;
pub mod event;
pub mod graph;
pub mod key;
pub mod memory;
pub mod solve;
mod work;

pub use engine::{Base, Bug, Cache, Engine, Found, Role, Room, Shelf, Step};
pub use event::{Difference, Event, Miss, Observer, Outcome, StepId, Stream, phase};
pub use graph::{Graph, Vertex, VertexId};
pub use key::{Describe, Key, Manifest};
pub use solve::{Failure, Task, missing, solve};
