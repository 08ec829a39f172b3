//! Remote contexts: a tar on standard input, a git repository, the URL of a tarball or of a
//! Dockerfile. A thread of its own fetches them, and is abandoned when the build is interrupted, so
//! a silent server cannot block kiln.

use super::BuildRequest;
use crate::engine::Secret;
use crate::engine::agent::is_socket;
use crate::source::{archive, context, git, http};
use base::error::{At as _, Error, Kind, Result};
use base::read;
use frontend::remote::{self, Git, Remote};
use layer::compress::{Format, begins_tar, format_of};
use registry::Settings;
use sandbox::Stop;
use solver::event::told;
use solver::{Observer, StepId};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use store::Store;

/// A context that is not on this machine yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingContext {
    /// A tar on standard input, of which these bytes have been read.
    Archive(Vec<u8>),
    /// A remote source.
    Remote(Remote),
}

/// The number of bytes that tell a tar from a Dockerfile.
const HEAD: u64 = 1024;
/// The interval for checking whether the build was interrupted.
const POLL: Duration = Duration::from_millis(20);
/// The id of the fetch in the stream of events.
const STEP: StepId = StepId((1 << 30) - 1);

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

/// Reads the first bytes, which tell an archive from a Dockerfile.
pub(crate) fn head(from: impl Read, name: impl AsRef<Path>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(HEAD).read_to_end(&mut bytes).at("read", name)?;
    Ok(bytes)
}

/// True for a tar, compressed or not.
pub(crate) fn is_archive(head: &[u8]) -> bool {
    format_of(head) != Format::Plain || begins_tar(head)
}

/// Fetches the pending context of a request, if there is one. Takes SOURCE_DATE_EPOCH from it or
/// from the Dockerfile, unless the request sets it.
pub fn fetch_context(request: &mut BuildRequest, store: &Store, stop: &Stop, observer: &dyn Observer) -> Result<()> {
    let keep_git_dir = request.keep_git_dir;
    let pending = request.pending.take().map(|pending| match pending {
        PendingContext::Remote(Remote::Git(git)) if keep_git_dir => {
            PendingContext::Remote(Remote::Git(Git { keep_git_dir: Some(true), ..git }))
        }
        other => other,
    });
    let Some(pending) = pending else {
        epoch_of_dockerfile(request);
        return match request.epoch_of_context {
            true => Err(usage("SOURCE_DATE_EPOCH=context: a directory has no time of its own")
                .hint("give a repository, a URL or a tar as context, or a number of seconds")),
            false => Ok(()),
        };
    };
    let name = match &pending {
        PendingContext::Archive(_) => "[internal] load build context from standard input".to_owned(),
        PendingContext::Remote(Remote::Git(git)) => format!("[internal] load git source {}", git.url),
        PendingContext::Remote(Remote::Http(http)) => format!("[internal] load remote build context {}", http.url),
    };
    told(observer, STEP, name, || {
        let (access, store, stopped) = (Access::of(request), store.clone(), stop.clone());
        let fetched = unless_stopped(stop, move || fetch(pending, &access, &store, &|| stopped.is_stopped()))?;
        take(request, fetched)?;
        epoch_of_dockerfile(request);
        Ok(())
    })
}

/// Runs work that may wait for a server, in a thread that is left behind once the build is
/// interrupted.
fn unless_stopped<T: Send + 'static>(stop: &Stop, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, result) = channel();
    // After an interruption the receiver is gone.
    std::thread::spawn(move || drop(done.send(work())));
    loop {
        match result.recv_timeout(POLL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if stop.is_stopped() => {
                return Err(Error::new(Kind::Interrupted, "interrupted"));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(Kind::System, "BUG: the context was given up"));
            }
        }
    }
}

/// The fetched source, and its time.
type Fetched = (Source, Option<i64>);

enum Source {
    Directory(PathBuf),
    Dockerfile(Vec<u8>),
}

fn fetch(pending: PendingContext, access: &Access, store: &Store, stop: &dyn Fn() -> bool) -> Result<Fetched> {
    match pending {
        PendingContext::Archive(head) => {
            let folder = store.temp("context");
            let time = archive::unpack(Box::new(Cursor::new(head).chain(std::io::stdin())), &folder)?;
            Ok((Source::Directory(folder), time))
        }
        PendingContext::Remote(Remote::Git(git)) => {
            let checkout = access.fetch_git(&git, store, stop)?;
            Ok((Source::Directory(checkout.folder), checkout.time))
        }
        PendingContext::Remote(Remote::Http(http)) => fetch_url(&http, access, store, stop),
    }
}

