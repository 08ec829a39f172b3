//! The command line: the flags (`args`), the request that they make (`request`), credentials for
//! registries (`login`), commands for running steps (`look`), and the printing of errors
//! (`failure`). The environment is read here and in no module below.

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
