//! The start of a build: opens contexts, names caches, and sets up the host.

use super::Build;
use crate::engine::pressure::Brake;
use crate::engine::{Host, Shared};
use crate::explain::Explainer;
use crate::export;
use crate::request::{BuildRequest, NamedContext};
use crate::source::context::{Context, ignore_of};
use crate::source::image::Images;
use base::error::{At as _, Result};
use cache::Caches;
use layer::{Flavour, Layers};
use sandbox::Stop;
use sandbox::cgroup::Groups;
use sandbox::emulate::Emulation;
use sandbox::network::Networks;
use sandbox::running::Steps;
use solver::Observer;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use store::Store;

impl<'a> Build<'a> {
    pub(super) fn new(
        request: &'a BuildRequest,
        layers: &Layers,
        stop: &Stop,
        observer: &Arc<dyn Observer>,
    ) -> Result<Build<'a>> {
        let store = layers.store();
        let host = Host {
            images: Images::new(store.clone(), &request.settings),
            remote_caches: Arc::new(remote_caches(request, layers, stop, observer)?),
            layers: layers.clone(),
            contexts: contexts(request, store)?.into(),
            secrets: request.secrets.clone(),
            agents: request.agents.clone(),
            limits: request.limits.clone(),
            emulation: Emulation::default(),
            groups: Groups::default(),
            networks: Networks::default(),
            steps: Steps::of(store.root()),
            brake: Brake::default(),
            stop: stop.clone(),
            observer: Arc::clone(observer),
            rootless: *layers.flavour() != Flavour::Root,
            explainer: Explainer::new(store, &request.place),
            must_hit: request.fail_on_miss.clone(),
            shared: Shared::default(),
            store: store.clone(),
        };
        let packing = export::packs(&request.outputs)?;
        Ok(Build { request, host, packing, next_step: 0, again: false, looks: 1 })
    }
}

/// The directories of the request. A build without a context has an empty one.
fn contexts(request: &BuildRequest, store: &Store) -> Result<BTreeMap<String, Context>> {
    let mut contexts = BTreeMap::new();
    let context = match &request.context {
        Some(context) => Context::open(context, ignore_of(context, request.dockerfile_path.as_deref())?, store)?,
        None => {
            let empty = store.temp("context");
            std::fs::create_dir(&empty).at("make", &empty)?;
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&empty, mode).at("set the mode of", &empty)?;
            Context::open(&empty, None, store)?
        }
    };
    contexts.insert("context".to_owned(), context);
    for (name, context) in &request.contexts {
        if let NamedContext::Dir(path) = context {
            contexts.insert(name.clone(), Context::open(path, ignore_of(path, None)?, store)?);
        }
    }
    Ok(contexts)
}

fn remote_caches(request: &BuildRequest, layers: &Layers, stop: &Stop, observer: &Arc<dyn Observer>) -> Result<Caches> {
    let (bases, interrupt) = (Images::new(layers.store().clone(), &request.settings), stop.clone());
    Caches::open(cache::Plan {
        wanted: &request.caches,
        settings: &request.settings,
        layers,
        observer,
        has_base: Box::new(move |diff_id, blob| bases.has_layer(diff_id, blob)),
        stopped: Arc::new(move || interrupt.is_interrupted()),
    })
}
