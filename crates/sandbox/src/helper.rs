//! Programs of the machine that do a part of kiln's work: git, ssh-add, credential helpers, newuidmap. Each has a time
//! limit, a bound on what it may write, and ends with the build.
//!
//! This module knows no program. It prints nothing of their output, which may contain secrets: callers decide what
//! becomes part of an error.

use crate::pidfd;
use crate::sys::command;
use base::error::{Error, Kind, Result};
use base::text;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The usual time limit, for programs that ask no server and no user.
const LIMIT: Duration = Duration::from_secs(120);
/// The usual bound on standard output.
const LARGEST_OUTPUT: usize = 1 << 20;
/// The end of standard error is kept: so many bytes.
const KEPT_ERRORS: usize = 16 << 10;
/// The longest reason of a program in an error, in bytes.
const LONGEST_REASON: usize = 300;
/// The interval between two looks at whether the build goes on.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// A pipe that is ready takes so many bytes at once (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;
/// Pieces that a pipe holds (64 KiB, pipe(7)), and some more.
const LEFT_IN_PIPES: usize = 64;

/// A program that is about to run.
#[derive(Debug)]
pub struct Helper {
    program: String,
    command: Command,
    input: Vec<u8>,
    limit: Duration,
    largest: usize,
    missing: String,
}

/// A program that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: Vec<u8>,
    errors: Vec<u8>,
}

impl Ended {
    /// The last line of its standard error: a program's reason, as a rule.
    pub fn reason(&self) -> String {
        let said = String::from_utf8_lossy(&self.errors);
        match said.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => text::line(&text::printable(line), LONGEST_REASON),
            None => format!("it gave no reason ({})", self.status),
        }
    }
}

impl Helper {
    /// A program that is looked for in PATH. It gets the user's umask and environment, and no input.
    pub fn new(program: &str) -> Helper {
        let (program, command) = (program.to_owned(), Command::new(program));
        let missing = format!("install `{program}`");
        let mut helper = Helper { program, command, input: Vec::new(), limit: LIMIT, largest: LARGEST_OUTPUT, missing };
        helper.command.stdin(Stdio::null());
        command::end_with_parent(&mut helper.command);
        command::set_umask(&mut helper.command, base::umask::users());
        helper
    }

    /// Changes arguments, environment and working directory.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Helper {
        change(&mut self.command);
        self
    }

    /// Sets its standard input.
    pub fn input(mut self, bytes: &[u8]) -> Helper {
        self.input = bytes.to_vec();
        self
    }

    /// It begins with this umask in place of the user's.
    pub fn umask(mut self, umask: u32) -> Helper {
        command::set_umask(&mut self.command, umask);
        self
    }

    /// It is killed when it runs longer.
    pub fn limit(mut self, limit: Duration) -> Helper {
        self.limit = limit;
        self
    }

    /// It is killed when it writes more to standard output.
    pub fn largest(mut self, bytes: usize) -> Helper {
        self.largest = bytes;
        self
    }

    /// The way out if it can't be started.
    pub fn or_else(mut self, hint: &str) -> Helper {
        hint.clone_into(&mut self.missing);
        self
    }

    /// Starts it and leaves it to the caller, without standard streams.
    pub fn start(mut self) -> Result<Child> {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self.spawn()
    }

    /// Runs it to its end. It is killed as soon as `stop` says so.
    pub fn run(mut self, stop: &dyn Fn() -> bool) -> Result<Ended> {
        if !self.input.is_empty() {
            self.command.stdin(Stdio::piped());
        }
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn()?;
        let ended = self.attend(&mut child, stop);
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ended
    }

    fn spawn(&mut self) -> Result<Child> {
        self.command.spawn().map_err(|cause| {
            Error::new(Kind::System, format!("cannot run `{}`", self.program)).because(cause).hint(&*self.missing)
        })
    }

    /// Writes and reads until the program has ended. Its children may keep its streams open: they are not waited for.
    fn attend(&self, child: &mut Child, stop: &dyn Fn() -> bool) -> Result<Ended> {
        let lost =
            |cause: Errno| Error::new(Kind::System, format!("cannot wait for `{}`", self.program)).because(cause);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| lost(Errno::SRCH))?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(lost)?;
        let mut streams = Streams {
            input: child.stdin.take(),
            left: &self.input,
            out: child.stdout.take(),
            err: child.stderr.take(),
            output: Vec::new(),
            errors: Vec::new(),
        };
        let began = Instant::now();
        loop {
            let gone = pidfd::has_ended(&process);
            // The pipes of a program that has ended may still hold bytes.
            let passes = if gone { LEFT_IN_PIPES } else { 1 };
            for _ in 0..passes {
                if !streams.pass(&process, gone).map_err(lost)? || streams.output.len() > self.largest {
                    break;
                }
            }
            if streams.output.len() > self.largest {
                return Err(self.failed(format!("writes more than {} bytes", self.largest)));
            }
            if gone {
                let status = child.wait().map_err(|cause| self.failed(format!("has no exit status: {cause}")))?;
                return Ok(Ended { status, output: streams.output, errors: streams.errors });
            }
            if stop() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            if began.elapsed() >= self.limit {
                return Err(self.failed(format!("did not end in {} s", self.limit.as_secs_f64())));
            }
        }
    }

    fn failed(&self, what: String) -> Error {
        Error::new(Kind::System, format!("`{}` {what}", self.program))
            .hint(format!("run `{}` by hand to see what it waits for", self.program))
    }
}

