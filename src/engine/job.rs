//! The state of one graph while it is solved: made for it, dropped with it.

use super::Host;
use crate::copy::{Facts, Selection};
use crate::explain::{self, Misses};
use crate::gc::policy;
use crate::image::manifest::Packing;
use base::clock;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use solver::{Step, StepId, VertexId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// A graph's [`solver::Engine`].
pub struct Job<'a> {
    pub(super) host: &'a Host,
    pub(super) goal: Goal,
    pub(super) memo: Memo,
    pub(super) misses: Misses<'a>,
    /// The id of the graph's first vertex in the stream of events.
    first_step: StepId,
}

/// The use of the results once all steps have run: parts of it are made while other steps run.
#[derive(Default)]
pub struct Goal {
    /// The vertices whose layers will be in the image.
    pub layers: HashSet<VertexId>,
    /// The packing that an export asks for.
    pub blob: Option<Packing>,
    /// SOURCE_DATE_EPOCH.
    pub epoch: Option<i64>,
}

/// Results of looking at sources, computed once for a graph: for keys first, and used again to run.
#[derive(Default)]
pub struct Memo {
    /// The files that copies select.
    pub(super) selections: Mutex<HashMap<VertexId, Arc<Selection>>>,
    /// The digests of everything that copies depend on in their targets.
    pub(super) targets: Mutex<HashMap<VertexId, Digest>>,
    /// The plans of copies that have not run.
    pub(super) facts: Mutex<HashMap<VertexId, Facts>>,
    /// Copies whose earlier layers have times that they can't have here.
    pub(super) retimed: Mutex<HashSet<VertexId>>,
}

impl Memo {
    /// The selections of the vertices that are the same in another graph.
    pub fn selections_of(self, same: impl Fn(VertexId) -> bool) -> Memo {
        let kept = Memo::default();
        lock(&kept.selections).extend(lock(&self.selections).drain().filter(|(id, _)| same(*id)));
        kept
    }
}

impl<'a> Job<'a> {
    /// Begins with a graph. `arguments` are the names of its build arguments.
    pub fn new(host: &'a Host, goal: Goal, memo: Memo, first_step: StepId, arguments: BTreeSet<String>) -> Job<'a> {
        Job { host, goal, memo, misses: host.explainer.misses(arguments), first_step }
    }

    /// A job that looks at sources and runs nothing.
    pub fn ahead(host: &'a Host, first_step: StepId) -> Job<'a> {
        Job::new(host, Goal::default(), Memo::default(), first_step, BTreeSet::new())
    }

    /// Ends the job, and keeps the looks at its sources.
    pub fn into_memo(self) -> Memo {
        self.memo
    }

    /// Writes the explanations of this graph to the store, for later builds.
    pub fn save_misses(&self) {
        self.misses.save();
    }

    pub(super) fn step_of(&self, id: VertexId) -> StepId {
        StepId(self.first_step.0.saturating_add(id.index() as u32))
    }

    /// Tells the observer why a step runs. An error if `--fail-on-miss` names the step.
    pub(super) fn report_miss(&self, at: &Step<'_, Self>) -> Result<()> {
        let remote = &self.host.remote_caches;
        let step = explain::Step {
            graph: at.graph,
            id: at.id,
            inputs: at.inputs,
            selection: self.selected(at.id),
            fresh: at.fresh,
            retimed: lock(&self.memo.retimed).contains(&at.id),
            written: at.written,
            elsewhere: at.written.filter(|_| !at.fresh).and_then(|key| remote.elsewhere(&key)),
        };
        let miss = self.misses.missed(&step);
        let vertex = at.graph.get(at.id);
        let named = |wanted: &&String| explain::names(wanted, &vertex.name, &vertex.stage);
        let refused = self.host.must_hit.iter().find(named).map(|wanted| {
            let text = format!("a step that `--fail-on-miss {wanted}` names was not cached: {}", miss.text);
            Error::new(Kind::Missed, text).hint("`kiln explain` tells all that differs")
        });
        if !vertex.name.is_empty() {
            let event = solver::Event::Missed { step: self.step_of(at.id), miss };
            self.host.observer.event(SystemTime::now(), &event);
        }
        refused.map_or(Ok(()), Err)?;
        policy::make_room(self.host.store.root(), clock::now(), &self.host.stop)
    }
}
