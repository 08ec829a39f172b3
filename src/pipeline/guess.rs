//! The plan made of the last known answers for names, while registries are asked for current ones.
//! It is never built: it tells which names to ask for, all at once, and which files to read in the
//! meantime. An unknown name gets an empty image, as the files that a copy takes seldom depend on
//! the base.

use super::resolver::Resolver;
use base::digest::Digest;
use base::sync::lock;
use frontend::config::ImageConfig;
use frontend::op::Op;
use frontend::platform::Platform;
use frontend::resolve::{Resolve, ResolveError, Resolved};
use solver::{Graph, VertexId};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Answers without asking a registry.
pub(super) struct Guess<'a> {
    resolver: &'a Resolver<'a>,
    asked: Mutex<BTreeSet<(String, Platform)>>,
}

impl<'a> Guess<'a> {
    pub(super) fn new(resolver: &'a Resolver<'a>) -> Guess<'a> {
        Guess { resolver, asked: Mutex::default() }
    }

    /// The names that registries must be asked for.
    pub(super) fn asked(self) -> BTreeSet<(String, Platform)> {
        self.asked.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if a copy of the guessed graph takes the same files as the same vertex of the real one;
/// their bases may differ.
pub(super) fn takes_the_same(guessed: &Graph<Op>, plan: &Graph<Op>, id: VertexId) -> bool {
    id.index() < guessed.len() && id.index() < plan.len() && taken(guessed, id) == taken(plan, id)
}

/// An op and its inputs except its base.
fn taken(graph: &Graph<Op>, id: VertexId) -> (&Op, Vec<&Op>) {
    let vertex = graph.get(id);
    let is_base = |at: usize| matches!(&vertex.op, Op::Copy(copy) if copy.base == Some(at));
    let others = vertex.inputs.iter().enumerate().filter(|(at, _)| !is_base(*at));
    (&vertex.op, others.map(|(_, input)| &graph.get(*input).op).collect())
}

/// An image without any data except its name.
fn stand_in(name: &str, platform: &Platform) -> Resolved {
    let Platform { os, architecture, variant } = platform.clone();
    let config = Box::new(ImageConfig { os, architecture, variant, ..ImageConfig::default() });
    Resolved::Image { name: name.to_owned(), digest: Digest::of(name.as_bytes()).to_string(), config }
}

fn unknown() -> ResolveError {
    ResolveError { message: "nobody has asked for it yet".to_owned(), hint: None }
}

impl Resolve for Guess<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Result<Option<Resolved>, ResolveError> {
        match self.resolver.is_given(name) {
            // The real plan finds out what it is.
            true => Err(unknown()),
            false => self.resolver.named(name, platform),
        }
    }

    fn image(&self, name: &str, platform: &Platform) -> Result<Resolved, ResolveError> {
        if let Some(built) = self.resolver.built_unless_pull(name, platform) {
            return Ok(built);
        }
        let key = (name.to_owned(), platform.clone());
        lock(&self.asked).insert(key);
        Ok(self.resolver.guessed(name, platform).unwrap_or_else(|| stand_in(name, platform)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontend::op::{Copy, Source};
    use solver::Vertex;

    /// A graph with a base, a context, and a copy of the context; the copy is last.
    fn graph(base: &str, context: &str, dest: &str) -> (Graph<Op>, VertexId) {
        let mut graph = Graph::default();
        let mut push = |op: Op, inputs: &[VertexId]| {
            graph.push(Vertex { op, inputs: inputs.to_vec(), name: String::new(), stage: String::new(), lines: None })
        };
        let (name, digest, platform) = (base.to_owned(), base.to_owned(), Platform::host());
        let base = push(Op::Source(Source::Image { name, digest, platform }), &[]);
        let context = push(Op::Source(Source::Context { name: context.to_owned() }), &[]);
        let copy = push(Op::Copy(Copy { base: Some(0), dest: dest.to_owned(), ..Copy::default() }), &[base, context]);
        (graph, copy)
    }

    #[test]
    fn a_copy_takes_the_same_on_another_base_and_on_nothing_else() {
        let (guessed, copy) = graph("one", "context", "/app/");
        let same = |(plan, _): (Graph<Op>, VertexId)| takes_the_same(&guessed, &plan, copy);
        assert!(same(graph("one", "context", "/app/")));
        assert!(same(graph("two", "context", "/app/")));
        // The base has another WORKDIR, or the name is that of another directory.
        assert!(!same(graph("two", "context", "/srv/")));
        assert!(!same(graph("one", "other", "/app/")));
        assert!(!takes_the_same(&guessed, &Graph::default(), copy), "the plan has no such vertex");
    }
}
