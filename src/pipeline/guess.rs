//! A plan made of what names stood for last time, while their registries are asked whether they still do. It is never
//! built: it tells whom to ask, all at once, and which files to look at in the meantime. A name that was never asked for
//! has an empty image in it: what copies take from a context seldom depends on the base.

use super::resolver::Resolver;
use crate::digest::Digest;
use crate::sync::lock;
use frontend::config::ImageConfig;
use frontend::op::Op;
use frontend::platform::Platform;
use frontend::resolve::{Resolve, ResolveError, Resolved};
use solver::{Graph, VertexId};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Answers without asking anybody.
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

/// Whether a copy of the guessed graph takes what the same vertex of the true one takes: the bases may be others.
pub(super) fn takes_the_same(guessed: &Graph<Op>, plan: &Graph<Op>, id: VertexId) -> bool {
    id.index() < guessed.len() && id.index() < plan.len() && taken(guessed, id) == taken(plan, id)
}

/// An op and what it reads but for its base.
fn taken(graph: &Graph<Op>, id: VertexId) -> (&Op, Vec<&Op>) {
    let vertex = graph.get(id);
    let is_base = |at: usize| matches!(&vertex.op, Op::Copy(copy) if copy.base == Some(at));
    let others = vertex.inputs.iter().enumerate().filter(|(at, _)| !is_base(*at));
    (&vertex.op, others.map(|(_, input)| &graph.get(*input).op).collect())
}

/// Nothing is known of it but its name.
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
            // Whatever it is, the true plan finds out.
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
