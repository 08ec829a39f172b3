//! The command line: what was typed (`args`), what it means (`request`), and how an error is printed (`failure`).
//! The environment is read here and nowhere below.

pub mod args;
pub mod failure;
pub mod operand;
pub mod request;
