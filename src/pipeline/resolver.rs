//! Resolves a name in a Dockerfile: tries a named context, then an image that was built here, then
//! a registry.

use crate::engine::Host;
use crate::image::refs::RefImage;
use crate::image::{Image, Refs};
use crate::request::fetch::{self, Access};
use crate::request::{BuildRequest, NamedContext};
use crate::source::context::{Context, ignore_of};
use crate::source::http::Fetched;
use crate::source::image::{Pinned, Pull};
use base::error::{Error, Result};
use base::sync::lock;
use frontend::config::ImageConfig;
use frontend::platform::Platform;
use frontend::remote::{Remote, Url};
use frontend::resolve::{Resolve, ResolveError, Resolved};
use layer::rootfs::Rootfs;
use solver::event::told;
use solver::{Event, Observer, StepId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Answers the frontend's question about a name.
pub(super) struct Resolver<'a> {
    request: &'a BuildRequest,
    host: &'a Host,
    observer: &'a Arc<dyn Observer>,
    /// The answers, including refusals, so that nothing is requested twice.
    known: Mutex<HashMap<(String, Platform), Result<Resolved, ResolveError>>>,
    /// The URLs behind each shown name.
    users: Mutex<HashMap<String, Vec<Url>>>,
    asked: AtomicU32,
    fetched: AtomicU32,
}

/// The first id of steps outside the graph.
const FIRST_STEP: u32 = 1 << 30;

impl<'a> Resolver<'a> {
    pub(super) fn new(request: &'a BuildRequest, host: &'a Host, observer: &'a Arc<dyn Observer>) -> Resolver<'a> {
        Resolver {
            request,
            host,
            observer,
            known: Mutex::default(),
            users: Mutex::default(),
            asked: AtomicU32::new(0),
            fetched: AtomicU32::new(0),
        }
    }

    fn once(
        &self,
        name: &str,
        platform: &Platform,
        ask: impl FnOnce() -> Result<Resolved>,
    ) -> Result<Resolved, ResolveError> {
        let key = (name.to_owned(), platform.clone());
        if let Some(known) = lock(&self.known).get(&key) {
            return known.clone();
        }
        let resolved = ask().map_err(|error| refusal(&error));
        lock(&self.known).insert(key, resolved.clone());
        resolved
    }

    fn pinned(&self, pinned: Pinned) -> Result<Resolved> {
        let config = ImageConfig::read(&pinned.config).map_err(|cause| {
            Error::new(base::error::Kind::Source, format!("{}: the config can't be read", pinned.name)).because(cause)
        })?;
        if let Some(why) = &pinned.stale {
            let text = format!("{why}; using what {} stood for before ({})", pinned.name, pinned.digest);
            self.observer.event(SystemTime::now(), &Event::Warning { text });
        }
        let (name, digest) = (pinned.name.clone(), pinned.digest.to_string());
        self.host.add_image(&digest, pinned);
        Ok(Resolved::Image { name, digest, config: Box::new(config) })
    }

    /// The last known answer for a name.
    pub(super) fn guessed(&self, name: &str, platform: &Platform) -> Option<Resolved> {
        self.pinned(self.host.images.guess(name, platform)?).ok()
    }

    /// True if `--build-context` gives the name to something other than a local directory.
    pub(super) fn is_given(&self, name: &str) -> bool {
        let far = |context: &NamedContext| !matches!(context, NamedContext::Dir(_));
        self.request.contexts.get(name).is_some_and(far)
    }

    /// An image that was built here, except with `--pull`.
    pub(super) fn built_unless_pull(&self, name: &str, platform: &Platform) -> Option<Resolved> {
        self.built(name, platform).filter(|_| !self.request.pull)
    }

    fn ask_source(&self, name: &str, platform: &Platform) -> Result<Resolved> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let pull = if self.request.pull { Pull::Always } else { Pull::Usual };
        let (step, shown) = (StepId(FIRST_STEP + number), format!("[internal] load metadata for {name}"));
        let resolve = || self.host.images.resolve(name, platform, pull);
        self.pinned(told(&**self.observer, step, shown, resolve)?)
    }

    /// A remote `--build-context` as a directory: a repository or an unpacked tarball.
    fn context_of(&self, name: &str, remote: &Remote) -> Result<Resolved, ResolveError> {
        self.once_fetched(name, remote, |remote| {
            let folder = match remote {
                Remote::Git(git) => self.git(git)?,
                Remote::Http(http) => fetch::unpack(&self.http(http)?, &self.host.store)?.0,
            };
            Context::fetched(&folder, ignore_of(&folder, None)?, &self.host.store)
        })
    }