struct Streams<'a> {
    input: Option<ChildStdin>,
    left: &'a [u8],
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Streams<'_> {
    /// Waits until a stream is ready, unless the program has ended, and copies its bytes. False if no stream was ready.
    fn pass(&mut self, process: &OwnedFd, gone: bool) -> Result<bool, Errno> {
        let mut polled = vec![PollFd::new(process, PollFlags::IN)];
        let ends = [
            self.input.as_ref().map(|input| (input.as_fd(), PollFlags::OUT)),
            self.out.as_ref().map(|out| (out.as_fd(), PollFlags::IN)),
            self.err.as_ref().map(|err| (err.as_fd(), PollFlags::IN)),
        ];
        polled.extend(ends.iter().flatten().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
        let wait = if gone { Timespec { tv_sec: 0, tv_nsec: 0 } } else { TICK };
        match poll(&mut polled, Some(&wait)) {
            Err(Errno::INTR) => return Ok(!gone),
            polled => polled?,
        };
        let mut ready = polled.iter().skip(1).map(|fd| !fd.revents().is_empty());
        let [input, out, err] = ends.map(|end| end.is_some() && ready.next() == Some(true));
        drop(polled);
        if input && let Some(to) = &mut self.input {
            let piece = &self.left[..self.left.len().min(PIECE)];
            match to.write(piece) {
                Ok(count) => self.left = &self.left[count..],
                // A program that does not read may answer all the same.
                Err(_) => self.left = &[],
            }
            if self.left.is_empty() {
                self.input = None;
            }
        }
        let mut piece = [0; PIECE];
        if out && let Some(from) = &mut self.out {
            match from.read(&mut piece) {
                Ok(count) if count > 0 => self.output.extend_from_slice(&piece[..count]),
                _ => self.out = None,
            }
        }
        if err && let Some(from) = &mut self.err {
            match from.read(&mut piece) {
                Ok(count) if count > 0 => self.errors.extend_from_slice(&piece[..count]),
                _ => self.err = None,
            }
            let old = self.errors.len().saturating_sub(KEPT_ERRORS);
            self.errors.drain(..old);
        }
        Ok(input || out || err)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn shell(script: &str) -> Helper {
        Helper::new("sh").with(|command| _ = command.args(["-c", script]))
    }

    #[test]
    fn a_program_gets_its_input_and_gives_its_output_and_its_reason() {
        let input: Vec<u8> = (0..300_000).map(|at| at as u8).collect();
        let ended = shell("cat").input(&input).run(&|| false).unwrap();
        assert!(ended.status.success() && ended.output == input);
        let ended = shell("umask; echo first >&2; printf '\\033[31mlast\\n\\n' >&2; exit 3").umask(0o27);
        let ended = ended.run(&|| false).unwrap();
        assert_eq!(
            (ended.status.code(), ended.output.as_slice(), ended.reason().as_str()),
            (Some(3), &b"0027\n"[..], "last")
        );
        let ended = shell("exec <&-; echo done").input(&input).run(&|| false).unwrap();
        assert_eq!(ended.output, b"done\n", "it did not read");
        // A child that keeps the streams open does not hold up the caller.
        let began = Instant::now();
        assert_eq!(shell("sleep 20 & echo done").run(&|| false).unwrap().output, b"done\n");
        assert!(began.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_program_that_hangs_or_floods_is_killed() {
        let began = Instant::now();
        let error = shell("exec sleep 60").limit(Duration::from_millis(300)).run(&|| false).unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::System, "`sh` did not end in 0.3 s"));
        let error = shell("exec sleep 60 >&- 2>&-").limit(Duration::from_millis(300)).run(&|| false).unwrap_err();
        assert_eq!(error.message(), "`sh` did not end in 0.3 s");
        let error = shell("exec yes").largest(100_000).run(&|| false).unwrap_err();
        assert_eq!(error.message(), "`sh` writes more than 100000 bytes");
        let ended = shell("yes | head -c 5000000 >&2").run(&|| false).unwrap();
        assert!(ended.status.success() && ended.errors.len() <= KEPT_ERRORS);
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_ends_with_the_build_whatever_it_does_with_signals() {
        let (began, stopped) = (Instant::now(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                stopped.store(true, Ordering::SeqCst);
            });
            let helper = shell("trap '' INT TERM; while :; do sleep 1; done");
            let error = helper.run(&|| stopped.load(Ordering::SeqCst)).unwrap_err();
            assert_eq!(error.kind(), Kind::Interrupted);
        });
        assert!(began.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_the_way_out() {
        let error = Helper::new("kiln-no-such-program").or_else("install it").run(&|| false).unwrap_err();
        assert_eq!(
            (error.message(), error.hints()),
            ("cannot run `kiln-no-such-program`", &["install it".to_owned()][..])
        );
    }
}
