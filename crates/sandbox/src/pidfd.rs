//! A process by its descriptor (pidfd_open(2)), which refers to the same process even after its pid
//! is reused.

use super::Exit;
use base::error::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// True if the process has ended. It may still be a zombie.
pub(super) fn has_ended(process: &OwnedFd) -> bool {
    ends_within(process, Timespec { tv_sec: 0, tv_nsec: 0 })
}

/// Waits for the end of the process for at most this time. True if it has ended.
pub(super) fn ends_within(process: &OwnedFd, time: Timespec) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    poll(&mut polled, Some(&time)).is_ok_and(|count| count > 0)
}

/// Waits for a child and returns its exit status. `what` names the child in errors.
pub(super) fn exit(process: &OwnedFd, what: &str) -> Result<Exit> {
    let status = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED)
        .map_err(|cause| Error::new(Kind::System, format!("cannot wait for {what}")).because(cause))?;
    let status = status.ok_or_else(|| Error::new(Kind::System, format!("{what} ended without a status")))?;
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(9)),
    })
}

/// Kills a child and waits for its end.
pub(super) fn kill(process: &OwnedFd) {
    let _ = pidfd_send_signal(process, Signal::KILL);
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}
