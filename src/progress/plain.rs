//! Plain lines, as BuildKit writes them: `#5 [2/4] RUN make`, `#5 0.12 output`, `#5 DONE 0.2s`.

use base::size;
use base::sync::lock;
use base::text::{coloured, printable, printable_lines};
use solver::{Event, Observer, Outcome, StepId, Stream};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// The interval between two lines about the same transfer.
const TRANSFER_EVERY: Duration = Duration::from_secs(5);
/// The largest piece in which an endless line is written.
const LONGEST_LINE: usize = 64 * 1024;

pub(super) fn view() -> Arc<dyn Observer> {
    Arc::new(Plain {
        state: Mutex::new(State {
            out: Box::new(std::io::stderr()),
            page: Vec::new(),
            steps: HashMap::new(),
            last: None,
        }),
    })
}

struct Plain {
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    /// The text of one event, for a single write.
    page: Vec<u8>,
    steps: HashMap<StepId, Shown>,
    last: Option<usize>,
}

struct Shown {
    number: usize,
    name: String,
    began: Option<SystemTime>,
    open: [Vec<u8>; 2],
    transfers: HashMap<String, SystemTime>,
}

/// A line of a program's output.
struct Line<'a> {
    text: &'a [u8],
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A line feed.
    Feed,
    /// A carriage return alone.
    Return,
    /// No end: the line is too long, or the program has ended.
    None,
}

