//! The context that a build is given: a directory; `-` for standard input, which is a Dockerfile or a tar, told apart by
//! the first bytes as docker does; a git repository; a URL of a tarball or of a Dockerfile. What comes from elsewhere is brought
//! by a thread of its own, which nobody waits for once the user wishes the end: a silent server can't hold kiln.

use super::args;
use super::buildkit;
use super::request::BuildRequest;
use crate::engine::Secret;
use crate::engine::agent::is_socket;
use crate::error::{At as _, Error, Kind, Result};
use crate::exec::Stop;
use crate::layer::compress::{Format, begins_tar, format_of};
use crate::read;
use crate::registry::Settings;
use crate::source::{archive, context, git, http};
use crate::store::Store;
use frontend::remote::{self, Git, Remote, redacted};
use solver::event::told;
use solver::{Observer, StepId};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// A context that is not here yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coming {
    /// A tar on standard input, of which these bytes have been read.
    Archive(Vec<u8>),
    /// Something elsewhere.
    Remote(Remote),
}

/// What the operand and `--file` mean.
#[derive(Debug, Default)]
pub struct Inputs {
    pub(super) dockerfile: Vec<u8>,
    pub(super) dockerfile_path: Option<PathBuf>,
    pub(super) context: Option<PathBuf>,
    pub(super) coming: Option<Coming>,
}

/// What a tar is told by.
const HEAD: u64 = 1024;
/// How often the user's wish to end is looked at.
const POLL: Duration = Duration::from_millis(20);
/// What errors call it.
const STDIN: &str = "standard input";
/// The step in the stream of events.
const STEP: StepId = StepId((1 << 30) - 1);

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

/// Reads what is at hand.
pub(super) fn inputs(args: &args::Build) -> Result<Inputs> {
    let file = args.file.as_deref();
    if args.context == "-" {
        if file == Some("-") {
            return Err(usage("the context and the Dockerfile can't both come from standard input"));
        }
        let head = head(std::io::stdin(), STDIN)?;
        if is_archive(&head) {
            let dockerfile_path = file.map(PathBuf::from);
            return Ok(Inputs { dockerfile_path, coming: Some(Coming::Archive(head)), ..Inputs::default() });
        }
        if file.is_some() {
            return Err(usage("with a Dockerfile on standard input there is no --file")
                .hint("give a tar on standard input, or a directory"));
        }
        let dockerfile = read::text(Cursor::new(head).chain(std::io::stdin()), STDIN)?;
        return Ok(Inputs { dockerfile, ..Inputs::default() });
    }
    if let Some(remote) = named(&args.context)? {
        let mut inputs = Inputs { coming: Some(Coming::Remote(remote)), ..Inputs::default() };
        match file {
            Some("-") => inputs.dockerfile = read::text(std::io::stdin(), STDIN)?,
            file => inputs.dockerfile_path = file.map(PathBuf::from),
        }
        return Ok(inputs);
    }
    let context = PathBuf::from(&args.context);
    if file == Some("-") {
        let dockerfile = read::text(std::io::stdin(), STDIN)?;
        return Ok(Inputs { dockerfile, context: Some(context), ..Inputs::default() });
    }
    let path = file.map_or_else(|| context.join("Dockerfile"), PathBuf::from);
    if !path.exists() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(usage(format!("there is no Dockerfile `{}`", path.display()))
            .hint(format!("make a file `{name}`, or name another with -f")));
    }
    // A pipe that the user names has somebody who writes to it; one that lies in a context may have nobody, for ever.
    if file.is_none() && !path.is_file() {
        return Err(usage(format!("`{}` is no regular file", path.display())).hint("name another Dockerfile with -f"));
    }
    let dockerfile = context::read_text(&path)?;
    Ok(Inputs { dockerfile, dockerfile_path: Some(path), context: Some(context), coming: None })
}

/// What lies elsewhere, by its name.
pub(super) fn named(text: &str) -> Result<Option<Remote>> {
    // Docker takes this for a repository too, unless there is such a directory.
    let whole = match text.strip_prefix("github.com/") {
        Some(_) if !Path::new(text).exists() => {
            let (path, rest) = text.find(['#', '?']).map_or((text, ""), |at| text.split_at(at));
            format!("https://{}.git{rest}", path.trim_end_matches(".git"))
        }
        _ => text.to_owned(),
    };
    match remote::git(&whole).map_err(|cause| usage(format!("{}: {cause}", redacted(text))))? {
        Some(git) => Ok(Some(Remote::Git(git))),
        None => match remote::http(&whole) {
            Some(http) => Ok(Some(Remote::Http(http))),
            None if whole.contains("://") => Err(usage(format!("`{}`: unknown protocol", redacted(text)))
                .hint("known are http, https, git, ssh; a directory needs no protocol")),
            None => Ok(None),
        },
    }
}

/// What tells an archive from a Dockerfile.
fn head(from: impl Read, name: impl AsRef<Path>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(HEAD).read_to_end(&mut bytes).at("read", name)?;
    Ok(bytes)
}

/// Compressed, or a tar.
fn is_archive(head: &[u8]) -> bool {
    format_of(head) != Format::Plain || begins_tar(head)
}

