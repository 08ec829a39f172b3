//! The umask of a program that is started.

use rustix::fs::Mode;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Sets the umask that the program begins with.
pub fn set_for(command: &mut Command, umask: u32) {
    let set = move || {
        rustix::process::umask(Mode::from(umask));
        Ok(())
    };
    // SAFETY: one system call, which is safe between fork and exec.
    unsafe { command.pre_exec(set) };
}
