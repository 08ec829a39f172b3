//! Which op is run by whom: the solver's [`Engine`] for the frontend's ops. Every op results in a rootfs; what it
//! adds is always exactly one layer. Knows nothing of Dockerfiles, flags or exporters.
//!
//! | op | written key needs | settled key needs | run by |
//! |---|---|---|---|
//! | image | its digest | | `source::image` |
//! | context | what its readers select | | `source::context` |
//! | copy | selection of contexts | selection of rootfs sources, facts of the target | `copy` |
//! | exec | | content of its rootfs; of its binds and a cache's `from`, what is below `source` | `engine::step` -> `exec` |
//! | mkdir | | content of its rootfs | `copy` |
//!
//! How a result is put together of layers is the solver's affair ([`solver::Base`]); what order of times it may have
//! is decided in `times`.

pub mod agent;
mod bring;
pub mod caches;
mod chain;
mod content;
mod copies;
mod device;
mod identity;
pub mod pressure;
mod step;
mod stubs;
mod times;

use crate::copy::{Facts, Selection};
use crate::explain::{self, Explainer};
use crate::gc::policy;
use crate::source::context::Context;
use crate::source::image::{Images, Pinned};
use base::clock;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use bring::Form;
use cache::Caches;
use cache::record::LocalCache;
use frontend::op::{Op, Source};
use layer::rootfs::Rootfs;
use layer::tree::Time;
use layer::view::View;
use layer::{Compression, Layers};
use pressure::Brake;
use sandbox::cgroup::Groups;
use sandbox::emulate::Emulation;
use sandbox::network::Networks;
use sandbox::running::Steps;
use sandbox::{Limits, Stop};
use solver::{
    Base, Cache as _, Describe as _, Engine, Found, Graph, Key, Manifest, Observer, Role, Room, Shelf, Step, VertexId,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use store::Store;

/// Everything a build's ops need of the host.
pub struct Machine {
    /// Where everything is kept.
    pub store: Store,
    /// The layers of the store.
    pub layers: Layers,
    /// Brings base images.
    pub images: Images,
    /// Brings layers of other machines.
    pub remote: Arc<Caches>,
    /// The directories of the user, by name.
    pub contexts: Mutex<BTreeMap<String, Context>>,
    /// The values of `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// What `--ssh` gave, by id.
    pub agents: BTreeMap<String, agent::Agent>,
    /// What bounds every step.
    pub limits: Limits,
    /// What runs programs of other architectures.
    pub emulation: Emulation,
    /// What bounds all processes of a step together.
    pub groups: Groups,
    /// What steps reach others by.
    pub networks: Networks,
    /// Lists those that run.
    pub steps: Steps,
    /// Lets steps begin beside others, or not.
    pub brake: Brake,
    /// Ends everything that runs.
    pub stop: Stop,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// The id of the graph's first vertex in the stream of events.
    pub first_step: u32,
    /// Whether kiln runs in a user namespace of its own.
    pub rootless: bool,
    /// What the build will ask of its results.
    pub goal: Goal,
    /// What was resolved so far.
    pub known: Known,
    /// Why steps run.
    pub explainer: Explainer,
    /// `--fail-on-miss`: steps that must be in the cache.
    pub must_hit: Vec<String>,
}

/// What will be asked of results when all steps have run, so that it can be made while others run.
#[derive(Default)]
pub struct Goal {
    /// The vertices whose layers will be in the image.
    pub layers: HashSet<VertexId>,
    /// How an export packs them; whether in place of what a base came as.
    pub blob: Option<(Compression, bool)>,
    /// SOURCE_DATE_EPOCH.
    pub epoch: Option<i64>,
}

/// A secret of the user. Its value is read when the step that asks for it runs, and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// What stands in a file.
    File(PathBuf),
    /// A value that came by the environment.
    Value(Vec<u8>),
}

/// What missing mount points are known by: what they hold, and the metadata of the root.
type StubsName = (stubs::Stubs, Option<(u32, u32, u32, Time)>);

/// What a step costs that runs nothing, and what a RUN may cost that never ran here: milliseconds, for the order of steps.
const QUICK: u64 = 10;
const UNKNOWN: u64 = 1000;

