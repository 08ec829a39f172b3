//! Raw system calls: the only module with `unsafe`. Everything here is small, and safe to call from above.

#![allow(unsafe_code)]

pub mod netns;
pub mod spawn;
pub mod tap;
pub mod userns;
