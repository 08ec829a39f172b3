//! What stands behind a name in a Dockerfile: a named context, an image built here, a registry, in this order.

use crate::cli::request::{BuildRequest, NamedContext};
use crate::engine::Machine;
use crate::error::{Error, Result};
use crate::image::Refs;
use crate::layer::rootfs::Rootfs;
use crate::source::image::{Pinned, Pull};
use frontend::config::ImageConfig;
use frontend::platform::Platform;
use frontend::resolve::{Resolve, ResolveError, Resolved};
use solver::{Event, Observer, Outcome, StepId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Answers the frontend's one question.
pub(super) struct Resolver<'a> {
    request: &'a BuildRequest,
    machine: &'a Machine,
    observer: &'a Arc<dyn Observer>,
    known: Mutex<HashMap<(String, Platform), Resolved>>,
}

/// Steps beside the graph count from here.
const FIRST_STEP: u32 = 1 << 30;

impl<'a> Resolver<'a> {
    pub(super) fn new(
        request: &'a BuildRequest,
        machine: &'a Machine,
        observer: &'a Arc<dyn Observer>,
    ) -> Resolver<'a> {
        Resolver { request, machine, observer, known: Mutex::default() }
    }

    fn once(
        &self,
        name: &str,
        platform: &Platform,
        ask: impl FnOnce() -> Result<Resolved>,
    ) -> Result<Resolved, ResolveError> {
        let key = (name.to_owned(), platform.clone());
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let resolved = ask().map_err(|error| refusal(&error))?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, resolved.clone());
        Ok(resolved)
    }

    fn pinned(&self, pinned: Pinned) -> Result<Resolved> {
        let config = serde_json::from_slice::<ImageConfig>(&pinned.config).map_err(|cause| {
            Error::new(crate::error::Kind::Source, format!("{}: the config can't be read", pinned.name)).because(cause)
        })?;
        if let Some(why) = &pinned.stale {
            let text = format!("{why}; using what {} stood for before ({})", pinned.name, pinned.digest);
            self.observer.event(SystemTime::now(), &Event::Warning { text });
        }
        let (name, digest) = (pinned.name.clone(), pinned.digest.to_string());
        self.machine.add_image(&digest, pinned);
        Ok(Resolved::Image { name, digest, config: Box::new(config) })
    }

    fn ask_source(&self, name: &str, platform: &Platform) -> Result<Resolved> {
        let number = self.known.lock().unwrap_or_else(PoisonError::into_inner).len() as u32;
        let (step, began) = (StepId(FIRST_STEP + number), Instant::now());
        self.observer
            .event(SystemTime::now(), &Event::Begin { step, name: format!("[internal] load metadata for {name}") });
        let pull = if self.request.pull { Pull::Always } else { Pull::Usual };
        let result = self.machine.images.resolve(name, platform, pull);
        let outcome = result.as_ref().map_or_else(|error| Outcome::Failed(error.to_string()), |_| Outcome::Done);
        self.observer.event(SystemTime::now(), &Event::End { step, outcome, took: began.elapsed() });
        self.pinned(result?)
    }

    /// An image of the store by this name, for this platform.
    fn built(&self, name: &str, platform: &Platform) -> Option<Resolved> {
        let refs = Refs::new(&self.machine.store);
        let found = refs
            .get(name)
            .ok()
            .flatten()
            .filter(|found| crate::image::refs::normal(name).is_ok_and(|name| name == found.name))?;
        let one = found
            .images
            .iter()
            .find(|image| Platform::parse(&image.platform).is_ok_and(|found| platform.accepts(&found)))?;
        let image = refs.image(one).ok()?;
        if !image.layers.iter().all(|layer| self.machine.layers.exists(layer)) {
            return None;
        }
        let config = serde_json::from_slice::<ImageConfig>(&image.config).ok()?;
        let digest = image.id.to_string();
        self.machine.add_built(&digest, Rootfs { layers: image.layers });
        Some(Resolved::Image { name: found.name, digest, config: Box::new(config) })
    }
}

impl Resolve for Resolver<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Result<Option<Resolved>, ResolveError> {
        let given = &self.request.contexts;
        let full = crate::image::refs::normal(name).ok();
        let found = given.get(name).or_else(|| {
            given
                .iter()
                .find(|(known, _)| full.is_some() && crate::image::refs::normal(known).ok() == full)
                .map(|(_, context)| context)
        });
        match found {
            None => Ok(None),
            Some(NamedContext::Dir(_)) => {
                let name =
                    given.keys().find(|known| known.as_str() == name || crate::image::refs::normal(known).ok() == full);
                Ok(name.map(|name| Resolved::Context { name: name.clone() }))
            }
            Some(NamedContext::Image(image)) => self.image(image, platform).map(Some),
            Some(NamedContext::Layout(layout)) => {
                self.once(layout, platform, || self.ask_source(layout, platform)).map(Some)
            }
        }
    }

    fn image(&self, name: &str, platform: &Platform) -> Result<Resolved, ResolveError> {
        self.once(name, platform, || match self.built(name, platform).filter(|_| !self.request.pull) {
            Some(built) => Ok(built),
            None => self.ask_source(name, platform),
        })
    }
}

fn refusal(error: &Error) -> ResolveError {
    ResolveError { message: error.to_string(), hint: error.hints().first().cloned() }
}
