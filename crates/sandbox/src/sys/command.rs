//! System calls of a started program between fork and exec.

use rustix::fs::Mode;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, umask};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The program begins with this umask.
pub fn set_umask(command: &mut Command, mode: u32) {
    let set = move || {
        umask(Mode::from(mode));
        Ok(())
    };
    // SAFETY: one system call, which is safe between fork and exec.
    unsafe { command.pre_exec(set) };
}

/// The program is killed when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG). A set-user-ID program is not.
pub fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let set = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before.
        if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: two system calls, which are safe between fork and exec.
    unsafe { command.pre_exec(set) };
}
