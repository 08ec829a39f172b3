//! The command line: what was typed (`args`), what it means (`request`), who one is to registries (`login`), looking at what
//! runs (`look`), and how an
//! error is printed (`failure`). The environment is read here and nowhere below.

pub mod args;
mod bake;
pub mod buildkit;
pub mod caches;
pub mod completion;
pub mod compose;
pub mod explain;
pub mod failure;
mod hosts;
mod limits;
pub mod login;
pub mod look;
pub mod mounts;
pub mod operand;
pub mod output;
pub mod request;
pub mod room;
pub mod run;
mod values;
pub mod words;
