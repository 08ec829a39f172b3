//! Toy ops whose results are pure functions, an engine that runs them, and an oracle that executes a whole graph.

use crate::program::Random;
use solver::{Base, Describe, Engine, Found, Graph, Key, Manifest, Role, Step, VertexId, key};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files of the user.
pub const FILES: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toy {
    /// A base image of this many layers.
    Image(u64),
    /// A file of the user.
    File(usize),
    /// Reads all of its inputs and has `coarse` different results. The first input is its base, if it has one.
    Run { name: u64, coarse: u64, base: bool },
    /// Reads a part of its last input, and, unless it is linked, a part of its base: the first of two inputs.
    Copy { name: u64, link: bool },
}

impl Describe for Toy {
    fn describe(&self, to: &mut dyn Manifest) {
        to.text("toy", &format!("{self:?}"));
    }
}

/// A layer: what is in it, when it was made, the time that its files show, and whether a `Run` made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub content: u64,
    pub made: u64,
    pub shows: u64,
    pub ran: bool,
}

pub type Stack = Vec<Layer>;

/// FNV-1a, with the high bits mixed into the low ones: remainders are taken of it.
fn hash(parts: &[u64]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash ^ (hash >> 29)
}

/// The part of its source that a copy takes.
fn selected(source: &[u64]) -> u64 {
    hash(source) % 4
}

/// The part of its base that a copy looks up.
fn looked_up(base: &[u64]) -> u64 {
    hash(&[hash(base), 7]) % 3
}

impl Toy {
    /// The content of the layer that it adds.
    fn result(&self, inputs: &[Vec<u64>]) -> u64 {
        match self {
            Toy::Image(_) | Toy::File(_) => 0,
            Toy::Run { name, coarse, .. } => {
                let read: Vec<u64> = inputs.iter().map(|input| hash(input)).collect();
                hash(&[*name, hash(&read) % coarse])
            }
            Toy::Copy { name, link } => {
                let target = if *link || inputs.len() < 2 { 0 } else { looked_up(&inputs[0]) };
                hash(&[*name, 1, selected(inputs.last().unwrap()), target])
            }
        }
    }

    fn base(&self, inputs: usize) -> Base {
        match self {
            Toy::Run { base: true, .. } => Base::Whole(0),
            Toy::Copy { link: true, .. } if inputs == 2 => Base::Under(0),
            Toy::Copy { link: false, .. } if inputs == 2 => Base::Part(0),
            _ => Base::None,
        }
    }
}

/// An op knows whether it has a base: the graph need not be asked.
impl Toys {
    fn base_of(&self, at: &Step<'_, Self>) -> Base {
        at.op().base(at.inputs.len())
    }
}

#[derive(Default)]
pub struct Toys {
    /// The content of a file, and its time.
    files: Mutex<[(u64, u64); FILES]>,
    clock: AtomicU64,
    ran: Mutex<Vec<Toy>>,
    lost: Mutex<HashSet<u64>>,
}

impl Toys {
    fn now(&self) -> u64 {
        1 + self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn file(&self, file: usize) -> (u64, u64) {
        self.files.lock().unwrap()[file]
    }

    /// Changes what a file holds.
    pub fn write(&self, file: usize, content: u64) {
        let now = self.now();
        self.files.lock().unwrap()[file] = (content, now);
    }

    /// The steps that ran since the last call.
    pub fn take_ran(&self) -> Vec<Toy> {
        std::mem::take(&mut *self.ran.lock().unwrap())
    }

    /// Loses about a fifth of all layers.
    pub fn lose(&self, random: &mut Random) {
        let last = self.clock.load(Ordering::SeqCst);
        self.lost.lock().unwrap().extend((1..=last).filter(|_| random.chance(20)));
    }

    /// The oracle: the contents of every vertex's stack.
    pub fn execute(&self, graph: &Graph<Toy>) -> Vec<Vec<u64>> {
        let mut all: Vec<Vec<u64>> = Vec::new();
        for (_, vertex) in graph.iter() {
            let inputs: Vec<Vec<u64>> = vertex.inputs.iter().map(|input| all[input.index()].clone()).collect();
            let stack = match &vertex.op {
                Toy::Image(layers) => image(*layers).iter().map(|layer| layer.content).collect(),
                Toy::File(file) => vec![self.file(*file).0],
                op => {
                    let base = op.base(inputs.len()).input().map(|at| inputs[at].clone()).unwrap_or_default();
                    [base, vec![op.result(&inputs)]].concat()
                }
            };
            all.push(stack);
        }
        all
    }
}

fn image(layers: u64) -> Stack {
    (0..layers).map(|at| Layer { content: hash(&[layers, at]), made: 0, shows: 0, ran: false }).collect()
}

fn contents(stack: &Stack) -> Vec<u64> {
    stack.iter().map(|layer| layer.content).collect()
}

impl Engine for Toys {
    type Op = Toy;
    type Output = Stack;
    type Error = String;

