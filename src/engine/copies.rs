//! Copies: their selections, the facts that they depend on, and their layers. A selection is made
//! once: for the key of a copy before it runs, and used again to run it.

use super::bring::Form;
use super::{Host, Job, bug};
use crate::copy::{self, Facts, Selection};
use crate::source::context::Context;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use frontend::op::{self, CopySource, Op, Source};
use layer::LayerId;
use layer::files::Files;
use layer::rootfs::Rootfs;
use layer::tree::Time;
use layer::view::View;
use solver::{Engine as _, Graph, Role, Step, VertexId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The sources of a copy by the number of the input.
type Views = HashMap<usize, Box<dyn Files>>;

fn source(views: &Views, input: usize) -> Result<&dyn Files> {
    views.get(&input).map(|files| &**files).ok_or_else(|| bug("no such source"))
}

impl Job<'_> {
    /// The sources of a copy as files.
    fn source_views(&self, graph: &Graph<Op>, id: VertexId, inputs: &[Option<Rootfs>]) -> Result<Views> {
        let Op::Copy(copy) = &graph.get(id).op else { return Err(bug("only a copy has sources")) };
        let mut views = HashMap::new();
        for source in &copy.sources {
            let (CopySource::Path { input, .. } | CopySource::Raw { input, .. } | CopySource::Tree { input, .. }) =
                source
            else {
                continue;
            };
            if views.contains_key(input) {
                continue;
            }
            let files: Box<dyn Files> = match self.context_of(graph, id, *input)? {
                Some(context) => Box::new(context),
                None => {
                    let rootfs = inputs.get(*input).and_then(Option::as_ref);
                    let rootfs = rootfs.ok_or_else(|| bug("a source is not done"))?;
                    // An image's files will be read; a stage's files are mostly above its base.
                    let image = graph
                        .get(id)
                        .inputs
                        .get(*input)
                        .is_some_and(|source| matches!(graph.get(*source).op, Op::Source(Source::Image { .. })));
                    let form = if image { Form::Dir } else { Form::Tree };
                    Box::new(self.host.view(rootfs, form, self.step_of(id))?)
                }
            };
            views.insert(*input, files);
        }
        Ok(views)
    }

    /// The selection of a copy. It is made once: for a copy from a context, it is made for the key
    /// before the copy runs.
    pub(super) fn selection(
        &self,
        graph: &Graph<Op>,
        id: VertexId,
        inputs: &[Option<Rootfs>],
    ) -> Result<Arc<Selection>> {
        if let Some(known) = lock(&self.memo.selections).get(&id) {
            return Ok(Arc::clone(known));
        }
        let Op::Copy(copy) = &graph.get(id).op else { return Err(bug("only a copy selects")) };
        let views = self.source_views(graph, id, inputs)?;
        let select = || copy::select(copy, &|input| source(&views, input));
        let selection = Arc::new(self.host.phase(self.step_of(id), "select", select)?);
        lock(&self.memo.selections).insert(id, Arc::clone(&selection));
        Ok(selection)
    }

    /// Makes the selections of copies from contexts below a target in advance. An error is reported
    /// when the selection is needed.
    pub fn select_ahead(&self, graph: &Graph<Op>, target: VertexId) {
        let (mut seen, mut todo) = (HashSet::new(), vec![target]);
        while let Some(id) = todo.pop() {
            let vertex = graph.get(id);
            todo.extend(vertex.inputs.iter().filter(|input| seen.insert(**input)));
            let open = |input: &VertexId| self.role(&graph.get(*input).op) == Role::Open;
            if self.role(&vertex.op) == Role::Work && vertex.inputs.iter().any(open) {
                let _ = self.selection(graph, id, &[]);
            }
        }
    }

    /// The context of an input, if it is one.
    fn context_of(&self, graph: &Graph<Op>, id: VertexId, input: usize) -> Result<Option<Context>> {
        let source = graph.get(id).inputs.get(input).ok_or_else(|| bug("an op names an input that is not there"))?;
        match &graph.get(*source).op {
            Op::Source(Source::Context { name }) => match self.host.context(name) {
                Some(context) => Ok(Some(context)),
                None => Err(Error::new(Kind::Dockerfile, format!("there is no build context `{name}`"))),
            },
            _ => Ok(None),
        }
    }

    pub(super) fn run_copy(&self, step: &Step<'_, Self>, copy: &op::Copy) -> Result<LayerId> {
        let base = self.target(step, copy)?;
        let base = base.as_ref().map(|view| view as &dyn Files);
        let views = self.source_views(step.graph, step.id, step.inputs)?;
        let planned = lock(&self.memo.facts).remove(&step.id);
        let facts = planned.map_or_else(|| self.facts(step, copy, base, &views), Ok)?;
        // A step that must run reuses no earlier layer.
        let earlier = step.earlier.filter(|_| !step.fresh).and_then(Rootfs::top);
        let entries = copy::entries(copy, facts, &|input| source(&views, input), base, Time::now())?;
        self.host.phase(self.step_of(step.id), "write", || self.host.layers.publish_tar(entries, earlier))
    }

    /// Plans a copy, and remembers the digest of its facts.
    fn facts(&self, step: &Step<'_, Self>, copy: &op::Copy, base: Option<&dyn Files>, views: &Views) -> Result<Facts> {
        let selection = self.selection(step.graph, step.id, step.inputs)?;
        let plan = || copy::facts(copy, &selection, &|input| source(views, input), base, &self.host.store);
        let facts = self.host.phase(self.step_of(step.id), "place", plan)?;
        lock(&self.memo.targets).insert(step.id, facts.digest());
        Ok(facts)
    }

    /// The digest of the facts that a copy depends on in its target. The plan is kept for the run.
    pub(super) fn target_digest(&self, step: &Step<'_, Self>, copy: &op::Copy) -> Result<Digest> {
        if let Some(known) = lock(&self.memo.targets).get(&step.id) {
            return Ok(*known);
        }
        let base = self.target(step, copy)?;
        let views = self.source_views(step.graph, step.id, step.inputs)?;
        let facts = self.facts(step, copy, base.as_ref().map(|view| view as &dyn Files), &views)?;
        let digest = facts.digest();
        lock(&self.memo.facts).insert(step.id, facts);
        Ok(digest)
    }

    /// The rootfs in which a copy looks paths up; `None` with `--link`.
    fn target(&self, step: &Step<'_, Self>, copy: &op::Copy) -> Result<Option<View>> {
        let base = copy.base.filter(|_| !copy.link).map(|input| step.input(input)).transpose()?;
        base.map(|rootfs| self.base_view(step, rootfs)).transpose()
    }

    fn base_view(&self, step: &Step<'_, Self>, rootfs: &Rootfs) -> Result<View> {
        self.host.view(rootfs, Host::form_of(step.graph, step.id), self.step_of(step.id))
    }

    pub(super) fn run_mkdir(&self, step: &Step<'_, Self>, file: &op::File) -> Result<LayerId> {
        let base = file.base.map(|input| step.input(input)).transpose()?;
        let view = base.map(|rootfs| self.base_view(step, rootfs)).transpose()?;
        self.host
            .layers
            .publish_tar(copy::mkdir(&file.action, view.as_ref().map(|view| view as &dyn Files), Time::now())?, None)
    }

    /// The selection of a copy, if it was already made.
    pub(super) fn selected(&self, id: VertexId) -> Option<Arc<Selection>> {
        lock(&self.memo.selections).get(&id).cloned()
    }
}