fn take(request: &mut BuildRequest, (source, time): Fetched) -> Result<()> {
    let folder = match source {
        Source::Dockerfile(bytes) => {
            request.dockerfile = bytes;
            return set_epoch(request, time);
        }
        Source::Directory(folder) => folder,
    };
    if request.dockerfile.is_empty() {
        let name = request.dockerfile_path.take().unwrap_or_else(|| "Dockerfile".into());
        request.dockerfile = context::read_beneath(&folder, &name)?;
        request.dockerfile_path = Some(folder.join(name));
    }
    request.fetched = Some(folder.clone());
    request.context = Some(folder);
    set_epoch(request, time)
}

fn set_epoch(request: &mut BuildRequest, time: Option<i64>) -> Result<()> {
    if request.epoch_of_context {
        let time = time.ok_or_else(|| usage("SOURCE_DATE_EPOCH=context: this context has no time"))?;
        take_epoch(request, time);
    }
    Ok(())
}

fn take_epoch(request: &mut BuildRequest, time: i64) {
    request.epoch = Some(time);
    request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), time.to_string());
    request.outputs.iter_mut().for_each(|output| output.now = time);
}

/// Takes SOURCE_DATE_EPOCH from an ARG before the first FROM, unless it is set elsewhere.
fn epoch_of_dockerfile(request: &mut BuildRequest) {
    if request.build_args.contains_key("SOURCE_DATE_EPOCH") {
        return;
    }
    let Some(text) = frontend::global_default(&request.dockerfile, "SOURCE_DATE_EPOCH") else { return };
    match text.parse() {
        Ok(time) => take_epoch(request, time),
        Err(_) => {
            request.warnings.push(format!("ARG SOURCE_DATE_EPOCH={text} is no number of seconds: it does nothing"))
        }
    }
}

/// A secret as text.
fn secret_text(secrets: &BTreeMap<String, Secret>, id: &str) -> Option<String> {
    match secrets.get(id)? {
        Secret::Value(value) => String::from_utf8(value.clone()).ok(),
        Secret::File(path) => context::read_text(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
    }
}

/// The secrets, the proxies and the ssh agent with which sources are fetched.
#[derive(Debug)]
pub struct Access {
    secrets: BTreeMap<String, Secret>,
    settings: Settings,
    /// The socket of an ssh agent.
    agent: Option<PathBuf>,
}

impl Access {
    /// The access of a build.
    pub fn of(request: &BuildRequest) -> Access {
        let agent = request.agents.get("default");
        let agent = agent.and_then(|agent| agent.paths.iter().find(|path| is_socket(path)).cloned());
        Access { secrets: request.secrets.clone(), settings: request.settings.clone(), agent }
    }

    /// Fetches a commit.
    pub fn fetch_git(&self, git: &Git, store: &Store, stop: &dyn Fn() -> bool) -> Result<git::Checkout> {
        let secret = |id: &str| secret_text(&self.secrets, id);
        git::Fetcher { store, settings: &self.settings, secret: &secret, agent: self.agent.clone(), stop }.fetch(git)
    }

    /// Fetches the file behind a URL.
    pub fn fetch_http(&self, http: &remote::Http, store: &Store, stop: &dyn Fn() -> bool) -> Result<http::Fetched> {
        let secret = |id: &str| secret_text(&self.secrets, id);
        http::Fetcher { store, settings: &self.settings, secret: &secret, stop }.fetch(http)
    }
}

/// Unpacks a fetched archive into a directory of its own. Returns the time of the newest member
/// too.
pub fn unpack(fetched: &http::Fetched, store: &Store) -> Result<(PathBuf, Option<i64>)> {
    let (path, folder) = (fetched.folder.join(&fetched.name), store.temp("context"));
    let file = std::fs::File::open(&path).at("open", &path)?;
    let newest = archive::unpack(Box::new(file), &folder)?;
    Ok((folder, newest))
}

/// Fetches a URL. An archive is unpacked, everything else is a Dockerfile.
fn fetch_url(http: &remote::Http, access: &Access, store: &Store, stop: &dyn Fn() -> bool) -> Result<Fetched> {
    let fetched = access.fetch_http(http, store, stop)?;
    let path = fetched.folder.join(&fetched.name);
    let mut file = std::fs::File::open(&path).at("open", &path)?;
    let head = head(&mut file, &path)?;
    if !is_archive(&head) {
        let dockerfile = read::text(Cursor::new(head).chain(file), http.url.to_string())?;
        return Ok((Source::Dockerfile(dockerfile), fetched.modified));
    }
    let (folder, newest) = unpack(&fetched, store)?;
    Ok((Source::Directory(folder), fetched.modified.or(newest)))
}
