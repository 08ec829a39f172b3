//! A process by its descriptor (pidfd_open(2)): it stays the same one, whoever has its number later.

use super::Exit;
use base::error::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// Whether it is gone but for its exit code.
pub(super) fn has_ended(process: &OwnedFd) -> bool {
    ends_within(process, Timespec { tv_sec: 0, tv_nsec: 0 })
}

/// Waits for its end, but no longer than this; whether it has ended.
pub(super) fn ends_within(process: &OwnedFd, time: Timespec) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    poll(&mut polled, Some(&time)).is_ok_and(|count| count > 0)
}

/// Waits for the end of a child, `what` it is to people, and says how it ended.
pub(super) fn exit(process: &OwnedFd, what: &str) -> Result<Exit> {
    let status = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED)
        .map_err(|cause| Error::new(Kind::System, format!("cannot wait for {what}")).because(cause))?;
    let status = status.ok_or_else(|| Error::new(Kind::System, format!("{what} ended without a status")))?;
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(9)),
    })
}

/// Kills a child, and waits until it is gone.
pub(super) fn kill(process: &OwnedFd) {
    let _ = pidfd_send_signal(process, Signal::KILL);
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}
