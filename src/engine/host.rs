//! Everything that the ops of a build need of the machine. It is made once per build and never
//! changed; the state of one graph is in [`super::Job`].

use super::agent::Agent;
use super::bring::Form;
use super::cache_mounts;
use super::pressure::Brake;
use super::step::Leftover;
use super::stubs::Stubs;
use crate::explain::Explainer;
use crate::gc::policy;
use crate::source::context::Context;
use crate::source::image::{Images, Pinned};
use base::error::{Error, Kind, Result};
use base::sync::lock;
use cache::Caches;
use layer::Layers;
use layer::rootfs::Rootfs;
use layer::tree::Time;
use layer::view::View;
use sandbox::cgroup::Groups;
use sandbox::emulate::Emulation;
use sandbox::network::Networks;
use sandbox::running::Steps;
use sandbox::{Limits, Stop};
use solver::{Key, Observer, StepId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use store::Store;

/// The machine, as the ops of one build see it.
pub struct Host {
    /// The store.
    pub store: Store,
    /// The layers of the store.
    pub layers: Layers,
    /// Resolves and fetches base images.
    pub images: Images,
    /// The caches of `--cache-from` and `--cache-to`.
    pub remote_caches: Arc<Caches>,
    /// The build contexts, by name.
    pub contexts: Mutex<BTreeMap<String, Context>>,
    /// The values of `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// The agents of `--ssh`, by id.
    pub agents: BTreeMap<String, Agent>,
    /// The limits of every step.
    pub limits: Limits,
    /// Runs programs of other architectures.
    pub emulation: Emulation,
    /// Makes control groups for steps.
    pub groups: Groups,
    /// Makes networks for steps.
    pub networks: Networks,
    /// Lists the steps that run.
    pub steps: Steps,
    /// Decides if another step may begin beside those that run.
    pub brake: Brake,
    /// Ends everything that runs.
    pub stop: Stop,
    /// Receives the events of the build.
    pub observer: Arc<dyn Observer>,
    /// True if kiln runs in a user namespace of its own.
    pub rootless: bool,
    /// Compares the build with earlier ones.
    pub explainer: Explainer,
    /// `--fail-on-miss`: steps that must be in the cache.
    pub must_hit: Vec<String>,
    /// Filled in while the build runs.
    pub shared: Shared,
}

/// A secret of the user. Its value is read when a step asks for it, and stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The content of a file.
    File(PathBuf),
    /// A value from the environment.
    Value(Vec<u8>),
}

/// The directories of missing mount points are equal if these are: the mount points, and the
/// metadata of the root.
pub(super) type StubsName = (Stubs, Option<(u32, u32, u32, Time)>);

/// State that all graphs of a build share.
#[derive(Default)]
pub struct Shared {
    /// Base images by the digest in their op.
    images: Mutex<HashMap<String, Origin>>,
    /// The written keys of the steps that ran in this build.
    pub(super) ran: Mutex<HashSet<Key>>,
    /// Cache mounts of the steps that ended well.
    pub(super) used: Mutex<BTreeSet<cache_mounts::Used>>,
    /// Directories of missing mount points.
    pub(super) stubs: Mutex<BTreeMap<StubsName, PathBuf>>,
    /// The empty directory on which containers are put together.
    pub(super) stage: Mutex<Option<PathBuf>>,
    /// Directories and control groups of steps that have ended, to be removed.
    pub(super) leftovers: Mutex<Vec<Leftover>>,
    /// True once the user was warned that steps have the host's network.
    pub(super) shared_network: AtomicBool,
    /// True once the user was warned of missing isolation.
    pub(super) shortcoming: AtomicBool,
}

/// The source of an image's layers.
#[derive(Clone)]
enum Origin {
    /// A registry or a layout; blobs of its layers may still be missing here.
    Pinned(Arc<Pinned>),
    /// A build on this machine.
    Built(Rootfs),
}

impl Host {
    /// A build context, or a source that was fetched.
    pub fn context(&self, name: &str) -> Option<Context> {
        lock(&self.contexts).get(name).cloned()
    }

    /// Adds a context for the ops that name it.
    pub fn add_context(&self, name: &str, context: Context) {
        lock(&self.contexts).insert(name.to_owned(), context);
    }

    /// Writes the digests of the contexts' files to the store, for the next build.
    pub fn save_contexts(&self) {
        lock(&self.contexts).values().for_each(Context::save);
    }

    /// Forgets the state of the contexts, because a file of one has changed.
    pub fn look_again(&self, changed: Option<&[u8]>) {
        lock(&self.contexts).values().for_each(|context| context.look_again(changed));
    }

    /// Adds an image for the ops that name its digest.
    pub fn add_image(&self, digest: &str, pinned: Pinned) {
        lock(&self.shared.images).insert(digest.to_owned(), Origin::Pinned(Arc::new(pinned)));
    }

    /// Adds an image that was built here.
    pub fn add_built(&self, digest: &str, rootfs: Rootfs) {
        lock(&self.shared.images).insert(digest.to_owned(), Origin::Built(rootfs));
    }

    /// The rootfs of a base. Its layers are registered, not fetched.
    pub(super) fn image(&self, digest: &str) -> Result<Rootfs> {
        let base = lock(&self.shared.images).get(digest).cloned();
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

    /// A rootfs to look things up in. Layers that are missing are fetched in a form.
    pub(super) fn view(&self, rootfs: &Rootfs, form: Form, step: StepId) -> Result<View> {
        self.fetch(&rootfs.layers, form, step)?;
        self.phase(step, "index", || View::new(&self.layers, &rootfs.layers))
    }

    /// Does a part of a step's work, and tells the observer how long it took.
    pub(super) fn phase<T>(&self, step: StepId, name: &'static str, work: impl FnOnce() -> T) -> T {
        solver::phase(&*self.observer, Some(step), name, work)
    }

    /// Adds the way out to an error that a full disk has caused.
    pub(super) fn or_full(&self, error: Error) -> Error {
        let full = policy::no_room(self.store.root());
        if full.is_none() && !error.is_out_of_room() {
            return error;
        }
        let error = match full {
            Some(cause) => error.because(cause),
            None => error,
        };
        error.hint("the disk is full: `kiln prune` frees what no image needs; or put KILN_ROOT on a larger one")
    }
}
