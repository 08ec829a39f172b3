//! GRAPH -> RESULT: keys, cache look-ups, scheduling and events over ops it knows nothing about.
pub mod event;
pub mod graph;
pub mod key;

pub use event::{Event, Observer, Outcome, StepId, Stream};
pub use graph::{Graph, Vertex, VertexId};
pub use key::{Describe, Key, Manifest};
