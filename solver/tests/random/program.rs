//! Random programs: graphs with shared prefixes, equal vertices and several targets, and edits of them.

use crate::toys::{FILES, Toy, Toys};
use solver::{Graph, Vertex, VertexId};

/// A small generator of numbers: xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
pub struct Program {
    pub graph: Graph<Toy>,
    pub targets: Vec<VertexId>,
}

fn vertex(op: Toy, inputs: Vec<VertexId>) -> Vertex<Toy> {
    Vertex { op, inputs, name: String::new(), stage: String::new(), lines: None }
}

/// The vertices of a graph that have a rootfs.
fn stacks(graph: &Graph<Toy>) -> Vec<VertexId> {
    graph.iter().filter(|(_, vertex)| !matches!(vertex.op, Toy::File(_))).map(|(id, _)| id).collect()
}

fn pick(random: &mut Random, ids: &[VertexId]) -> VertexId {
    ids[random.below(ids.len() as u64) as usize]
}

/// Something to copy from: a file as often as a rootfs.
fn source(random: &mut Random, graph: &Graph<Toy>, stacks: &[VertexId]) -> VertexId {
    let files: Vec<VertexId> = graph.iter().map(|(id, _)| id).take(FILES).collect();
    if random.chance(50) { pick(random, &files) } else { pick(random, stacks) }
}

fn step(random: &mut Random, graph: &Graph<Toy>) -> Vertex<Toy> {
    let stacks = stacks(graph);
    // The newest are the most likely bases: stages.
    let recent = &stacks[stacks.len().saturating_sub(3)..];
    let base = if random.chance(70) { pick(random, recent) } else { pick(random, &stacks) };
    let name = 1 + random.below(3);
    match random.below(10) {
        0..4 => {
            let mut inputs = vec![base];
            // A mount.
            if random.chance(20) {
                inputs.push(pick(random, &stacks));
            }
            vertex(Toy::Run { name, coarse: 1 + random.below(3), base: true }, inputs)
        }
        4 => vertex(Toy::Run { name, coarse: 3, base: false }, vec![base]),
        5 => vertex(Toy::Copy { name: 8, link: random.chance(50) }, vec![source(random, graph, &stacks)]),
        _ => {
            let from = source(random, graph, &stacks);
            vertex(Toy::Copy { name, link: random.chance(40) }, vec![base, from])
        }
    }
}

impl Program {
    pub fn random(random: &mut Random) -> Program {
        let mut graph = Graph::default();
        for file in 0..FILES {
            graph.push(vertex(Toy::File(file), Vec::new()));
        }
        for layers in 1..=2 {
            graph.push(vertex(Toy::Image(layers), Vec::new()));
        }
        for _ in 0..2 + random.below(9) {
            let next = match random.chance(35) && graph.len() > FILES + 2 {
                true => Program::repeated(random, &graph),
                false => step(random, &graph),
            };
            graph.push(next);
        }
        let mut program = Program { graph, targets: Vec::new() };
        program.choose_targets(random);
        program
    }

    /// An earlier vertex's op once more: as it is, or on another base.
    fn repeated(random: &mut Random, graph: &Graph<Toy>) -> Vertex<Toy> {
        let ids: Vec<VertexId> = graph.iter().map(|(id, _)| id).skip(FILES + 2).collect();
        let mut again = graph.get(pick(random, &ids)).clone();
        if random.chance(50) {
            again.inputs[0] = match matches!(again.op, Toy::Copy { .. }) && again.inputs.len() == 1 {
                true => source(random, graph, &stacks(graph)),
                false => pick(random, &stacks(graph)),
            };
        }
        again
    }

    fn choose_targets(&mut self, random: &mut Random) {
        let stacks = stacks(&self.graph);
        self.targets = vec![*stacks.last().unwrap()];
        (0..random.below(3)).for_each(|_| self.targets.push(pick(random, &stacks)));
    }

    /// A change of a file, an op, an input, or of what is wanted.
    pub fn edit(&mut self, random: &mut Random, toys: &Toys) {
        let file = random.below(FILES as u64) as usize;
        match random.below(10) {
            0..5 => toys.write(file, random.below(12)),
            5 => self.choose_targets(random),
            6 => self.replace(random, step),
            7 => self.replace(random, Program::repeated),
            _ => {
                let at = FILES + 2 + random.below((self.graph.len() - FILES - 2) as u64) as usize;
                let name = 1 + random.below(3);
                self.change(at, |_, vertex| match &mut vertex.op {
                    Toy::Run { coarse, .. } => *coarse = name,
                    Toy::Copy { name: old, .. } if *old != 8 => *old = name,
                    _ => (),
                });
            }
        }
    }

    /// Puts another vertex in the place of one.
    fn replace(&mut self, random: &mut Random, make: fn(&mut Random, &Graph<Toy>) -> Vertex<Toy>) {
        let at = FILES + 3 + random.below((self.graph.len() - FILES - 2) as u64) as usize;
        self.change(at, |graph, vertex| *vertex = make(random, graph));
    }

    fn change(&mut self, at: usize, mut change: impl FnMut(&Graph<Toy>, &mut Vertex<Toy>)) {
        let mut graph = Graph::default();
        for (id, vertex) in self.graph.iter() {
            let mut vertex = vertex.clone();
            if id.index() == at {
                change(&graph, &mut vertex);
            }
            graph.push(vertex);
        }
        self.graph = graph;
    }

    /// Vertices that must run again; mostly none.
    pub fn some_fresh(&self, random: &mut Random) -> Vec<VertexId> {
        match random.chance(20) {
            true => self.graph.iter().map(|(id, _)| id).filter(|_| random.chance(30)).collect(),
            false => Vec::new(),
        }
    }

    /// The steps that the targets stand on.
    pub fn reached(&self) -> Vec<VertexId> {
        let (mut todo, mut all) = (self.targets.clone(), Vec::new());
        while let Some(id) = todo.pop() {
            if !all.contains(&id) {
                all.push(id);
                todo.extend(&self.graph.get(id).inputs);
            }
        }
        let work = |id: &VertexId| matches!(self.graph.get(*id).op, Toy::Run { .. } | Toy::Copy { .. });
        all.into_iter().filter(work).collect()
    }
}
