//! The parent's side of a step: forwards its output, and watches its timeout and its control group
//! until it ends.

use super::cgroup::Group;
use super::{Exit, Spec, Stream, Why, pidfd, processes};
use base::error::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

/// How often a step's control group is checked: version 1 sends no event when it refuses a process.
const LOOK: Duration = Duration::from_secs(1);

/// Forwards output until the pipes are closed. Processes that the step left running hold the pipes
/// open, but they die with its first process, which is the init process of a pid namespace.
pub(super) fn attend(
    process: &OwnedFd,
    pipes: [(Stream, OwnedFd); 2],
    spec: &Spec,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<(Exit, Option<Why>)> {
    let mut open: Vec<(Stream, File)> = pipes.into_iter().map(|(stream, fd)| (stream, fd.into())).collect();
    let mut clock = Clock { began: Instant::now(), spec, why: None };
    let mut buffer = vec![0; 64 * 1024];
    while !open.is_empty() {
        let pipes: Vec<BorrowedFd<'_>> = open.iter().map(|(_, file)| file.as_fd()).collect();
        let ready = wait(&pipes, &mut clock, process)?;
        let mut at = 0;
        open.retain_mut(|(stream, file)| {
            at += 1;
            if !ready[at - 1] {
                return true;
            }
            match file.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    output(*stream, &buffer[..count]);
                    true
                }
                Err(cause) => cause.kind() == std::io::ErrorKind::Interrupted,
            }
        });
    }
    Ok((exit(process, &mut clock)?, clock.why))
}

/// Kills a step that runs past its timeout or that keeps running into a limit of its control group.
struct Clock<'a> {
    began: Instant,
    spec: &'a Spec,
    why: Option<Why>,
}

impl Clock<'_> {
    /// How long to wait before the next check of the step. None means without a limit.
    fn left(&self) -> Option<Timespec> {
        if self.why.is_some() {
            return None;
        }
        let left = self.spec.timeout.map(|timeout| timeout.saturating_sub(self.began.elapsed()));
        let look = self.spec.group.as_ref().map(|_| LOOK);
        left.into_iter().chain(look).min().and_then(|time| Timespec::try_from(time).ok())
    }

    /// Kills the step if its timeout has passed or its control group has refused too much.
    fn look(&mut self, process: &OwnedFd) {
        if self.why.is_some() {
            return;
        }
        let late = self.spec.timeout.is_some_and(|timeout| self.began.elapsed() >= timeout);
        let hopeless = || self.spec.group.as_ref().filter(|group| group.is_hopeless()).and_then(Group::exceeded);
        self.why = if late { Some(Why::TimedOut(processes::doing(process))) } else { hopeless().map(Why::Exceeded) };
        if self.why.is_some() {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}

/// Tells which of these are readable. Also returns when it is time to check the step.
fn wait(open: &[BorrowedFd<'_>], clock: &mut Clock<'_>, process: &OwnedFd) -> Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = open.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    match poll(&mut polled, clock.left().as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(cause) => return Err(Error::new(Kind::System, "cannot wait for a step").because(cause)),
    }
    let ready = polled.iter().take(open.len()).map(|fd| !fd.revents().is_empty()).collect();
    clock.look(process);
    Ok(ready)
}

/// Waits for the exit status. A step may close its streams and go on running.
fn exit(process: &OwnedFd, clock: &mut Clock<'_>) -> Result<Exit> {
    while !wait(&[process.as_fd()], clock, process)?[0] {}
    pidfd::exit(process, "a step")
}