/// What was looked up once and is needed again.
#[derive(Default)]
pub struct Known {
    /// Base images by the digest that stands in their op.
    images: Mutex<HashMap<String, Origin>>,
    /// Selections of copies, made for the key and used again to run.
    selections: Mutex<HashMap<VertexId, Arc<Selection>>>,
    /// The written keys of the steps that ran in this build.
    ran: Mutex<HashSet<Key>>,
    /// Cache mounts that steps of this build have used and ended well.
    used: Mutex<BTreeSet<caches::Used>>,
    /// What copies depend on in their targets, once it was looked up.
    targets: Mutex<HashMap<VertexId, Digest>>,
    /// The plans of copies that have not run, made for the key.
    facts: Mutex<HashMap<VertexId, Facts>>,
    /// Copies whose earlier layers have times that they can't have here.
    retimed: Mutex<HashSet<VertexId>>,
    /// Directories of missing mount points, by what they hold.
    stubs: Mutex<BTreeMap<StubsName, PathBuf>>,
    /// Where containers are put together.
    stage: Mutex<Option<PathBuf>>,
    /// What ended steps left behind.
    leftovers: Mutex<Vec<step::Leftover>>,
    /// Whether it was said that steps have the host's network.
    shared_network: AtomicBool,
    /// Whether it was said what the surroundings take away.
    shortcoming: AtomicBool,
}

/// What stands behind an image's digest.
#[derive(Clone)]
enum Origin {
    /// Pinned at a registry or a layout; the blobs of its layers may still be missing.
    Pinned(Arc<Pinned>),
    /// Built here.
    Built(Rootfs),
}

impl Known {
    /// Vertices of the next graph are others, but for these.
    pub fn keep_selections(&self, same: &dyn Fn(VertexId) -> bool) {
        lock(&self.selections).retain(|id, _| same(*id));
        lock(&self.targets).clear();
        lock(&self.facts).clear();
        lock(&self.retimed).clear();
    }
}

impl Machine {
    /// A directory of the user, or one that was fetched.
    pub fn context(&self, name: &str) -> Option<Context> {
        lock(&self.contexts).get(name).cloned()
    }

    /// Remembers the digests of files for the next build.
    pub fn save_contexts(&self) {
        lock(&self.contexts).values().for_each(Context::save);
    }

    /// Forgets what was seen of the user's directories: one of them has changed.
    pub fn look_again(&self, changed: Option<&[u8]>) {
        lock(&self.contexts).values().for_each(|context| context.look_again(changed));
        self.known.keep_selections(&|_| false);
    }

    /// Makes a directory known to the ops that name it.
    pub fn add_context(&self, name: &str, context: Context) {
        lock(&self.contexts).insert(name.to_owned(), context);
    }

    /// Makes an image known to the ops that name its digest.
    pub fn add_image(&self, digest: &str, pinned: Pinned) {
        lock(&self.known.images).insert(digest.to_owned(), Origin::Pinned(Arc::new(pinned)));
    }

    /// Makes an image that was built here known.
    pub fn add_built(&self, digest: &str, rootfs: Rootfs) {
        lock(&self.known.images).insert(digest.to_owned(), Origin::Built(rootfs));
    }

    /// The rootfs of a base. Nothing is fetched: layers are only registered.
    fn image(&self, digest: &str) -> Result<Rootfs> {
        let base = lock(&self.known.images).get(digest).cloned();
        match base {
            Some(Origin::Built(rootfs)) => Ok(rootfs),
            Some(Origin::Pinned(pinned)) => {
                let mut rootfs = Rootfs::default();
                for layer in &pinned.layers {
                    rootfs.layers.push(self.layers.base(layer.diff_id, &layer.blob, rootfs.top())?);
                }
                Ok(rootfs)
            }
            None => Err(Error::new(Kind::Source, format!("image {digest} was never resolved"))),
        }
    }

    /// A rootfs to look things up in. Its layers that are not here yet come in a form.
    fn view(&self, rootfs: &Rootfs, form: Form, step: u32) -> Result<View> {
        self.fetch(&rootfs.layers, form, step)?;
        self.phase(step, "index", || View::new(&self.layers, &rootfs.layers))
    }

    /// Does a part of a step's work, on the clock if somebody wants to know.
    fn phase<T>(&self, step: u32, name: &'static str, work: impl FnOnce() -> T) -> T {
        solver::phase(&*self.observer, Some(solver::StepId(step)), name, work)
    }

    fn step_of(&self, id: VertexId) -> u32 {
        self.first_step.saturating_add(id.index() as u32)
    }

