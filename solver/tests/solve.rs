//! The solver with toy ops: every test states the exact list of steps that ran.

#![allow(clippy::unwrap_used, missing_docs)]

use solver::memory::MemoryCache;
use solver::{
    Base, Cache, Describe, Engine, Event, Failure, Found, Graph, Key, Manifest, Observer, Role, Room, Shelf, Step,
    Task, Vertex, VertexId, key, solve,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::SystemTime;

#[derive(Clone)]
enum Toy {
    /// A pinned source with this content.
    Pinned(&'static str),
    /// A source whose content the engine knows.
    Open(&'static str),
    /// The first line of the inputs, and its own name below it.
    Head(&'static str),
    /// All inputs joined, and its own name.
    Join(&'static str),
    /// Puts its own name on its first input without reading it.
    Link(&'static str),
    /// Fails.
    Fail(&'static str),
    /// Waits until the engine is stopped.
    Hang(&'static str),
    /// Takes a while, and counts how many of its kind run.
    Slow(&'static str),
}

impl Describe for Toy {
    fn describe(&self, to: &mut dyn Manifest) {
        let (kind, name) = match self {
            Toy::Pinned(name) => ("pinned", name),
            Toy::Open(name) => ("open", name),
            Toy::Head(name) => ("head", name),
            Toy::Join(name) => ("join", name),
            Toy::Link(name) => ("link", name),
            Toy::Fail(name) => ("fail", name),
            Toy::Hang(name) => ("hang", name),
            Toy::Slow(name) => ("slow", name),
        };
        to.text(kind, name);
    }
}

/// The text of each layer, and the run that made it.
type Output = Vec<(String, usize)>;

#[derive(Default)]
struct Toys {
    files: Mutex<HashMap<&'static str, String>>,
    ran: Mutex<Vec<String>>,
    runs: AtomicUsize,
    lost: Mutex<Vec<usize>>,
    stopped: Mutex<bool>,
    wake: Condvar,
    hanging: AtomicBool,
    short: Option<&'static str>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Toys {
    fn read(&self, name: &str) -> String {
        self.files.lock().unwrap()[name].clone()
    }
    fn write(&self, name: &'static str, text: &str) {
        self.files.lock().unwrap().insert(name, text.to_owned());
    }
    fn ran(&self) -> String {
        std::mem::take(&mut *self.ran.lock().unwrap()).join(" ")
    }
}

fn texts(output: &Output) -> String {
    output.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join("\n")
}

impl Engine for Toys {
    type Op = Toy;
    type Output = Output;
    type Error = String;

    fn role(&self, op: &Toy) -> Role {
        match op {
            Toy::Pinned(_) => Role::Pinned,
            Toy::Open(_) => Role::Open,
            _ => Role::Work,
        }
    }
    fn base(&self, op: &Toy) -> Base {
        if matches!(op, Toy::Link(_)) { Base::Under(0) } else { Base::None }
    }
    fn part(&self, graph: &Graph<Toy>, id: VertexId) -> Result<Key, String> {
        Ok(key::key_of(|to| {
            for input in &graph.get(id).inputs {
                if let Toy::Open(name) = graph.get(*input).op {
                    to.text("open", &self.read(name));
                }
            }
        }))
    }
    fn settle(&self, at: &Step<'_, Self>, to: &mut dyn Manifest) -> Result<(), String> {
        for (place, input) in at.inputs.iter().enumerate() {
            if let (Some(input), true) = (input, self.base(at.op()).reads(place)) {
                to.text("content", &texts(input));
            }
        }
        Ok(())
    }
    fn content(&self, output: &Output) -> Result<Key, String> {
        Ok(key::key_of(|to| to.text("last", &output.last().unwrap().0)))
    }
    fn usable(&self, output: &Output) -> bool {
        let lost = self.lost.lock().unwrap();
        output.iter().all(|(_, run)| !lost.contains(run))
    }
    fn stack(&self, base: Option<&Output>, found: &Output) -> Result<Output, String> {
        Ok(base.into_iter().flatten().chain(found.last()).cloned().collect())
    }
    fn fits(&self, _: &Step<'_, Self>, _: &Output, _: &Output, _: Found) -> Result<bool, String> {
        Ok(true)
    }
    fn run(&self, at: &Step<'_, Self>) -> Result<Output, String> {
        let read: Output = at.inputs.iter().flatten().flatten().cloned().collect();
        let (name, text) = match at.op() {
            Toy::Pinned(text) => return Ok(vec![((*text).to_owned(), 0)]),
            Toy::Open(name) => return Ok(vec![(self.read(name), 0)]),
            Toy::Head(name) => (name, texts(&read).lines().next().unwrap_or("").to_owned()),
            Toy::Join(name) => (name, texts(&read)),
            Toy::Link(name) => (name, (*name).to_owned()),
            Toy::Fail(name) => {
                self.ran.lock().unwrap().push((*name).to_owned());
                return Err(format!("{name} is broken"));
            }
            Toy::Slow(name) => {
                self.most.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(5));
                self.running.fetch_sub(1, Ordering::SeqCst);
                (name, (*name).to_owned())
            }
            Toy::Hang(name) => {
                self.hanging.store(true, Ordering::SeqCst);
                let mut stopped = self.stopped.lock().unwrap();
                while !*stopped {
                    stopped = self.wake.wait(stopped).unwrap();
                }
                return Err(format!("{name} was stopped"));
            }
        };
        self.ran.lock().unwrap().push((*name).to_owned());
        Ok(vec![(text, 1 + self.runs.fetch_add(1, Ordering::SeqCst))])
    }
    fn room(&self, _: usize) -> Room {
        self.short.map_or(Room::Free, Room::Short)
    }
    fn stop(&self) {
        *self.stopped.lock().unwrap() = true;
        self.wake.notify_all();
    }
    fn stopped(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Observer for Log {
    fn event(&self, _: SystemTime, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[derive(Default)]
struct Bench {
    graph: Graph<Toy>,
    toys: Toys,
    cache: MemoryCache<Output>,
    fresh: Vec<VertexId>,
}

impl Bench {
    fn push(&mut self, op: Toy, inputs: &[VertexId]) -> VertexId {
        let name = "x".to_owned();
        self.graph.push(Vertex { op, inputs: inputs.to_vec(), name, stage: String::new(), lines: None })
    }
    fn solve(&self, target: VertexId) -> Result<String, Failure<String>> {
        self.output(target).map(|output| texts(&output))
    }
    fn output(&self, target: VertexId) -> Result<Output, Failure<String>> {
        let fresh = |id| self.fresh.contains(&id);
        let task = Task { graph: &self.graph, targets: &[target], fresh: &fresh, jobs: &|| 4, first_step: 0 };
        solve(&task, &self.toys, &self.cache, &Log::default()).map(|mut outputs| outputs.remove(0))
    }
    fn forget_written(&mut self) {
        // A new cache with the settled side of the old one is what a changed source amounts to.
        self.cache = MemoryCache::default();
    }
}

/// `COPY src` on a pinned base, then a step that reads its first line, then one that reads that.
fn chain() -> (Bench, VertexId) {
    let mut bench = Bench::default();
    bench.toys.write("src", "one\ntwo");
    let src = bench.push(Toy::Open("src"), &[]);
    let copy = bench.push(Toy::Join("copy"), &[src]);
    let head = bench.push(Toy::Head("head"), &[copy]);
    let last = bench.push(Toy::Join("last"), &[head]);
    (bench, last)
}

#[test]
fn an_unchanged_build_runs_nothing() {
    let (bench, last) = chain();
    assert_eq!(bench.solve(last).unwrap(), "one");
    assert_eq!(bench.toys.ran(), "copy head last");
    assert_eq!(bench.solve(last).unwrap(), "one");
    assert_eq!(bench.toys.ran(), "");
}

#[test]
fn what_is_missing_is_told_before_anything_runs() {
    let (mut bench, last) = chain();
    let missing = |bench: &Bench| {
        let fresh = |id| bench.fresh.contains(&id);
        let task = Task { graph: &bench.graph, targets: &[last], fresh: &fresh, jobs: &|| 4, first_step: 0 };
        let ids = solver::missing(&task, &bench.toys, &bench.cache).unwrap();
        ids.iter().map(|id| id.index()).collect::<Vec<_>>()
    };
    assert_eq!(missing(&bench), [1, 2, 3]);
    assert_eq!(bench.toys.ran(), "");
    bench.solve(last).unwrap();
    assert_eq!(missing(&bench), []);
    bench.fresh = vec![VertexId::clone(&bench.graph.iter().nth(2).unwrap().0)];
    assert_eq!(missing(&bench), [2, 3], "what stands on it is asked for by another key");
}

#[test]
fn a_change_that_does_not_show_stops_where_it_does_not_show() {
    let (bench, last) = chain();
    bench.solve(last).unwrap();
    bench.toys.ran();
    bench.toys.write("src", "one\nTWO");
    let before = bench.output(last).unwrap();
    assert_eq!(bench.toys.ran(), "copy head");
    bench.toys.write("src", "uno\nTWO");
    assert_eq!(bench.solve(last).unwrap(), "uno");
    assert_eq!(bench.toys.ran(), "copy head last");
    bench.toys.write("src", "one\ntwo");
    assert_eq!(bench.output(last).unwrap(), before, "the earlier layers stay");
    assert_eq!(bench.toys.ran(), "");
}

#[test]
fn a_step_that_ran_again_and_came_out_the_same_keeps_its_earlier_layer() {
    let (mut bench, _) = chain();
    let head = VertexId::clone(&bench.graph.iter().nth(2).unwrap().0);
    let first = bench.output(head).unwrap();
    bench.toys.write("src", "one\nelse");
    assert_eq!(bench.output(head).unwrap(), first);
    assert_eq!(bench.toys.ran(), "copy head copy head");
    bench.forget_written();
    assert_ne!(bench.output(head).unwrap(), first, "only a record makes it the same");
}

#[test]
fn a_hit_does_not_touch_what_lies_below_it() {
    let (bench, last) = chain();
    bench.solve(last).unwrap();
    // The layer of `copy` (run 1) is lost, those above are there.
    bench.toys.lost.lock().unwrap().push(1);
    bench.toys.ran();
    bench.solve(last).unwrap();
    assert_eq!(bench.toys.ran(), "");
}

#[test]
fn a_lost_layer_is_a_miss() {
    let (bench, last) = chain();
    bench.solve(last).unwrap();
    bench.toys.lost.lock().unwrap().push(3);
    bench.toys.ran();
    assert_eq!(bench.solve(last).unwrap(), "one");
    assert_eq!(bench.toys.ran(), "last");
}

#[test]
fn what_nobody_needs_does_not_run_and_equal_vertices_run_once() {
    let mut bench = Bench::default();
    let base = bench.push(Toy::Pinned("base"), &[]);
    bench.push(Toy::Fail("unneeded"), &[base]);
    let one = bench.push(Toy::Join("same"), &[base]);
    let two = bench.push(Toy::Join("same"), &[base]);
    let both = bench.push(Toy::Join("both"), &[one, two]);
    assert_eq!(bench.solve(both).unwrap(), "base\nbase");
    assert_eq!(bench.toys.ran(), "same both");
}

#[test]
fn a_linked_layer_is_kept_on_another_base() {
    let mut bench = Bench::default();
    let (a, b) = (bench.push(Toy::Pinned("a"), &[]), bench.push(Toy::Pinned("b"), &[]));
    let (on_a, on_b) = (bench.push(Toy::Link("l"), &[a]), bench.push(Toy::Link("l"), &[b]));
    let first = bench.output(on_a).unwrap();
    assert_eq!(bench.toys.ran(), "l");
    let second = bench.output(on_b).unwrap();
    assert_eq!(bench.toys.ran(), "");
    assert_eq!((texts(&second).as_str(), &second[1]), ("b\nl", &first[1]));
    let both = bench.push(Toy::Join("both"), &[on_a, on_b]);
    assert_eq!(bench.solve(both).unwrap(), "a\nl\nb\nl");
    assert_eq!(bench.toys.ran(), "both");
}

#[test]
fn a_failure_keeps_what_was_done_and_stops_what_runs() {
    let mut bench = Bench::default();
    let base = bench.push(Toy::Pinned("base"), &[]);
    let good = bench.push(Toy::Join("good"), &[base]);
    let bad = bench.push(Toy::Fail("bad"), &[good]);
    let hang = bench.push(Toy::Hang("hang"), &[base]);
    let all = bench.push(Toy::Join("all"), &[bad, hang]);
    match bench.solve(all) {
        Err(Failure::Failed { vertex, error }) => assert_eq!((vertex, error.as_str()), (bad, "bad is broken")),
        other => panic!("{:?}", other.map_err(|_| "another failure")),
    }
    assert_eq!(bench.toys.ran(), "good bad");
    bench.solve(good).unwrap();
    assert_eq!(bench.toys.ran(), "", "the step that ended before the failure was recorded");
}

#[test]
fn fresh_steps_run_again_and_what_stands_on_them_only_if_they_differ() {
    let (mut bench, last) = chain();
    let first = bench.output(last).unwrap();
    bench.toys.ran();
    bench.fresh = vec![bench.graph.iter().nth(1).unwrap().0];
    assert_eq!(bench.output(last).unwrap(), first);
    assert_eq!(bench.toys.ran(), "copy");
    bench.fresh = bench.graph.iter().map(|(id, _)| id).collect();
    assert_ne!(bench.output(last).unwrap(), first);
    assert_eq!(bench.toys.ran(), "copy head last");
}

#[test]
fn equal_builds_at_once_run_each_step_once() {
    let (bench, last) = chain();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(bench.solve(last).unwrap(), "one"));
        }
    });
    assert_eq!(bench.toys.ran(), "copy head last");
}

#[test]
fn a_waiter_says_whose_build_it_waits_for_and_looks_again() {
    let (bench, last) = chain();
    let (log, bench) = (Arc::new(Log::default()), Arc::new(bench));
    let copy = bench.graph.iter().nth(1).unwrap().0;
    // Another build holds the lock of `copy` and has its result when it lets go.
    let toys = &bench.toys;
    let key = {
        let seen = Mutex::new(None);
        struct Spy<'a>(&'a Mutex<Option<Key>>);
        impl Cache<Output> for Spy<'_> {
            type Lock = ();
            fn get(&self, _: Shelf, _: &Key) -> Vec<Output> {
                Vec::new()
            }
            fn put(&self, shelf: Shelf, key: &Key, _: &Output, _: &str) {
                if shelf == Shelf::Written {
                    self.0.lock().unwrap().get_or_insert(*key);
                }
            }
            fn try_lock(&self, _: &Key) -> Result<(), String> {
                Ok(())
            }
        }
        let task = Task { graph: &bench.graph, targets: &[copy], fresh: &|_| false, jobs: &|| 1, first_step: 0 };
        assert!(solve(&task, toys, &Spy(&seen), &Log::default()).is_ok());
        seen.into_inner().unwrap().unwrap()
    };
    let lock = bench.cache.try_lock(&key).unwrap();
    toys.ran();
    let other = {
        let (bench, log) = (Arc::clone(&bench), Arc::clone(&log));
        std::thread::spawn(move || {
            let task = Task { graph: &bench.graph, targets: &[last], fresh: &|_| false, jobs: &|| 1, first_step: 0 };
            solve(&task, &bench.toys, &bench.cache, &*log).map(|outputs| texts(&outputs[0])).unwrap()
        })
    };
    while !log.0.lock().unwrap().iter().any(|event| matches!(event, Event::Waiting { .. })) {
        std::thread::yield_now();
    }
    bench.cache.put(Shelf::Written, &key, &vec![("one\nfrom the other".to_owned(), 99)], "");
    drop(lock);
    assert_eq!(other.join().unwrap(), "one");
    assert_eq!(bench.toys.ran(), "head last");
}

#[test]
fn where_something_is_short_steps_run_one_after_the_other_and_say_so() {
    let mut bench = Bench::default();
    bench.toys.short = Some("memory");
    let base = bench.push(Toy::Pinned("base"), &[]);
    let slow: Vec<VertexId> = ["a", "b", "c", "d"].map(|name| bench.push(Toy::Slow(name), &[base])).to_vec();
    let last = bench.push(Toy::Join("last"), &slow);
    let task = Task { graph: &bench.graph, targets: &[last], fresh: &|_| false, jobs: &|| 4, first_step: 0 };
    let log = Log::default();
    solve(&task, &bench.toys, &bench.cache, &log).unwrap();
    assert_eq!(bench.toys.ran(), "a b c d last");
    assert_eq!(bench.toys.most.load(Ordering::SeqCst), 1);
    let waits = log.0.into_inner().unwrap();
    let waits = waits.iter().filter_map(|event| match event {
        Event::Waiting { step, name, what } => Some((step.0, name.as_str(), what.as_str())),
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), [(2, "x", "memory"), (3, "x", "memory"), (4, "x", "memory")]);
}

#[test]
fn the_longest_way_to_the_target_begins_first() {
    let mut bench = Bench::default();
    let base = bench.push(Toy::Pinned("base"), &[]);
    let short = ["s1", "s2", "s3"].map(|name| bench.push(Toy::Head(name), &[base]));
    let long = ["l1", "l2", "l3", "l4"].iter().fold(base, |below, name| bench.push(Toy::Head(name), &[below]));
    let last = bench.push(Toy::Join("last"), &[short.as_slice(), &[long]].concat());
    let task = Task { graph: &bench.graph, targets: &[last], fresh: &|_| false, jobs: &|| 1, first_step: 0 };
    solve(&task, &bench.toys, &bench.cache, &Log::default()).unwrap();
    assert_eq!(bench.toys.ran(), "l1 l2 l3 s1 s2 s3 l4 last");
}

#[test]
fn ten_thousand_steps_in_a_row() {
    let mut bench = Bench::default();
    let mut last = bench.push(Toy::Pinned("base"), &[]);
    for at in 0..10_000 {
        last = bench.push(Toy::Head(format!("step{at}").leak()), &[last]);
    }
    assert_eq!(bench.solve(last).unwrap(), "base");
    assert_eq!(bench.toys.ran().split(' ').count(), 10_000);
    assert_eq!(bench.solve(last).unwrap(), "base");
    assert_eq!(bench.toys.ran(), "");
}

/// A cache that keeps nothing and writes down what it is told.
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<String>>,
    descriptions: Mutex<Vec<(Key, String)>>,
}

impl Cache<Output> for Listener {
    type Lock = ();
    fn expect(&self, keys: &[Key]) {
        self.heard.lock().unwrap().push(format!("expect {}", keys.len()));
    }
    fn get(&self, shelf: Shelf, _: &Key) -> Vec<Output> {
        self.heard.lock().unwrap().push(format!("get {shelf:?}"));
        // Every description is known, so that settled keys are asked for too.
        if shelf == Shelf::Described { vec![Vec::new()] } else { Vec::new() }
    }
    fn put(&self, _: Shelf, key: &Key, _: &Output, description: &str) {
        self.descriptions.lock().unwrap().push((*key, description.to_owned()));
    }
    fn try_lock(&self, _: &Key) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_cache_hears_what_will_be_asked_and_each_record_proves_its_key() {
    let (bench, last) = chain();
    let cache = Listener::default();
    let task = Task { graph: &bench.graph, targets: &[last], fresh: &|_| false, jobs: &|| 2, first_step: 0 };
    solve(&task, &bench.toys, &cache, &Log::default()).unwrap();
    let heard = cache.heard.into_inner().unwrap();
    assert_eq!(heard[0], "expect 3");
    assert!(heard.iter().skip(1).all(|line| line.starts_with("get ")), "{heard:?}");
    let descriptions = cache.descriptions.into_inner().unwrap();
    assert_eq!(descriptions.len(), 12, "four shelves for each of three steps");
    for (key, description) in descriptions {
        assert_eq!(key::key_of_text(&description), Some(key), "{description}");
    }
}
