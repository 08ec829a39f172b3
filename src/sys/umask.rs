//! The mode bits that creating a file takes away (umask(2)). What kiln makes for itself is its owner's alone, whatever
//! umask it was started with. What it makes for the user has the mode that the user's own umask gives: that one is kept here.

use rustix::fs::Mode;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// In force for all that kiln makes.
const OWN: u32 = 0o077;
/// What git checks out, and what a step begins with.
pub const USUAL: u32 = 0o022;

static USERS: AtomicU32 = AtomicU32::new(OWN);

/// From here on new files are the owner's alone. Must be called before any thread exists.
pub fn close() {
    USERS.store(rustix::process::umask(Mode::from(OWN)).bits() & 0o777, Ordering::Relaxed);
}

/// That of the user who started kiln.
pub fn users() -> u32 {
    USERS.load(Ordering::Relaxed)
}

/// Whether a file that was to have a mode has it less what is in force: then nothing else, such as a default access
/// control list of its folder, said what mode it has.
pub fn was_applied(mode: u32, wanted: u32) -> bool {
    mode & 0o777 == wanted & !OWN
}

/// Has a program that is started begin with a umask.
pub fn set_for(command: &mut Command, umask: u32) {
    let set = move || {
        rustix::process::umask(Mode::from(umask));
        Ok(())
    };
    // SAFETY: one system call, which is safe between fork and exec.
    unsafe { command.pre_exec(set) };
}