    /// Opens a fetched directory once, and reports the fetch as a step.
    fn once_fetched(
        &self,
        name: &str,
        remote: &Remote,
        open: impl FnOnce(&Remote) -> Result<Context>,
    ) -> Result<Resolved, ResolveError> {
        if self.host.context(name).is_none() {
            let number = self.fetched.fetch_add(1, Ordering::Relaxed);
            let step = StepId(FIRST_STEP - 2 - number);
            let shown = match remote {
                Remote::Http(http) => http.url.to_string(),
                Remote::Git(git) => format!("{}#{}", git.url, git.reference),
            };
            let opened = told(&**self.observer, step, format!("[internal] load {shown}"), || open(remote));
            self.host.add_context(name, opened.map_err(|error| refusal(&error))?);
        }
        Ok(Resolved::Context { name: name.to_owned() })
    }

    /// A name for a remote source. It enters keys and is stored, so it contains no password; URLs
    /// that differ only in a password are numbered.
    fn name_of(&self, remote: &Remote) -> String {
        let (name, url) = match remote {
            Remote::Http(http) => (format!("{}#{}", http.url, http.checksum.as_deref().unwrap_or("")), &http.url),
            Remote::Git(git) => (format!("{git:?}"), &git.url),
        };
        let mut users = lock(&self.users);
        let known = users.entry(name.clone()).or_default();
        let number = known.iter().position(|known| known == url).unwrap_or_else(|| {
            known.push(url.clone());
            known.len() - 1
        });
        if number == 0 { name } else { format!("{name} ({})", number + 1) }
    }

    fn git(&self, git: &frontend::remote::Git) -> Result<std::path::PathBuf> {
        let stop = &|| self.host.stop.is_stopped();
        Access::of(self.request).fetch_git(git, &self.host.store, stop).map(|checkout| checkout.folder)
    }

    fn http(&self, http: &frontend::remote::Http) -> Result<Fetched> {
        Access::of(self.request).fetch_http(http, &self.host.store, &|| self.host.stop.is_stopped())
    }

    /// The image of another build of this process that serves a platform best.
    fn linked(&self, name: &str, images: &[Image], platform: &Platform) -> Result<Resolved, ResolveError> {
        let ranked = images.iter().filter_map(|image| Some((platform.rank(&image.platform)?, image)));
        let best = ranked.min_by_key(|(rank, _)| *rank);
        let (_, image) = best.ok_or_else(|| ResolveError {
            message: format!("the target behind {name} was not built for {platform}"),
            hint: Some("let both targets have the same platforms".to_owned()),
        })?;
        let config = ImageConfig::read(&image.config).map_err(|cause| {
            refusal(&Error::new(base::error::Kind::Source, "a config can't be read").because(cause))
        })?;
        let digest = image.id.to_string();
        self.host.add_built(&digest, Rootfs { layers: image.layers.clone() });
        Ok(Resolved::Image { name: name.to_owned(), digest, config: Box::new(config) })
    }

    /// An image of the store with this name and platform.
    fn built(&self, name: &str, platform: &Platform) -> Option<Resolved> {
        let refs = Refs::new(&self.host.store);
        let found = refs
            .get(name)
            .ok()
            .flatten()
            .filter(|found| crate::image::refs::normal(name).is_ok_and(|name| name == found.name))?;
        let rank = |image: &RefImage| platform.rank(&Platform::parse(&image.platform).ok()?);
        let (_, one) =
            found.images.iter().filter_map(|image| Some((rank(image)?, image))).min_by_key(|(rank, _)| *rank)?;
        let image = refs.image(one).ok()?;
        if !image.layers.iter().all(|layer| self.host.layers.exists(layer)) {
            return None;
        }
        let config = ImageConfig::read(&image.config).ok()?;
        let digest = image.id.to_string();
        self.host.add_built(&digest, Rootfs { layers: image.layers });
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
            Some(NamedContext::Built(images)) => self.linked(name, images, platform).map(Some),
            Some(NamedContext::Remote(remote)) => self.context_of(name, remote).map(Some),
            Some(NamedContext::Layout(layout)) => {
                self.once(layout, platform, || self.ask_source(layout, platform)).map(Some)
            }
        }
    }

    fn remote(&self, remote: &Remote) -> Result<Resolved, ResolveError> {
        let name = self.name_of(remote);
        self.once_fetched(&name, remote, |remote| {
            let folder = match remote {
                Remote::Git(git) => self.git(git)?,
                Remote::Http(http) => self.http(http)?.folder,
            };
            Context::fetched(&folder, None, &self.host.store)
        })
    }

    fn image(&self, name: &str, platform: &Platform) -> Result<Resolved, ResolveError> {
        self.once(name, platform, || match self.built_unless_pull(name, platform) {
            Some(built) => Ok(built),
            None => self.ask_source(name, platform),
        })
    }
}

fn refusal(error: &Error) -> ResolveError {
    ResolveError { message: error.to_string(), hint: error.hints().first().cloned() }
}
