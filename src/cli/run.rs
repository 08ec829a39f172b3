//! The program from its start to its exit code: which verb does what.

use crate::cli::args::{self, Cli, Command};
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
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// The whole program: reads the command line, does what it says, prints an error, answers the exit code.
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

fn run(cli: Cli, color: bool) -> Result<ExitCode> {
    let command = match cli.command {
        Command::Buildx(args::Buildx::Bake(args)) => Command::Bake(args),
        Command::Buildx(args::Buildx::Build(args)) => Command::Build(args),
        command => command,
    };
    let get = |name: &str| std::env::var(name).ok();
    let env = Environment { get: &get };
    let root = request::root(&env, rustix::process::geteuid().is_root())?;
    // A wrong command line is told before anything is made.
    let build = match &command {
        Command::Build(args) => Some(BuildRequest::of(args, &env, now())?),
        _ => None,
    };
    let baked = match &command {
        Command::Bake(args) => match bake::prepare(args, &env, color)? {
            bake::Asked::Done => return Ok(ExitCode::SUCCESS),
            bake::Asked::Build(prepared) => Some(*prepared),
        },
        _ => None,
    };
    // What kiln holds, secrets among it, must not come into a core file.
    let no_cores = rustix::process::Rlimit {
        current: Some(0),
        maximum: rustix::process::getrlimit(rustix::process::Resource::Core).maximum,
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, no_cores);
    sandbox::descriptors::raise();
    match &command {
        Command::Login(args) => return login::login(args, &env).map(|()| ExitCode::SUCCESS),
        Command::Logout { registry } => return login::logout(registry, &env).map(|()| ExitCode::SUCCESS),
        Command::Compose(args) => return compose::run(args, color).map(|()| ExitCode::SUCCESS),
        // They enter no namespace of ours.
        Command::Ps { json } => return look::ps(&root, *json, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Shell(args) => return look::shell(&root, args).map(ExitCode::from),
        _ => {}
    }
    // Nothing may have started a thread before this.
    let identity = sandbox::sys::userns::enter().map_err(|cause| Error::new(Kind::System, cause))?;
    let store = Store::open(&root)?;
    let layers = Layers::new(store.clone(), flavour(&identity));
    for warning in store.note().map(str::to_owned).into_iter().chain(crate::cli::room::after_boot(&layers)?) {
        writeln!(std::io::stderr(), "warning: {warning}").at("write", "standard error")?;
    }
    let mut out = std::io::stdout().lock();
    match command {
        Command::Bake(args) => {
            drop(out);
            let prepared = baked.ok_or_else(|| Error::new(Kind::System, "BUG: targets without a plan"))?;
            return bake::build(&args, prepared, &layers, &identity, color);
        }
        Command::Build(args) => {
            drop(out);
            let mut request = build.ok_or_else(|| Error::new(Kind::System, "BUG: a build without a request"))?;
            request.color = color;
            return build_image(&args, request, &layers, &identity, color);
        }
        Command::Images(args) => crate::image::list::images(&store, args.quiet, &args.format, &mut out)?,
        Command::Inspect(args) => crate::image::list::inspect(&store, &args.images, args.format.as_deref(), &mut out)?,
        Command::Rmi { images, force } => crate::image::list::remove(&store, &images, force, &mut out)?,
        Command::Save(args) => {
            drop(out);
            let saved = crate::export::save(&layers, &args.image, &args.output, &args.format);
            saved.map_err(|error| error.within(Kind::Export))?;
        }
        Command::Pull { name, platform, quiet } => {
            let platform = platform.as_deref().map_or(Ok(Platform::host()), Platform::parse);
            let platform = platform.map_err(|cause| Error::new(Kind::Usage, cause))?;
            let pulled = crate::image::pull::pull(&layers, &name, &platform, &login::settings(&env), now())?;
            if !quiet {
                print(&mut out, &pulled)?;
            }
        }
        Command::Push(args) => {
            let pushed = login::push(&args, &layers, &env)?;
            print(&mut out, &pushed)?;
        }
        Command::Explain(args) => crate::cli::explain::explain(&root, &args, &mut out)?,
        // These were done above: they need no store.
        Command::Buildx(_)
        | Command::Compose(_)
        | Command::Login(_)
        | Command::Logout { .. }
        | Command::Ps { .. }
        | Command::Shell(_) => {}
        Command::Du(args) => crate::cli::room::du(&root, &args, now(), &mut out)?,
        Command::Cache(command) => {
            let observer: Arc<dyn solver::Observer> =
                crate::progress::view("plain", crate::progress::Screen { terminal: false, color })?;
            let desk = crate::cli::mounts::Desk { layers: &layers, env: &env, observer: &observer };
            crate::cli::mounts::run(&command, &desk, &mut out)?;
        }
        Command::Prune(args) => {
            // What this process looked up is not in use.
            drop((layers, store));
            crate::cli::room::prune(&root, &args, now(), &mut out)?;
        }
        Command::Doctor { json } => {
            let (text, able) = crate::doctor::examine(&identity, &store, json);
            out.write_all(text.as_bytes()).map_err(|cause| Error::new(Kind::Export, "cannot print").because(cause))?;
            return Ok(if able { ExitCode::SUCCESS } else { ExitCode::from(Kind::System.exit_code()) });
        }
        Command::Sync => store::boot::sync(&root)?,
        Command::Fsck { repair } => {
            let sound = crate::gc::fsck(&layers, repair, &mut out)?;
            return Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(Kind::Store.exit_code()) });
        }
    }
    Ok(ExitCode::SUCCESS)
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
    let stop = sandbox::Stop::default();
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
    // What is on standard output is a tarball, and nothing else.
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

/// Says that files of other users can't be theirs, where that is so.
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

/// Collects what the store need not keep, and has it brought to the disk later.
pub(super) fn after_builds(layers: &Layers, observer: &dyn solver::Observer) -> Result<()> {
    if let Some(rule) = crate::gc::policy::Rule::automatic(std::env::var("KILN_GC").ok().as_deref())? {
        crate::cli::room::after_build(layers.store().root(), &rule, now(), observer);
    }
    store::boot::sync_later(layers.store().root());
    Ok(())
}

/// Where the time went, of a build that failed too.
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

/// After a Ctrl-C everything must have ended in this time. What waits for something that does not come (a server, a pipe,
/// another process's lock) is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Ctrl-C ends every container at once, and kiln itself soon after, whatever it does; a second one ends it at once.
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
