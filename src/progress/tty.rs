//! The live view of a terminal. Finished steps scroll up as lines. Below them are the running steps
//! with their times, a bar for each long transfer, and the last lines of output. Control sequences
//! of a RUN never reach the terminal.

use super::Screen;
use base::sync::lock;
use base::text::{printable, printable_lines};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use solver::{Event, Observer, Outcome, StepId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The number of output lines shown for each running step.
const TAIL: usize = 6;
/// The interval at which times are redrawn.
const TICK: Duration = Duration::from_millis(200);

pub(super) fn view(screen: Screen) -> Arc<dyn Observer> {
    let target = if screen.terminal {
        ProgressDrawTarget::stderr_with_hz(15)
    } else {
        ProgressDrawTarget::term_like(Box::new(indicatif::InMemoryTerm::new(24, 100)))
    };
    let state = Arc::new(Mutex::new(State {
        bars: MultiProgress::with_draw_target(target),
        header: None,
        running: BTreeMap::new(),
        done: 0,
        began: Instant::now(),
        color: screen.color,
    }));
    let weak = Arc::downgrade(&state);
    // A thread redraws the times; it ends with the view.
    std::thread::spawn(move || {
        while let Some(state) = weak.upgrade() {
            lock(&state).tick();
            drop(state);
            std::thread::sleep(TICK);
        }
    });
    Arc::new(Tty(state))
}

struct Tty(Arc<Mutex<State>>);

struct State {
    bars: MultiProgress,
    header: Option<ProgressBar>,
    running: BTreeMap<StepId, Running>,
    done: usize,
    began: Instant,
    color: bool,
}

struct Running {
    name: String,
    /// The reason why the step was not cached.
    why: String,
    began: Instant,
    title: ProgressBar,
    transfers: HashMap<String, ProgressBar>,
    tail: VecDeque<String>,
    open: String,
    lines: Vec<ProgressBar>,
}

impl Drop for Tty {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.running.clear();
        let _ = state.bars.clear();
    }
}

impl Observer for Tty {
    fn event(&self, _: SystemTime, event: &Event) {
        lock(&self.0).take(event);
    }
}

