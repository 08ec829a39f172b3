//! The program from its start to its exit code: calls the command's function.

use crate::cli::args::{self, Cli, Command};
use crate::cli::completion;
use crate::cli::failure;
use crate::cli::login;
use crate::cli::look;
use crate::cli::request::{self, Environment};
use crate::cli::words;
use crate::cli::{bake, compose};
use crate::progress::timings::Timings;
use crate::request::{BuildRequest, fetch};
use base::clock::now;
use base::error::{At as _, Error, Kind, Result};
use frontend::platform::Platform;
use layer::{Flavour, Layers};
use sandbox::sys::userns::Identity;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// The whole program: reads the command line, runs the command, prints an error, and returns the
/// exit code.
pub fn main() -> ExitCode {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    base::umask::close();
    if let Ok(version) = std::env::var("KILN_TEST_KERNEL") {
        sandbox::sys::kernel::pretend(&version);
    }
    match run(words::parse(), color) {
        Ok(code) => code,
        Err(error) => {
            failure::print(&error, color);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// The store, once the process has its user namespace.
struct Opened {
    identity: Identity,
    store: Store,
    layers: Layers,
}

impl Opened {
    /// Enters a user namespace if kiln is not root, and opens the store. No thread may have been
    /// started before.
    fn new(root: &Path) -> Result<Opened> {
        let identity = sandbox::sys::userns::enter().map_err(|cause| Error::new(Kind::System, cause))?;
        let store = Store::open(root)?;
        let layers = Layers::new(store.clone(), flavour(&identity));
        for warning in store.note().map(str::to_owned).into_iter().chain(crate::cli::room::after_boot(&layers)?) {
            writeln!(std::io::stderr(), "warning: {warning}").at("write", "standard error")?;
        }
        Ok(Opened { identity, store, layers })
    }
}

/// Runs the command. Those above the blank line need no store, and enter no namespace.
fn run(cli: Cli, color: bool) -> Result<ExitCode> {
    let get = |name: &str| std::env::var(name).ok();
    let env = Environment { get: &get };
    let root = request::root(&env, rustix::process::geteuid().is_root())?;
    forbid_core_files();
    sandbox::descriptors::raise();
    let open = || Opened::new(&root);
    let out = &mut std::io::stdout();
    let command = match cli.command {
        Command::Buildx(args::Buildx::Bake(args)) => Command::Bake(args),
        Command::Buildx(args::Buildx::Build(args)) => Command::Build(args),
        command => command,
    };
    match command {
        Command::Buildx(_) => {}
        Command::Login(args) => login::login(&args, &env)?,
        Command::Logout { registry } => login::logout(&registry, &env)?,
        Command::Ps { json } => look::ps(&root, json, out)?,
        Command::Shell(args) => return look::shell(&root, &args).map(ExitCode::from),
        Command::Completion(args) => completion::print(&args, out)?,
        Command::Man(args) => completion::write_manual(&args)?,

        Command::Build(args) => {
            // An error of the command line comes before anything is made.
            let mut request = BuildRequest::of(&args, &env, now())?;
            request.color = color;
            let Opened { identity, layers, .. } = open()?;
            return build_image(&args, request, &layers, &identity, color);
        }
        Command::Bake(args) => {
            let asked = bake::prepare(&args, &env, color)?;
            if matches!(asked, bake::Asked::Done) {
                return Ok(ExitCode::SUCCESS);
            }
            let Opened { identity, layers, .. } = open()?;
            let asked = match asked {
                bake::Asked::Remote => bake::fetch(&args, &env, &layers, color)?,
                asked => asked,
            };
            if let bake::Asked::Build(prepared) = asked {
                return bake::build(&args, *prepared, &layers, &identity, color);
            }
        }
        Command::Compose(args) => match compose::prepare(&args, &env, color)? {
            compose::Asked::Done => {}
            compose::Asked::Build(prepared) => {
                let Opened { identity, layers, .. } = open()?;
                compose::build(prepared, &layers, &identity, color)?;
            }
        },
        Command::Images(args) => crate::image::list::images(&open()?.store, args.quiet, &args.format, out)?,
        Command::Inspect(args) => {
            crate::image::list::inspect(&open()?.store, &args.images, args.format.as_deref(), out)?
        }
        Command::Rmi { images, force } => crate::image::list::remove(&open()?.store, &images, force, out)?,
        Command::Save(args) => crate::export::save(&open()?.layers, &args.image, &args.output, &args.format)
            .map_err(|error| error.within(Kind::Export))?,
        Command::Pull { name, platform, quiet } => {
            let platform = platform.as_deref().map_or(Ok(Platform::host()), Platform::parse);
            let platform = platform.map_err(|cause| Error::new(Kind::Usage, cause))?;
            let pulled = crate::image::pull::pull(&open()?.layers, &name, &platform, &login::settings(&env), now())?;
            if !quiet {
                print(out, &pulled)?;
            }
        }
        Command::Push(args) => print(out, &login::push(&args, &open()?.layers, &env)?)?,
        Command::Explain(args) => {
            open()?;
            crate::cli::explain::explain(&root, &args, out)?
        }
        Command::Du(args) => {
            open()?;
            crate::cli::room::du(&root, &args, now(), out)?
        }
        Command::Cache(command) => {
            let layers = &open()?.layers;
            let screen = crate::progress::Screen { terminal: false, color };
            let observer: Arc<dyn solver::Observer> = crate::progress::view("plain", screen)?;
            let desk = crate::cli::mounts::Desk { layers, env: &env, observer: &observer };
            crate::cli::mounts::run(&command, &desk, out)?;
        }
        Command::Prune(args) => {
            // Dropped at once: the leases of this process would keep the layers that it looked up.
            drop(open()?);
            crate::cli::room::prune(&root, &args, now(), out)?;
        }
        Command::Doctor { json } => {
            let Opened { identity, store, .. } = open()?;
            let (text, able) = crate::doctor::examine(&identity, &store, json);
            out.write_all(text.as_bytes()).map_err(|cause| Error::new(Kind::Export, "cannot print").because(cause))?;
            return Ok(if able { ExitCode::SUCCESS } else { ExitCode::from(Kind::System.exit_code()) });
        }
        Command::Sync => {
            open()?;
            store::boot::sync(&root)?
        }
        Command::Fsck { repair } => {
            let sound = crate::gc::fsck(&open()?.layers, repair, out)?;
            return Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(Kind::Store.exit_code()) });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prevents core files, which would contain the secrets in kiln's memory.
fn forbid_core_files() {
    let maximum = rustix::process::getrlimit(rustix::process::Resource::Core).maximum;
    let none = rustix::process::Rlimit { current: Some(0), maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

fn print(out: &mut impl std::io::Write, text: &str) -> Result<()> {
    writeln!(out, "{text}").map_err(|cause| Error::new(Kind::Export, "cannot print the result").because(cause))
}

fn build_image(
    args: &args::Build,
    mut request: BuildRequest,
    layers: &Layers,
    identity: &Identity,
    color: bool,
) -> Result<ExitCode> {
    let dockerfile = crate::cli::explain::shown(args);
    let terminal = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
    let view = if args.quiet { "quiet" } else { &request.progress };
    let mut observers = vec![crate::progress::view(view, crate::progress::Screen { terminal, color })?];
    observers.extend(std::env::var_os("KILN_EVENT_LOG").and_then(|path| crate::progress::log::observer(path.as_ref())));
    if request.asked.call == crate::call::Call::Build {
        observers.push(crate::progress::report::observer(layers.store(), dockerfile, request.target.clone()));
    }
    let timings = (args.timings || args.trace.is_some()).then(|| Arc::new(Timings::begin()));
    observers.extend(timings.clone().map(|timings| timings as Arc<dyn solver::Observer>));
    let observer: Arc<dyn solver::Observer> = Arc::new(crate::progress::All(observers));
    tell_of_single_id(identity, &*observer);
    let collection = crate::gc::policy::Rule::automatic(std::env::var("KILN_GC").ok().as_deref())?;
    let stop = request.settings.stop.clone();
    on_interrupt(&stop)?;
    if request.asked.call == crate::call::Call::Build {
        request.remove_earlier_answers()?;
    }
    fetch::fetch_context(&mut request, layers.store(), &stop, &*observer)?;
    for text in std::mem::take(&mut request.warnings) {
        observer.event(std::time::SystemTime::now(), &solver::Event::Warning { text });
    }
    let request = &request;
    if request.asked.call != crate::call::Call::Build {
        let (answer, well) = crate::pipeline::call(request, layers, &stop, &observer)?;
        drop(observer);
        let print = |cause| Error::new(Kind::Export, "cannot print the answer").because(cause);
        std::io::stdout().write_all(answer.as_bytes()).map_err(print)?;
        return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let built = crate::pipeline::build(request, layers, &stop, &observer, timings.as_deref().filter(|_| args.timings));
    if let Some(rule) = &collection {
        crate::cli::room::after_build(layers.store().root(), rule, now(), &*observer);
    }
    store::boot::sync_later(layers.store().root());
    drop(observer);
    if let Some(timings) = timings {
        tell_timings(&timings, args)?;
    }
    let id = built?.id();
    // Standard output must contain only the tarball.
    if request.quiet && !request.outputs.iter().any(crate::export::Wanted::is_standard_output) {
        writeln!(std::io::stdout(), "{id}")
            .map_err(|cause| Error::new(Kind::Export, "cannot print the image id").because(cause))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The observers of several builds: a view, and the event log.
pub(super) fn observer(view: &str, screen: crate::progress::Screen) -> Result<Arc<dyn solver::Observer>> {
    let mut observers = vec![crate::progress::view(view, screen)?];
    observers.extend(std::env::var_os("KILN_EVENT_LOG").and_then(|path| crate::progress::log::observer(path.as_ref())));
    Ok(Arc::new(crate::progress::All(observers)))
}

/// Warns if files cannot belong to other users here.
pub(super) fn tell_of_single_id(identity: &Identity, observer: &dyn solver::Observer) {
    if !identity.single_id {
        return;
    }
    let remedy = sandbox::sys::userns::remedy(identity);
    let text = format!(
        "there is no range in /etc/subuid for you: files of other users in images are kept as yours while steps run, \
         and RUN can't change users; {remedy}"
    );
    observer.event(std::time::SystemTime::now(), &solver::Event::Warning { text });
}

/// Collects garbage if it is due, and syncs the store to disk later.
pub(super) fn after_builds(layers: &Layers, observer: &dyn solver::Observer) -> Result<()> {
    if let Some(rule) = crate::gc::policy::Rule::automatic(std::env::var("KILN_GC").ok().as_deref())? {
        crate::cli::room::after_build(layers.store().root(), &rule, now(), observer);
    }
    store::boot::sync_later(layers.store().root());
    Ok(())
}

/// Prints the timings, after a failed build too.
fn tell_timings(timings: &Timings, args: &args::Build) -> Result<()> {
    if let Some(path) = &args.trace {
        let written = base::outside::write(path, timings.trace().to_string().as_bytes()).at("write", path);
        written.map_err(|error| error.within(Kind::Export))?;
    }
    if args.timings {
        let print = |cause| Error::new(Kind::Export, "cannot print the timings").because(cause);
        std::io::stderr().write_all(timings.table().as_bytes()).map_err(print)?;
    }
    Ok(())
}

/// The time in which everything must end after Ctrl-C. A thread that waits longer (for a server, a
/// pipe, or another process's lock) is abandoned.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The first Ctrl-C ends every container at once and kiln soon after; a second one ends kiln at
/// once.
pub(super) fn on_interrupt(stop: &sandbox::Stop) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(|cause| Error::new(Kind::System, "cannot listen to signals").because(cause))?;
    let stop = stop.clone();
    let end = || std::process::exit(i32::from(Kind::Interrupted.exit_code()));
    std::thread::spawn(move || {
        for _ in &mut signals {
            if stop.is_interrupted() {
                end();
            }
            stop.interrupt();
            std::thread::spawn(move || {
                std::thread::sleep(LAST_WORDS);
                failure::print(&Error::new(Kind::Interrupted, "interrupted; what was done is kept"), false);
                end();
            });
        }
    });
    Ok(())
}

fn flavour(identity: &Identity) -> Flavour {
    if !identity.rootless {
        return Flavour::Root;
    }
    let mapping = base::digest::Digest::of(identity.mapping.as_bytes()).hex().chars().take(12).collect();
    Flavour::User { mapping, single_id: identity.single_id }
}
