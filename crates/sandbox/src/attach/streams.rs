//! Relays between our streams and those of a program in a container: through a pseudoterminal if
//! ours is a terminal, else through pipes. So the program never holds a descriptor of the host: it
//! can't type into our terminal, read from it after it has ended, or reopen our files in another
//! mode.
//!
//! One loop copies all streams, because there can be no threads (setns(2), pid namespaces). After
//! the program has ended, the rest of its output is copied. Processes that it left behind are not
//! waited for.

use crate::pidfd::has_ended;
use base::error::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use std::io::PipeReader;

/// A pipe that is ready for writing takes this many bytes without blocking (pipe(7), PIPE_BUF).
const CHUNK: usize = 4096;

/// Both ends of all streams of a program.
pub(super) struct Streams {
    /// The program's ends: input, output, errors. A terminal is one descriptor for all three.
    inner: Vec<OwnedFd>,
    flows: Vec<Flow>,
    terminal: Option<Terminal>,
}

/// Our terminal, and the master of the program's pseudoterminal.
struct Terminal {
    ours: OwnedFd,
    master: OwnedFd,
    before: Option<Termios>,
}

/// Copies one stream in one direction.
struct Flow {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
    pending: Vec<u8>,
    /// True for output of the program, which is copied to its end.
    output: bool,
}

impl Streams {
    /// Makes a pseudoterminal if both our input and our output are a terminal, else pipes.
    pub(super) fn of() -> Result<Streams> {
        let failed = |cause: Errno| Error::new(Kind::System, "cannot make streams").because(cause);
        let (input, output) = (std::io::stdin(), std::io::stdout());
        if isatty(&input) && isatty(&output) { Streams::terminal() } else { Streams::pipes() }.map_err(failed)
    }

    fn terminal() -> Result<Streams, Errno> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let inner = ioctl_tiocgptpeer(&master, flags)?;
        let ours = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
        let copy = || rustix::io::fcntl_dupfd_cloexec(&master, 3);
        let flows = vec![
            Flow::new(rustix::io::fcntl_dupfd_cloexec(&ours, 3)?, copy()?, false),
            Flow::new(copy()?, rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3)?, true),
        ];
        let terminal = Terminal { ours, master, before: None };
        terminal.resize();
        Ok(Streams { inner: vec![inner], flows, terminal: Some(terminal) })
    }

    fn pipes() -> Result<Streams, Errno> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let ((input, give), (take_out, output), (take_err, errors)) = (pipe()?, pipe()?, pipe()?);
        let flows = vec![
            Flow::new(copy(std::io::stdin().as_fd())?, give, false),
            Flow::new(take_out, copy(std::io::stdout().as_fd())?, true),
            Flow::new(take_err, copy(std::io::stderr().as_fd())?, true),
        ];
        Ok(Streams { inner: vec![input, output, errors], flows, terminal: None })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Runs in the child, which leads a session, so it makes only system calls.
    pub(super) fn give(&self, uid: Uid, gid: Gid) -> Result<(), Errno> {
        let [input, .., errors] = self.inner.as_slice() else {
            let [terminal] = self.inner.as_slice() else { return Err(Errno::BADF) };
            rustix::process::ioctl_tiocsctty(terminal)?;
            let _ = rustix::fs::fchown(terminal, Some(uid), Some(gid));
            rustix::stdio::dup2_stdin(terminal)?;
            rustix::stdio::dup2_stdout(terminal)?;
            return rustix::stdio::dup2_stderr(terminal);
        };
        let output = self.inner.get(1).unwrap_or(errors);
        for fd in &self.inner {
            // This lets the user of the step open /dev/stdout.
            let _ = rustix::fs::fchown(fd, Some(uid), Some(gid));
        }
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(errors)
    }

    /// Copies all streams until the program has ended. A signal that would end kiln kills the
    /// program.
    pub(super) fn carry(&mut self, child: &OwnedFd) -> Result<()> {
        self.inner.clear();
        let failed = |cause: std::io::Error| Error::new(Kind::System, "cannot listen to signals").because(cause);
        let stop = listen(&[SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
        let resized = listen(&[SIGWINCH]).map_err(failed)?;
        if let Some(terminal) = &mut self.terminal {
            terminal.take();
        }
        loop {
            let ended = has_ended(child);
            let over = ended && !self.flows.iter().any(|flow| flow.output && !flow.pending.is_empty());
            let mut ready = self.wait(ended, over, child, [&stop, &resized])?;
            let (was_resized, was_stopped) = (ready.pop().unwrap_or(false), ready.pop().unwrap_or(false));
            for (flow, _) in self.flows.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
                flow.step();
            }
            if was_stopped && drained(&stop) {
                let _ = pidfd_send_signal(child, Signal::KILL);
            }
            if was_resized
                && drained(&resized)
                && let Some(terminal) = &self.terminal
            {
                terminal.resize();
            }
            if over && !self.flows.iter().zip(&ready).any(|(flow, ready)| flow.output && *ready) {
                return Ok(());
            }
        }
    }

    /// Tells which flows can make progress and which of the signals came. Does not block when the
    /// program has ended and no output is pending.
    fn wait(&self, ended: bool, over: bool, child: &OwnedFd, signals: [&PipeReader; 2]) -> Result<Vec<bool>> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut polled: Vec<PollFd<'_>> = self.flows.iter().map(|flow| flow.polled(child.as_fd())).collect();
        let [stop, resized] = signals;
        polled.extend([PollFd::new(stop, PollFlags::IN), PollFd::new(resized, PollFlags::IN)]);
        if !ended {
            polled.push(PollFd::new(child, PollFlags::IN));
        }
        match poll(&mut polled, over.then_some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(Error::new(Kind::System, "cannot wait for streams").because(cause)),
        }
        let mut ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        ready.truncate(self.flows.len() + 2);
        Ok(ready)
    }
}