/// Brings the context that has yet to come.
pub fn bring(request: &mut BuildRequest, store: &Store, stop: &Stop, observer: &dyn Observer) -> Result<()> {
    let keep_git_dir = buildkit::keeps_git_dir(&request.build_args);
    let coming = request.coming.take().map(|coming| match coming {
        Coming::Remote(Remote::Git(git)) if keep_git_dir => {
            Coming::Remote(Remote::Git(Git { keep_git_dir: Some(true), ..git }))
        }
        other => other,
    });
    let Some(coming) = coming else {
        epoch_of_dockerfile(request);
        return match request.epoch_of_context {
            true => Err(usage("SOURCE_DATE_EPOCH=context: a directory has no time of its own")
                .hint("give a repository, a URL or a tar as context, or a number of seconds")),
            false => Ok(()),
        };
    };
    let name = match &coming {
        Coming::Archive(_) => "[internal] load build context from standard input".to_owned(),
        Coming::Remote(Remote::Git(git)) => format!("[internal] load git source {}", git.url),
        Coming::Remote(Remote::Http(http)) => format!("[internal] load remote build context {}", http.url),
    };
    told(observer, STEP, name, || {
        let (user, store, stopped) = (User::of(request), store.clone(), stop.clone());
        let brought = unless_stopped(stop, move || bring_it(coming, &user, &store, &|| stopped.is_stopped()))?;
        take(request, brought)?;
        epoch_of_dockerfile(request);
        Ok(())
    })
}

/// Does work that may wait for somebody else.
fn unless_stopped<T: Send + 'static>(stop: &Stop, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, result) = channel();
    // Nobody listens any more once the user wished the end.
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

/// What came, and the time it says of itself.
type Brought = (What, Option<i64>);

enum What {
    Folder(PathBuf),
    Dockerfile(Vec<u8>),
}

fn bring_it(coming: Coming, user: &User, store: &Store, stop: &dyn Fn() -> bool) -> Result<Brought> {
    match coming {
        Coming::Archive(head) => {
            let folder = store.temp("context");
            let time = archive::unpack(Box::new(Cursor::new(head).chain(std::io::stdin())), &folder)?;
            Ok((What::Folder(folder), time))
        }
        Coming::Remote(Remote::Git(git)) => {
            let checkout = user.fetch_git(&git, store)?;
            Ok((What::Folder(checkout.folder), checkout.time))
        }
        Coming::Remote(Remote::Http(http)) => bring_http(&http, user, store, stop),
    }
}

fn take(request: &mut BuildRequest, (what, time): Brought) -> Result<()> {
    let folder = match what {
        What::Dockerfile(bytes) => {
            request.dockerfile = bytes;
            return set_epoch(request, time);
        }
        What::Folder(folder) => folder,
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

/// An ARG before the first FROM may say the time where nobody else does.
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

/// Who the user is to servers.
pub struct User {
    secrets: BTreeMap<String, Secret>,
    settings: Settings,
    /// The socket of an ssh agent.
    agent: Option<PathBuf>,
}

impl User {
    /// What a build knows of its user.
    pub fn of(request: &BuildRequest) -> User {
        let agent = request.agents.get("default");
        let agent = agent.and_then(|agent| agent.paths.iter().find(|path| is_socket(path)).cloned());
        User { secrets: request.secrets.clone(), settings: request.settings.clone(), agent }
    }

    /// Brings a commit.
    pub fn fetch_git(&self, git: &Git, store: &Store) -> Result<git::Checkout> {
        let secret = |id: &str| secret_text(&self.secrets, id);
        git::Fetcher { store, settings: &self.settings, secret: &secret, agent: self.agent.clone() }.fetch(git)
    }

    /// Brings the file behind a URL.
    pub fn fetch_http(&self, http: &remote::Http, store: &Store, stop: &dyn Fn() -> bool) -> Result<http::Fetched> {
        let secret = |id: &str| secret_text(&self.secrets, id);
        http::Fetcher { store, settings: &self.settings, secret: &secret, stop }.fetch(http)
    }
}

/// Unpacks a fetched archive into a folder of its own. The time of the newest member comes with it.
pub fn unpack(fetched: &http::Fetched, store: &Store) -> Result<(PathBuf, Option<i64>)> {
    let (path, folder) = (fetched.folder.join(&fetched.name), store.temp("context"));
    let file = std::fs::File::open(&path).at("open", &path)?;
    let newest = archive::unpack(Box::new(file), &folder)?;
    Ok((folder, newest))
}

/// An archive is unpacked, everything else is a Dockerfile.
fn bring_http(http: &remote::Http, user: &User, store: &Store, stop: &dyn Fn() -> bool) -> Result<Brought> {
    let fetched = user.fetch_http(http, store, stop)?;
    let path = fetched.folder.join(&fetched.name);
    let mut file = std::fs::File::open(&path).at("open", &path)?;
    let head = head(&mut file, &path)?;
    if !is_archive(&head) {
        let dockerfile = read::text(Cursor::new(head).chain(file), http.url.to_string())?;
        return Ok((What::Dockerfile(dockerfile), fetched.modified));
    }
    let (folder, newest) = unpack(&fetched, store)?;
    Ok((What::Folder(folder), fetched.modified.or(newest)))
}
