//! The error of a failed step: the command, its exit, the cause, and the last lines of its output.

use crate::engine::Job;
use base::error::{Error, Kind};
use base::text::printable;
use frontend::op::{self, Network};
use sandbox::cgroup::Exceeded;
use sandbox::{Ended, Exit, Why};
use std::collections::VecDeque;

/// The number of output lines that an error repeats.
const TAIL_LINES: usize = 20;

/// Messages of programs when a name does not resolve: those of the C libraries, and of others.
const NO_NAME_WORDS: &[&str] = &[
    "Temporary failure resolving",
    "Temporary failure in name resolution",
    "Could not resolve host",
    "Couldn't resolve host",
    "Name or service not known",
    "Name does not resolve",
    "Name has no usable address",
    "bad address '",
    "unable to resolve host address",
    "EAI_AGAIN",
    "getaddrinfo ENOTFOUND",
    "no such host",
    "nodename nor servname provided",
    "failed to lookup address information",
];
const NO_NAME: &str = "if the name is right, the step's network has no nameserver that answers: `kiln doctor` tries it; \
     with `--network=host --allow network.host` the step has the host's own network";

fn tells_of_no_name(output: &str) -> bool {
    NO_NAME_WORDS.iter().any(|words| output.contains(words))
}

impl Job<'_> {
    /// The error of a step that failed.
    pub(super) fn failed(&self, exec: &op::Exec, ended: Ended, tail: Tail) -> Error {
        let command = exec.args.join(" ");
        let code = ended.exit.code();
        let error = match &ended.why {
            None => {
                let message = format!("process {command:?} did not complete successfully: exit code: {code}");
                self.guessed(Error::new(Kind::Step, message), ended.exit)
            }
            Some(Why::Exceeded(exceeded)) => exceeds(&command, code, *exceeded),
            Some(Why::TimedOut(doing)) => timed_out(exec, &command, doing),
        };
        match tail.text() {
            text if text.is_empty() => error,
            text if exec.network != Network::Host && tells_of_no_name(&text) => error.hint(NO_NAME).report(text),
            text => error.report(text),
        }
    }

    /// Adds a cause that the exit suggests.
    fn guessed(&self, error: Error, exit: Exit) -> Error {
        match exit {
            Exit::Signal(9) | Exit::Code(137) if self.host.groups.machine_had_no_memory() => error
                .because("out of memory: the machine had no more, and the kernel killed a process")
                .hint("run fewer steps or programs at once, or give the machine more memory"),
            Exit::Signal(9) | Exit::Code(137) => error.hint("it was killed, by somebody outside of the step"),
            Exit::Code(126) => {
                error.hint("the command was found but could not be run: is it executable, and for this architecture?")
            }
            Exit::Code(127) => error.hint("a command was not found: is it installed in an earlier step, and in PATH?"),
            _ => error,
        }
    }
}

fn exceeds(command: &str, code: i32, exceeded: Exceeded) -> Error {
    let error = Error::new(Kind::Step, format!("process {command:?} did not complete successfully: exit code: {code}"));
    match exceeded {
        Exceeded::Memory(Some(bytes)) => error
            .because(format!("out of memory: the step may use {bytes} bytes, and the kernel killed a process of it"))
            .hint("give it more with --resource memory=SIZE, or make it use less"),
        Exceeded::Memory(None) => error
            .because("out of memory: the kernel killed a process of the step")
            .hint("the control group that kiln runs in bounds it: give that more memory"),
        Exceeded::Processes(most) => error
            .because(format!("too many processes: the step may have {most} at once, and more were refused"))
            .hint("if that is no mistake, allow more with --resource pids=NUMBER"),
    }
}

fn timed_out(exec: &op::Exec, command: &str, doing: &[String]) -> Error {
    let after = exec.timeout.unwrap_or_default();
    let error = Error::new(Kind::Step, format!("process {command:?} did not end within {after:?}"));
    let error = error.hint(
        "RUN --timeout allows no more; give it longer, or look into it with `kiln ps` and `kiln shell` while it runs",
    );
    match doing {
        [] => error,
        lines => error.because(format!("its processes then:\n{}", lines.join("\n"))),
    }
}

/// The last lines of a step's output, with limited size.
#[derive(Default)]
pub(super) struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: bool,
}

impl Tail {
    /// The longest line; longer ones are cut.
    const LONGEST_LINE: usize = 400;

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.open {
                self.lines.push_back(Vec::new());
            }
            if let Some(line) = self.lines.back_mut() {
                let room = Self::LONGEST_LINE.saturating_sub(line.len());
                line.extend(piece.iter().filter(|byte| **byte != b'\n').take(room));
            }
            self.open = piece.last() != Some(&b'\n');
        }
        while self.lines.len() > TAIL_LINES {
            self.lines.pop_front();
        }
    }

    fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| printable(&String::from_utf8_lossy(line)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_resolve_is_known_by_many_words() {
        for text in [
            "Err:1 http://deb.debian.org/debian bookworm InRelease\n  Temporary failure resolving 'deb.debian.org'",
            "curl: (6) Could not resolve host: example.org",
            "wget: bad address 'example.org'",
            "npm ERR! request to https://registry.npmjs.org/x failed, reason: getaddrinfo EAI_AGAIN registry.npmjs.org",
            "dial tcp: lookup proxy.golang.org on 10.0.0.1:53: no such host",
        ] {
            assert!(tells_of_no_name(text), "{text}");
        }
        assert!(!tells_of_no_name("make: *** No rule to make target 'x'.  Stop."));
    }

    #[test]
    fn the_last_lines_are_told_without_what_drives_a_terminal() {
        let mut tail = Tail::default();
        tail.add(b"first\n\x1b[31mred\x1b[0m\tand ");
        tail.add(b"more\nlast");
        assert_eq!(tail.text(), "first\nred    and more\nlast");
        (0..TAIL_LINES).for_each(|_| tail.add(b"x\n"));
        assert!(!tail.text().contains("first"));
    }
}