/// The first complete line, and the rest. `None` until the end of the line is known.
fn next_line(bytes: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let found = bytes.iter().take(LONGEST_LINE).position(|byte| matches!(byte, b'\n' | b'\r'));
    let (text, rest) = bytes.split_at(found.unwrap_or(LONGEST_LINE.min(bytes.len())));
    match rest {
        [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => Some((Line { text, end: End::Feed }, after)),
        // A line feed may follow.
        [b'\r'] | [] => None,
        [b'\r', after @ ..] => Some((Line { text, end: End::Return }, after)),
        _ => Some((Line { text, end: End::None }, rest)),
    }
}

impl Observer for Plain {
    fn event(&self, at: SystemTime, event: &Event) {
        lock(&self.state).take(at, event);
    }
}

impl State {
    fn take(&mut self, at: SystemTime, event: &Event) {
        match event {
            Event::Begin { step, name } => {
                self.step(*step, name).began = Some(at);
                self.title(*step);
            }
            Event::Cached { step, name } => {
                self.step(*step, name);
                self.title(*step);
                self.line(*step, "CACHED");
            }
            Event::Missed { step, miss } => self.line(*step, &format!("not cached: {}", printable(&miss.text))),
            Event::Waiting { step, name, what } => {
                self.step(*step, name);
                self.title(*step);
                self.line(*step, &format!("waiting for {}", printable(what)));
            }
            Event::Output { step, stream, bytes } => self.output(at, *step, *stream, bytes),
            Event::Transfer { step, what, done, total } => self.transfer(at, *step, what, *done, *total),
            Event::End { step, outcome, took } => {
                self.flush(at, *step);
                let end = match outcome {
                    Outcome::Done => format!("DONE {:.1}s", took.as_secs_f64()),
                    Outcome::Failed(message) => format!("ERROR: {}", printable_lines(message)),
                    Outcome::Stopped => "CANCELED".to_owned(),
                };
                self.line(*step, &end);
            }
            Event::Warning { text } => self.write(format_args!("warning: {}\n", printable_lines(text))),
            Event::Needs { .. } | Event::Phase { .. } => {}
        }
        self.show();
    }

    fn step(&mut self, step: StepId, name: &str) -> &mut Shown {
        let number = self.steps.len() + 1;
        let shown = self.steps.entry(step).or_insert_with(|| Shown {
            number,
            name: String::new(),
            began: None,
            open: Default::default(),
            transfers: HashMap::new(),
        });
        if shown.name.is_empty() {
            name.clone_into(&mut shown.name);
        }
        shown
    }

    /// Keeps text until the event is shown.
    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        let _infallible = self.page.write_fmt(text);
    }

    /// Writes the text. A failure must not stop the build.
    fn show(&mut self) {
        let _ = self.out.write_all(&self.page);
        self.page.clear();
    }

    fn title(&mut self, step: StepId) {
        let (number, name) =
            self.steps.get(&step).map_or((0, String::new()), |shown| (shown.number, shown.name.clone()));
        if !name.is_empty() {
            self.between(number);
            self.write(format_args!("#{number} {}\n", printable(&name)));
        }
    }

    /// Adds an empty line before the lines of another step.
    fn between(&mut self, number: usize) {
        if self.last.replace(number).is_some_and(|last| last != number) {
            self.write(format_args!("\n"));
        }
    }

    fn line(&mut self, step: StepId, text: &str) {
        let number = self.step(step, "").number;
        self.between(number);
        self.write(format_args!("#{number} {text}\n"));
    }

    fn output(&mut self, at: SystemTime, step: StepId, stream: Stream, bytes: &[u8]) {
        let which = usize::from(stream == Stream::Err);
        let shown = self.step(step, "");
        let mut open = std::mem::take(&mut shown.open[which]);
        open.extend_from_slice(bytes);
        let mut rest = open.as_slice();
        while let Some((line, after)) = next_line(rest) {
            self.said(at, step, line);
            rest = after;
        }
        self.step(step, "").open[which] = rest.to_vec();
    }

    fn said(&mut self, at: SystemTime, step: StepId, line: Line<'_>) {
        let text = String::from_utf8_lossy(line.text);
        // A line that ends with a carriage return is overwritten; one of blanks leaves nothing to
        // show.
        if line.end == End::Return && text.trim().is_empty() {
            return;
        }
        let began = self.step(step, "").began.unwrap_or(at);
        let since = at.duration_since(began).unwrap_or_default().as_secs_f64();
        self.line(step, &format!("{since:.3} {}", coloured(&text)));
    }

    fn flush(&mut self, at: SystemTime, step: StepId) {
        for which in 0..2 {
            let open = std::mem::take(&mut self.step(step, "").open[which]);
            let text = open.strip_suffix(b"\r").unwrap_or(&open);
            if !open.is_empty() {
                self.said(at, step, Line { text, end: if text == open { End::None } else { End::Return } });
            }
        }
    }

    fn transfer(&mut self, at: SystemTime, step: StepId, what: &str, done: u64, total: Option<u64>) {
        let ended = total == Some(done);
        let transfers = &mut self.step(step, "").transfers;
        let due = transfers.get(what).is_none_or(|last| at.duration_since(*last).unwrap_or_default() >= TRANSFER_EVERY);
        if due || ended {
            transfers.insert(what.to_owned(), at);
            let total = total.map(|total| format!(" / {}", size::shown(total))).unwrap_or_default();
            self.line(
                step,
                &format!("{} {}{total}{}", printable(what), size::shown(done), if ended { " done" } else { "" }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_step_that_waits_has_its_title_then_and_when_it_begins() {
        let page = Page::default();
        let mut state = State { out: Box::new(page.clone()), page: Vec::new(), steps: HashMap::new(), last: None };
        let (one, name) = (StepId(1), "[2/3] RUN y".to_owned());
        state.take(UNIX_EPOCH, &Event::Waiting { step: one, name: name.clone(), what: "memory".to_owned() });
        state.take(UNIX_EPOCH, &Event::Begin { step: one, name });
        let text = String::from_utf8(page.0.lock().expect("one thread").clone()).expect("text");
        assert_eq!(text, "#1 [2/3] RUN y\n#1 waiting for memory\n#1 [2/3] RUN y\n");
    }

    #[test]
    fn lines_are_those_of_buildkit() {
        let page = Page::default();
        let mut state = State { out: Box::new(page.clone()), page: Vec::new(), steps: HashMap::new(), last: None };
        let (one, two) = (StepId(7), StepId(9));
        let time = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let output = |step, text: &str| Event::Output { step, stream: Stream::Out, bytes: text.as_bytes().to_vec() };
        let events = [
            (0, Event::Cached { step: one, name: "[1/3] FROM x".to_owned() }),
            (0, Event::Begin { step: two, name: "[2/3] RUN y".to_owned() }),
            (
                0,
                Event::Missed {
                    step: two,
                    miss: solver::Miss { text: "never built here".to_owned(), ..Default::default() },
                },
            ),
            (120, output(two, "half")),
            (130, output(two, " line\nand")),
            (200, Event::End { step: two, outcome: Outcome::Done, took: Duration::from_millis(200) }),
        ];
        events.iter().for_each(|(at, event)| state.take(time(*at), event));
        let text = String::from_utf8(page.0.lock().expect("one thread").clone()).expect("text");
        assert_eq!(
            text,
            "#1 [1/3] FROM x\n#1 CACHED\n\n#2 [2/3] RUN y\n#2 not cached: never built here\n#2 0.130 half line\n#2 0.200 and\n#2 DONE 0.2s\n"
        );
    }

    #[test]
    fn what_a_program_writes_drives_neither_terminal_nor_log() {
        let told = |pieces: &[&str]| {
            let page = Page::default();
            let mut state = State { out: Box::new(page.clone()), page: Vec::new(), steps: HashMap::new(), last: None };
            let step = StepId(1);
            for piece in pieces {
                let bytes = piece.as_bytes().to_vec();
                state.take(UNIX_EPOCH, &Event::Output { step, stream: Stream::Out, bytes });
            }
            state.take(UNIX_EPOCH, &Event::End { step, outcome: Outcome::Done, took: Duration::ZERO });
            let text = String::from_utf8(page.0.lock().expect("one thread").clone()).expect("text");
            assert!(text.lines().all(|line| line.starts_with("#1 ")), "{text:?}");
            let lines = text.lines().filter_map(|line| line.strip_prefix("#1 0.000 ").map(str::to_owned));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(told(&["a\r\nb\r", "\nc\n"]), ["a", "b", "c"]);
        assert_eq!(told(&["10%\r20%\r", "30%\r\n"]), ["10%", "20%", "30%"]);
        assert_eq!(told(&["x\r::add-mask::y\r#9 DONE forged\n"]), ["x", "::add-mask::y", "#9 DONE forged"]);
        assert_eq!(told(&["bar\r   \r\rend"]), ["bar", "end"]);
        assert_eq!(told(&["\u{1b}]0;title\u{7}a\u{1b}[2J\n", "\u{1b}[32mgreen\n"]), ["a", "\u{1b}[32mgreen\u{1b}[0m"]);
        assert_eq!(told(&["one\n\ntwo"]), ["one", "", "two"]);
        let long = "x".repeat(2 * LONGEST_LINE + 5);
        let lines = told(&[&long, "y\n"]);
        assert_eq!((lines.len(), lines.concat().len()), (3, long.len() + 1));
    }
}
