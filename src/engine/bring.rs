//! Fetches the bytes of layers when they are needed: of base layers from their registry, of others
//! from the caches that promised them. A layer that no cache has is forgotten, and the build starts
//! again without it.
//!
//! A layer that a step will read is processed while its blob is downloaded: checked, unpacked and
//! indexed in one pass, with the layers in parallel. If that fails (a broken connection, a full
//! disk), it is done again when the step needs it, and the error is reported then.

use super::Host;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use cache::side_by_side;
use frontend::op::{Input, Op};
use layer::{BaseBlob, LayerId};
use registry::client::Watch;
use solver::{Event, Graph, StepId, VertexId};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use store::Expected;

/// The number of blobs fetched at once from caches.
const AT_ONCE: usize = 4;

/// The form that is made from a layer's blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The index, for look-ups.
    Tree,
    /// A directory and the index, to read or mount files.
    Dir,
}

/// A layer whose blob is missing.
type Missing = (LayerId, BaseBlob);

impl Host {
    /// Fetches the blobs that layers need for a form. Must be called before `tree`, `dir` or `open`
    /// of a base layer.
    pub(super) fn fetch(&self, layers: &[LayerId], form: Form, step: StepId) -> Result<()> {
        let needs = |id: &LayerId| self.layers.needs_blob(id);
        self.fetch_blobs(layers, &needs, Some(form), step)
    }

    /// Fetches the blobs that an export of these images needs, except those that the destination
    /// already has.
    pub fn fetch_all(&self, images: &[crate::image::Image], but: &HashSet<Digest>, step: StepId) -> Result<()> {
        let layers: Vec<LayerId> = images.iter().flat_map(|image| image.layers.iter().cloned()).collect();
        let missing = |id: &LayerId| self.layers.missing_blob(id).filter(|blob| !but.contains(&blob.digest));
        self.fetch_blobs(&layers, &missing, None, step)
    }

    /// Fetches missing blobs of imported layers, so that they can be packed again.
    pub fn fetch_travelled(&self, layers: &[LayerId], step: StepId) -> Result<()> {
        let travelled: Vec<LayerId> = layers.iter().filter(|id| self.layers.travelled(id)).cloned().collect();
        self.fetch(&travelled, Form::Dir, step)
    }

    /// The form that a look-up in a vertex's result should fetch: a directory if a RUN on top of it
    /// will mount it soon.
    pub(super) fn form_of(graph: &Graph<Op>, id: VertexId) -> Form {
        let mut on = HashSet::from([id]);
        for (other, vertex) in graph.iter() {
            let (base, runs): (Option<Input>, bool) = match &vertex.op {
                Op::Exec(exec) => (exec.base, true),
                Op::Copy(copy) => (copy.base, false),
                Op::File(file) => (file.base, false),
                Op::Source(_) => continue,
            };
            if base.and_then(|at| vertex.inputs.get(at)).is_some_and(|base| on.contains(base)) {
                if runs {
                    return Form::Dir;
                }
                on.insert(other);
            }
        }
        Form::Tree
    }