    /// Tells why a step runs; an error if it must not.
    fn tell_why(&self, at: &Step<'_, Self>) -> Result<()> {
        let selection = self.selected(at.id);
        let step = explain::Step {
            graph: at.graph,
            id: at.id,
            inputs: at.inputs,
            selection,
            fresh: at.fresh,
            retimed: lock(&self.known.retimed).contains(&at.id),
            written: at.written,
            elsewhere: at.written.filter(|_| !at.fresh).and_then(|key| self.remote.elsewhere(&key)),
        };
        let miss = self.explainer.missed(&step);
        let vertex = at.graph.get(at.id);
        let named = |wanted: &&String| explain::names(wanted, &vertex.name, &vertex.stage);
        let refused = self.must_hit.iter().find(named).map(|wanted| {
            Error::new(
                Kind::Missed,
                format!("a step that `--fail-on-miss {wanted}` names was not cached: {}", miss.text),
            )
            .hint("`kiln explain` tells all that differs")
        });
        if !vertex.name.is_empty() {
            let event = solver::Event::Missed { step: solver::StepId(self.step_of(at.id)), miss };
            self.observer.event(SystemTime::now(), &event);
        }
        refused.map_or(Ok(()), Err)?;
        policy::make_room(self.store.root(), clock::now())
    }

    /// An error, with the way out if it came of a full disk.
    fn or_full(&self, error: Error) -> Error {
        match policy::no_room(self.store.root()) {
            None if !error.is_out_of_room() => error,
            full => full
                .into_iter()
                .fold(error, Error::because)
                .hint("the disk is full: `kiln prune` frees what no image needs; or put KILN_ROOT on a larger one"),
        }
    }
}

impl Engine for Machine {
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
        Ok(Key(self.layers.content(top)?.0))
    }

    fn usable(&self, output: &Rootfs) -> bool {
        self.layers.keep(&output.layers)
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
        self.explainer.came_out_the_same(id);
    }

    fn run(&self, at: &Step<'_, Self>) -> Result<Rootfs> {
        match at.op() {
            Op::Source(Source::Image { digest, .. }) => return self.image(digest),
            Op::Source(Source::Context { .. }) => return Ok(Rootfs::default()),
            _ => {
                let inputs = at.graph.get(at.id).inputs.iter().zip(at.inputs);
                inputs
                    .filter_map(|(id, rootfs)| Some((id, rootfs.as_ref()?)))
                    .try_for_each(|(id, rootfs)| self.check_chain(at.graph, *id, rootfs))?;
                self.tell_why(at)?;
            }
        }
        let layer = match at.op() {
            Op::Source(_) => return Err(bug("a source has no layer of its own")),
            Op::Copy(copy) => self.run_copy(at, copy).map_err(|error| self.or_full(error))?,
            Op::File(file) => self.run_mkdir(at, file)?,
            Op::Exec(exec) => self.run_exec(at, exec)?,
        };
        // What was made of a layer that nobody vouches for is vouched for by nobody.
        let read = at.inputs.iter().flatten().flat_map(|rootfs| &rootfs.layers);
        self.layers.made_of(&layer, read)?;
        self.explainer.done(at.id, self.selected(at.id).as_deref());
        lock(&self.known.ran).extend(at.written);
        Ok(Rootfs::default().with(layer))
    }

    fn ran(&self, written: &Key) -> bool {
        lock(&self.known.ran).contains(written)
    }

    fn cost(&self, op: &Op) -> u64 {
        if !matches!(op, Op::Exec(_)) {
            return QUICK;
        }
        let key = solver::key::key_of(|to| op.describe(to));
        let earlier = LocalCache::new(&self.store).get(Shelf::Described, &key);
        let top = earlier.first().and_then(Rootfs::top);
        top.and_then(|top| self.layers.record(top).ok()?.took()).unwrap_or(UNKNOWN).max(QUICK)
    }

    fn room(&self, running: usize) -> Room {
        self.brake.room(running, || self.stop.busy())
    }

    fn ahead(&self, id: VertexId, output: &Rootfs) {
        // Removed when the lock is free again: the next step leaves something too.
        let leftovers = std::mem::take(&mut *lock(&self.known.leftovers));
        drop(leftovers);
        let Some(top) = output.top().filter(|_| self.goal.layers.contains(&id)) else { return };
        let make = || match self.goal.blob {
            // What can't be made now fails again, and is told, when it is asked for.
            Some((how, force)) => drop(self.layers.blob(top, how, force, self.goal.epoch)),
            None => drop(self.layers.diff_id(top, self.goal.epoch)),
        };
        match self.layers.is_large(top) {
            true => std::thread::scope(|scope| {
                scope.spawn(make);
                let _ = self.layers.content(top);
            }),
            false => make(),
        }
    }

    fn stop(&self) {
        self.stop.stop();
    }

    fn stopped(&self) -> bool {
        self.stop.is_stopped()
    }
}

fn bug(what: &'static str) -> Error {
    solver::Bug(what).into()
}