impl Flow {
    fn new(from: OwnedFd, to: OwnedFd, output: bool) -> Flow {
        Flow { from: Some(from), to: Some(to), pending: Vec::new(), output }
    }

    /// The event that this flow waits for next. A finished flow polls `idle` for no event.
    fn polled<'a>(&'a self, idle: BorrowedFd<'a>) -> PollFd<'a> {
        match (&self.from, &self.to) {
            (_, Some(to)) if !self.pending.is_empty() => PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT),
            (Some(from), Some(_)) => PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN),
            _ => PollFd::from_borrowed_fd(idle, PollFlags::empty()),
        }
    }

    fn step(&mut self) {
        let (Some(from), Some(to)) = (&self.from, &self.to) else { return };
        let done = if self.pending.is_empty() {
            let mut buffer = [0; CHUNK];
            rustix::io::read(from, &mut buffer).map(|count| {
                self.pending.extend_from_slice(&buffer[..count]);
                count > 0
            })
        } else {
            rustix::io::write(to, &self.pending).map(|count| {
                self.pending.drain(..count);
                true
            })
        };
        if !matches!(done, Ok(true) | Err(Errno::INTR | Errno::AGAIN)) {
            (self.from, self.to) = (None, None);
            self.pending.clear();
        }
    }
}

impl Terminal {
    /// Sets our terminal to raw mode: every key goes to the program's terminal, which interprets
    /// it.
    fn take(&mut self) {
        let Ok(before) = tcgetattr(&self.ours) else { return };
        let mut raw = before.clone();
        raw.make_raw();
        if tcsetattr(&self.ours, OptionalActions::Flush, &raw).is_ok() {
            self.before = Some(before);
        }
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(&self.ours) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(&self.ours, OptionalActions::Flush, before);
        }
    }
}

/// Returns a pipe that becomes readable when one of these signals comes.
fn listen(signals: &[i32]) -> std::io::Result<PipeReader> {
    let (reader, writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

fn drained(signals: &PipeReader) -> bool {
    rustix::io::read(signals, &mut [0; 64]).is_ok_and(|count| count > 0)
}
