//! Runs the frontend's ops: [`Job`] is the solver's [`Engine`] for one graph, on a [`Host`]. Every
//! op results in a rootfs, and adds exactly one layer. This module does not know Dockerfiles, flags
//! or exporters.
//!
//! | op | written key needs | settled key needs | run by |
//! |---|---|---|---|
//! | image | its digest | | `source::image` |
//! | context | the selections of its readers | | `source::context` |
//! | copy | selection of contexts | selection of rootfs sources, facts of the target | `copy` |
//! | exec | | content of its rootfs, and of its mounts' `source` | `engine::step` -> `exec` |
//! | mkdir | | content of its rootfs | `copy` |
//!
//! The solver decides which layers make up a result ([`solver::Base`]); `times` decides which order
//! of times it may have.

pub mod agent;
mod bring;
pub mod cache_mounts;
mod chain;
mod content;
mod copies;
mod device;
mod host;
mod identity;
mod job;
pub mod pressure;
mod step;
mod stubs;
mod times;

pub use host::{Host, Secret, Shared};
pub use job::{Goal, Job, Memo};

use crate::image::manifest::Packing;
use base::error::{Error, Result};
use base::sync::lock;
use cache::record::LocalCache;
use frontend::op::{Op, Source};
use layer::rootfs::Rootfs;
use solver::{Base, Cache as _, Describe as _, Engine, Found, Graph, Key, Manifest, Role, Room, Shelf, Step, VertexId};

/// The cost in milliseconds of a step that runs nothing, for the order of steps.
const QUICK: u64 = 10;
/// The cost in milliseconds of a RUN that has never run here.
const UNKNOWN: u64 = 1000;

impl Engine for Job<'_> {
    type Op = Op;
    type Output = Rootfs;
    type Error = Error;

    fn role(&self, op: &Op) -> Role {
        match op {
            Op::Source(Source::Image { .. }) => Role::Pinned,
            Op::Source(Source::Context { .. }) => Role::Open,
            Op::Exec(_) | Op::Copy(_) | Op::File(_) => Role::Work,
        }
    }

    fn base(&self, op: &Op) -> Base {
        match op {
            Op::Source(_) => Base::None,
            Op::Exec(exec) => exec.base.map_or(Base::None, Base::Whole),
            Op::File(file) => file.base.map_or(Base::None, Base::Whole),
            Op::Copy(copy) if copy.link => copy.base.map_or(Base::None, Base::Under),
            Op::Copy(copy) => copy.base.map_or(Base::None, Base::Part),
        }
    }

    fn part(&self, graph: &Graph<Op>, id: VertexId) -> Result<Key> {
        Ok(Key(self.selection(graph, id, &[])?.digest().0))
    }

    fn settle(&self, at: &Step<'_, Self>, to: &mut dyn Manifest) -> Result<()> {
        match at.op() {
            Op::Source(_) => Ok(()),
            Op::File(file) => self.describe_base(at, file.base, to),
            Op::Exec(exec) => {
                self.describe_base(at, exec.base, to)?;
                exec.mounts.iter().try_for_each(|mount| self.describe_mount(at, mount, to))
            }
            Op::Copy(copy) => {
                let selection = self.selection(at.graph, at.id, at.inputs)?;
                to.text("selection", &selection.digest().to_string());
                to.text("target", &self.target_digest(at, copy)?.to_string());
                Ok(())
            }
        }
    }

    fn content(&self, output: &Rootfs) -> Result<Key> {
        let top = output.top().ok_or_else(|| bug("an op added no layer"))?;
        Ok(Key(self.host.layers.content(top)?.0))
    }

    fn usable(&self, output: &Rootfs) -> bool {
        self.host.layers.keep(&output.layers)
    }

    fn stack(&self, base: Option<&Rootfs>, found: &Rootfs) -> Result<Rootfs> {
        let top = found.top().ok_or_else(|| bug("an op added no layer"))?;
        Ok(base.cloned().unwrap_or_default().with(top.clone()))
    }

    fn fits(&self, at: &Step<'_, Self>, base: &Rootfs, found: &Rootfs, how: Found) -> Result<bool> {
        if !self.is_newer(base, found)? {
            return Ok(true);
        }
        match at.op() {
            Op::Copy(copy) if how == Found::Settled => self.has_times_of_now(at, copy, found),
            _ => Ok(false),
        }
    }

    fn came_out_the_same(&self, id: VertexId) {
        self.misses.came_out_the_same(id);
    }

    fn run(&self, at: &Step<'_, Self>) -> Result<Rootfs> {
        match at.op() {
            Op::Source(Source::Image { digest, .. }) => return self.host.image(digest),
            Op::Source(Source::Context { .. }) => return Ok(Rootfs::default()),
            _ => {
                let inputs = at.graph.get(at.id).inputs.iter().zip(at.inputs);
                inputs
                    .filter_map(|(id, rootfs)| Some((id, rootfs.as_ref()?)))
                    .try_for_each(|(id, rootfs)| self.host.check_chain(at.graph, *id, rootfs))?;
                self.report_miss(at)?;
            }
        }
        let layer = match at.op() {
            Op::Source(_) => return Err(bug("a source has no layer of its own")),
            Op::Copy(copy) => self.run_copy(at, copy).map_err(|error| self.host.or_full(error))?,
            Op::File(file) => self.run_mkdir(at, file)?,
            Op::Exec(exec) => self.run_exec(at, exec)?,
        };
        // A layer that was made from an untrusted layer is untrusted too.
        let read = at.inputs.iter().flatten().flat_map(|rootfs| &rootfs.layers);
        self.host.layers.made_of(&layer, read)?;
        self.misses.done(at.id, self.selected(at.id).as_deref());
        lock(&self.host.shared.ran).extend(at.written);
        Ok(Rootfs::default().with(layer))
    }

    fn ran(&self, written: &Key) -> bool {
        lock(&self.host.shared.ran).contains(written)
    }

    fn cost(&self, op: &Op) -> u64 {
        if !matches!(op, Op::Exec(_)) {
            return QUICK;
        }
        let key = solver::key::key_of(|to| op.describe(to));
        let earlier = LocalCache::new(&self.host.store).get(Shelf::Described, &key);
        let top = earlier.first().and_then(Rootfs::top);
        top.and_then(|top| self.host.layers.record(top).ok()?.took()).unwrap_or(UNKNOWN).max(QUICK)
    }

    fn room(&self, running: usize) -> Room {
        self.host.brake.room(running, || self.host.stop.busy())
    }

    fn ahead(&self, id: VertexId, output: &Rootfs) {
        // Removed after the lock is released: removal takes time, and the next step adds to the
        // list.
        let leftovers = std::mem::take(&mut *lock(&self.host.shared.leftovers));
        drop(leftovers);
        let Some(top) = output.top().filter(|_| self.goal.layers.contains(&id)) else { return };
        let make = || match self.goal.blob {
            // If this fails, it fails again when the result is needed, and the error is reported
            // then.
            Some(Packing { compression, force, .. }) => {
                drop(self.host.layers.blob(top, compression, force, self.goal.epoch))
            }
            None => drop(self.host.layers.diff_id(top, self.goal.epoch)),
        };
        match self.host.layers.is_large(top) {
            true => std::thread::scope(|scope| {
                scope.spawn(make);
                let _ = self.host.layers.content(top);
            }),
            false => make(),
        }
    }

    fn stop(&self) {
        self.host.stop.stop();
    }

    fn stopped(&self) -> bool {
        self.host.stop.is_stopped()
    }
}

fn bug(what: &'static str) -> Error {
    solver::Bug(what).into()
}
