//! The umask of the process (umask(2)). Only their owner can access the files that kiln makes for
//! itself, whatever umask it was started with. The files that it makes for the user get the mode
//! that the user's own umask gives, which is kept here.

use rustix::fs::Mode;
use std::sync::atomic::{AtomicU32, Ordering};

/// The umask that kiln runs with.
const OWN: u32 = 0o077;
/// The umask of git's checkouts and of a step's first process.
pub const USUAL: u32 = 0o022;

static USERS: AtomicU32 = AtomicU32::new(OWN);

/// Sets the umask so that only the owner can access new files. Must be called before any thread
/// exists.
pub fn close() {
    USERS.store(rustix::process::umask(Mode::from(OWN)).bits() & 0o777, Ordering::Relaxed);
}

/// The umask of the user who started kiln.
pub fn users() -> u32 {
    USERS.load(Ordering::Relaxed)
}

/// True if the umask alone decided the mode of a file that was made with mode `wanted`, and not a
/// default ACL of its directory.
pub fn was_applied(mode: u32, wanted: u32) -> bool {
    mode & 0o777 == wanted & !OWN
}