    fn fetch_blobs(
        &self,
        layers: &[LayerId],
        needs: &dyn Fn(&LayerId) -> Option<BaseBlob>,
        form: Option<Form>,
        step: StepId,
    ) -> Result<()> {
        loop {
            let mut seen = HashSet::new();
            let missing = layers.iter().filter_map(|id| Some((id.clone(), needs(id)?)));
            let mut missing: Vec<Missing> = missing.filter(|(_, blob)| seen.insert(blob.digest)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            // The largest takes longest.
            missing.sort_by_key(|(_, blob)| std::cmp::Reverse(blob.size));
            let digests: Vec<_> = missing.iter().map(|(_, blob)| blob.digest).collect();
            let coming = self.store.expect(&digests);
            if coming.digests().is_empty() {
                // Another step fetches all of them. A blob that it could not fetch is tried again
                // here, and the error is reported here too.
                digests.iter().for_each(|digest| self.store.await_blob(digest));
                if missing.iter().any(|(id, _)| !self.layers.exists(id)) {
                    return Err(Error::new(Kind::Lost, "a layer of a cache can't be had"));
                }
            } else {
                missing.retain(|(_, blob)| coming.digests().contains(&blob.digest));
                self.fetch_expected(coming, &missing, layers, form, step)?;
            }
        }
    }

    /// Fetches blobs, and makes the form of each layer during the download.
    fn fetch_expected(
        &self,
        coming: Expected,
        missing: &[Missing],
        layers: &[LayerId],
        form: Option<Form>,
        step: StepId,
    ) -> Result<()> {
        let (next, ahead) = (AtomicUsize::new(0), in_order(layers, missing));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let workers = form.map_or(0, |_| cores.min(ahead.len()));
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| self.make_all(&ahead, form, &next))).collect();
            let fetched = self.phase(step, "pull", || self.fetch_missing(missing, form, step));
            // Dropped, so that no step waits for a blob that was not fetched.
            drop(coming);
            if fetched.is_err() {
                next.store(ahead.len(), Ordering::Relaxed);
            }
            let name = if form == Some(Form::Dir) { "unpack" } else { "index" };
            self.phase(step, name, || workers.into_iter().for_each(|worker| drop(worker.join())));
            fetched
        })
    }

    fn make_all(&self, layers: &[&LayerId], form: Option<Form>, next: &AtomicUsize) {
        while !self.stop.is_stopped()
            && let Some(id) = layers.get(next.fetch_add(1, Ordering::Relaxed))
        {
            // A failure is repeated and reported by the step that needs the layer.
            let _ = self.make(id, form);
        }
    }

    /// Makes a form of a layer; `None` only checks its bytes.
    fn make(&self, id: &LayerId, form: Option<Form>) -> Result<()> {
        match form {
            Some(Form::Dir) => self.layers.dir(id).map(drop),
            Some(Form::Tree) => self.layers.tree(id).map(drop),
            None => self.layers.verify(id),
        }
    }

    fn fetch_missing(&self, missing: &[Missing], form: Option<Form>, step: StepId) -> Result<()> {
        let progress = |what: &str, done: u64, total: u64| {
            let (step, what, total) = (step, what.to_owned(), Some(total));
            self.observer.event(SystemTime::now(), &Event::Transfer { step, what, done, total });
        };
        let (travelled, bases): (Vec<_>, Vec<_>) = missing.iter().partition(|(id, _)| self.layers.travelled(id));
        let bases: Vec<BaseBlob> = bases.into_iter().map(|(_, blob)| blob.clone()).collect();
        self.images.fetch(&bases, &progress, &|| self.stop.is_stopped())?;
        side_by_side(&travelled, AT_ONCE, &|(id, blob)| self.bring(id, blob, form, &progress)).into_iter().collect()
    }

    fn bring(
        &self,
        id: &LayerId,
        blob: &BaseBlob,
        form: Option<Form>,
        progress: &(dyn Fn(&str, u64, u64) + Sync),
    ) -> Result<()> {
        let what = format!("{:.19}", blob.digest);
        let watch = Watch { progress: &|done| progress(&what, done, blob.size), stop: &|| self.stop.is_stopped() };
        let brought = self.remote_caches.bring(blob, &watch).or_else(|error| match self.images.origin(&blob.digest) {
            // An earlier build recorded the repository that promised the blob; this build need not
            // name it.
            Some(_) if error.kind() == Kind::Lost => {
                self.images.fetch(std::slice::from_ref(blob), progress, &|| self.stop.is_stopped())
            }
            _ => Err(error),
        });
        // The record of a cache is only as trustworthy as its writer, so the plain bytes are
        // checked before use.
        let check = || match form {
            Some(Form::Dir) => self.make(id, form).and_then(|()| self.layers.check_content(id)),
            _ => self.make(id, None),
        };
        brought.and_then(|()| check()).map_err(|error| {
            if self.stop.is_stopped() || error.kind() == Kind::Interrupted {
                return Error::new(Kind::Interrupted, "stopped");
            }
            self.remote_caches.complain(blob, &error);
            self.layers.forget(id);
            self.remote_caches.distrust(blob);
            Error::new(Kind::Lost, "a layer of a cache can't be had").because(error)
        })
    }
}

/// The layers without a missing blob first, then the others in download order.
fn in_order<'a>(layers: &'a [LayerId], missing: &'a [Missing]) -> Vec<&'a LayerId> {
    let comes = |id: &&LayerId| missing.iter().any(|(missing, _)| missing == *id);
    layers.iter().filter(|id| !comes(id)).chain(missing.iter().map(|(id, _)| id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontend::op::{Copy, Exec, Source};
    use solver::Vertex;

    #[test]
    fn a_base_is_unpacked_for_a_copy_if_a_run_follows_and_only_indexed_if_none_does() {
        let mut graph = Graph::default();
        let mut push = |op: Op, inputs: &[VertexId]| {
            graph.push(Vertex { op, inputs: inputs.to_vec(), name: String::new(), stage: String::new(), lines: None })
        };
        let context = push(Op::Source(Source::Context { name: "context".to_owned() }), &[]);
        let copy = |base| Op::Copy(Copy { base: Some(base), ..Copy::default() });
        let run = || Op::Exec(Exec { base: Some(0), ..Exec::default() });
        // FROM scratch, COPY, COPY, RUN; then COPY --from of it onto another.
        let first = push(copy(1), &[context]);
        let second = push(copy(1), &[context, first]);
        let ran = push(run(), &[second]);
        let last = push(copy(1), &[ran, context]);
        let top = push(copy(0), &[last]);
        for (id, form) in
            [(first, Form::Dir), (second, Form::Dir), (ran, Form::Tree), (last, Form::Tree), (top, Form::Tree)]
        {
            assert_eq!(Host::form_of(&graph, id), form, "{id:?}");
        }
    }
}