    fn role(&self, op: &Toy) -> Role {
        match op {
            Toy::Image(_) => Role::Pinned,
            Toy::File(_) => Role::Open,
            _ => Role::Work,
        }
    }

    fn base(&self, op: &Toy) -> Base {
        // Programs give a copy a base or none by its name: see `program`.
        match op {
            Toy::Copy { name, .. } => op.base(if *name % 8 == 0 { 1 } else { 2 }),
            op => op.base(1),
        }
    }

    fn part(&self, graph: &Graph<Toy>, id: VertexId) -> Result<Key, String> {
        let open = graph.get(id).inputs.iter().filter_map(|input| match graph.get(*input).op {
            Toy::File(file) => Some(file),
            _ => None,
        });
        Ok(key::key_of(|to| match graph.get(id).op {
            Toy::Copy { .. } => open.for_each(|file| to.number("part", selected(&[self.file(file).0]))),
            _ => open.for_each(|file| to.number("part", self.file(file).0)),
        }))
    }

    fn settle(&self, at: &Step<'_, Self>, to: &mut dyn Manifest) -> Result<(), String> {
        let inputs = (0..at.inputs.len()).map(|place| Ok(contents(at.input(place)?)));
        let inputs = inputs.collect::<Result<Vec<_>, solver::Bug>>()?;
        match at.op() {
            Toy::Copy { link, .. } => {
                to.number("selected", selected(inputs.last().unwrap()));
                if !link && inputs.len() == 2 {
                    to.number("target", looked_up(&inputs[0]));
                }
            }
            _ => inputs.iter().for_each(|input| to.text("input", &format!("{input:?}"))),
        }
        Ok(())
    }

    fn content(&self, output: &Stack) -> Result<Key, String> {
        Ok(key::key_of(|to| to.number("content", output.last().unwrap().content)))
    }

    fn usable(&self, output: &Stack) -> bool {
        let lost = self.lost.lock().unwrap();
        output.iter().all(|layer| !lost.contains(&layer.made))
    }

    fn stack(&self, base: Option<&Stack>, found: &Stack) -> Result<Stack, String> {
        Ok(base.into_iter().flatten().chain(found.last()).cloned().collect())
    }

    fn fits(&self, at: &Step<'_, Self>, base: &Stack, found: &Stack, how: Found) -> Result<bool, String> {
        let top = found.last().unwrap();
        let newer = base.iter().any(|layer| layer.made > top.made);
        let same = matches!(at.op(), Toy::Copy { .. }) && how == Found::Settled && self.shows(at)? == top.shows;
        Ok(!newer || same)
    }

    fn run(&self, at: &Step<'_, Self>) -> Result<Stack, String> {
        match at.op() {
            Toy::Image(layers) => return Ok(image(*layers)),
            Toy::File(file) => {
                let (content, shows) = self.file(*file);
                return Ok(vec![Layer { content, made: 0, shows, ran: false }]);
            }
            op => self.ran.lock().unwrap().push(op.clone()),
        }
        assert_eq!(self.base_of(at), self.base(at.op()));
        let inputs = (0..at.inputs.len()).map(|place| Ok(contents(at.input(place)?)));
        let content = at.op().result(&inputs.collect::<Result<Vec<_>, solver::Bug>>()?);
        let (made, ran) = (self.now(), matches!(at.op(), Toy::Run { .. }));
        Ok(vec![Layer { content, made, shows: if ran { made } else { self.shows(at)? }, ran }])
    }

    fn stop(&self) {}

    fn stopped(&self) -> bool {
        false
    }
}

impl Toys {
    /// The time that the files of a copy show: that of its source.
    fn shows(&self, at: &Step<'_, Self>) -> Result<u64, String> {
        Ok(at.input(at.inputs.len() - 1)?.iter().map(|layer| layer.shows).max().unwrap_or(0))
    }
}