impl State {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Begin { step, name } => self.begin(*step, name),
            Event::Cached { name, .. } => {
                self.done += 1;
                self.print(&format!(" => CACHED {}", printable(name)));
            }
            Event::Missed { step, miss } => {
                if let Some(running) = self.running.get_mut(step) {
                    running.why = printable(&miss.text);
                }
            }
            Event::Waiting { step, name, what } => {
                if !self.running.contains_key(step) {
                    self.print(&format!(" => {}: waiting for {}", printable(name), printable(what)));
                }
            }
            Event::Output { step, bytes, .. } => self.output(*step, bytes),
            Event::Transfer { step, what, done, total } => self.transfer(*step, what, *done, *total),
            Event::End { step, outcome, took } => self.end(*step, outcome, *took),
            Event::Warning { text } => self.print(&format!("warning: {}", printable_lines(text))),
            Event::Needs { .. } | Event::Phase { .. } => return,
        }
        self.tick();
    }

    fn print(&self, line: &str) {
        let _ = self.bars.println(line);
    }

    fn begin(&mut self, step: StepId, name: &str) {
        if self.header.is_none() {
            self.header = Some(self.bars.add(line()));
        }
        let title = self.bars.add(line());
        let name = printable(name);
        let running = Running {
            name,
            why: String::new(),
            began: Instant::now(),
            title,
            transfers: HashMap::new(),
            tail: VecDeque::new(),
            open: String::new(),
            lines: Vec::new(),
        };
        self.running.insert(step, running);
    }

    fn output(&mut self, step: StepId, bytes: &[u8]) {
        let bars = self.bars.clone();
        let Some(running) = self.running.get_mut(&step) else { return };
        running.open.push_str(&String::from_utf8_lossy(bytes));
        while let Some(end) = running.open.find(['\n', '\r']) {
            let line: String = running.open.drain(..=end).collect();
            if !line.trim().is_empty() {
                running.tail.push_back(printable(line.trim_end()));
            }
        }
        // A line without an end must not grow without limit.
        if running.open.len() > 4096 {
            running.open.clear();
        }
        while running.tail.len() > TAIL {
            running.tail.pop_front();
        }
        while running.lines.len() < running.tail.len() {
            let after = running.lines.last().unwrap_or(&running.title);
            let bar = bars.insert_after(after, line());
            running.lines.push(bar);
        }
        for (bar, text) in running.lines.iter().zip(&running.tail) {
            bar.set_message(format!("      {text}"));
        }
    }

    fn transfer(&mut self, step: StepId, what: &str, done: u64, total: Option<u64>) {
        let bars = self.bars.clone();
        let anchor = self.running.get(&step).map(|running| running.title.clone());
        let Some(running) = self.running.get_mut(&step) else { return };
        let bar = running.transfers.entry(what.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("      {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = ProgressBar::new(total.unwrap_or(0)).with_message(what.to_owned());
            let bar = style.map_or(bar.clone(), |style| bar.with_style(style.progress_chars("=> ")));
            anchor.map_or_else(|| bars.add(bar.clone()), |anchor| bars.insert_after(&anchor, bar.clone()))
        });
        bar.set_position(done);
        if total == Some(done) {
            bar.finish_and_clear();
        }
    }

    fn end(&mut self, step: StepId, outcome: &Outcome, took: Duration) {
        let Some(running) = self.running.remove(&step) else { return };
        for bar in running.lines.iter().chain(running.transfers.values()).chain([&running.title]) {
            bar.finish_and_clear();
            self.bars.remove(bar);
        }
        self.done += 1;
        let red = |text: String| if self.color { format!("\u{1b}[31m{text}\u{1b}[0m") } else { text };
        match outcome {
            Outcome::Done => self.print(&format!(" => {}  {:.1}s", running.name, took.as_secs_f64())),
            Outcome::Failed(_) => self.print(&red(format!(" => ERROR {}  {:.1}s", running.name, took.as_secs_f64()))),
            Outcome::Stopped => self.print(&format!(" => CANCELED {}", running.name)),
        }
        if !running.why.is_empty() {
            self.print(&format!("      not cached: {}", running.why));
        }
    }

    fn tick(&mut self) {
        if let Some(header) = &self.header {
            header.set_message(format!("[+] Building {:.1}s ({} done)", self.began.elapsed().as_secs_f64(), self.done));
        }
        for running in self.running.values() {
            running.title.set_message(format!(" => {}  {:.1}s", running.name, running.began.elapsed().as_secs_f64()));
        }
    }
}

/// A bar with text only, cut at the terminal's width.
fn line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    ProgressStyle::with_template("{wide_msg}").map_or(bar.clone(), |style| bar.with_style(style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_shown_with_its_output_and_what_is_done_scrolls_up() {
        let term = indicatif::InMemoryTerm::new(20, 60);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 255);
        let bars = MultiProgress::with_draw_target(target);
        let mut state =
            State { bars, header: None, running: BTreeMap::new(), done: 0, began: Instant::now(), color: false };
        let step = StepId(1);
        state.take(&Event::Cached { step: StepId(0), name: "[1/2] FROM x".to_owned() });
        state.take(&Event::Begin { step, name: "[2/2] RUN y".to_owned() });
        state.take(&Event::Output { step, stream: solver::Stream::Out, bytes: b"hello\nthere\n".to_vec() });
        std::thread::sleep(Duration::from_millis(20));
        state.tick();
        let shown = term.contents();
        assert!(shown.contains("=> CACHED [1/2] FROM x") && shown.contains("=> [2/2] RUN y"), "{shown}");
        assert!(shown.contains("hello") && shown.contains("there"), "{shown}");
        state.take(&Event::End { step, outcome: Outcome::Done, took: Duration::from_millis(300) });
        let shown = term.contents();
        assert!(shown.contains("=> [2/2] RUN y  0.3s") && !shown.contains("hello"), "{shown}");
    }
}
