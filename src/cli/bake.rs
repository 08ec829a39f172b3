//! `kiln bake`: the targets of a definition, built together.

mod files;
mod grants;
mod host;
pub(in crate::cli) mod plan;
mod remote;
pub(in crate::cli) mod side;
mod words;

use super::args;
use super::request::Environment;
use super::run;
use crate::progress::Screen;
use ::bake::command::{self, Flags, Outcome};
use ::bake::problem::{Source, render};
use base::error::{At as _, Error, Kind, Result};
use host::Machine;
use layer::Layers;
use plan::Prepared;
use sandbox::sys::userns::Identity;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// The parsed command line, before anything is made.
pub(in crate::cli) enum Asked {
    /// It was printed.
    Done,
    /// The definition is elsewhere.
    Remote,
    /// Targets to build.
    Build(Box<Prepared>),
}

/// Reads definitions and evaluates them. With `--print` and `--list` that is all.
pub(super) fn prepare(args: &args::Bake, env: &Environment<'_>, color: bool) -> Result<Asked> {
    let flags = flags(args);
    command::check_flags(&flags).map_err(|problem| plain(&problem))?;
    if remote::address(&args.targets).is_some() {
        return Ok(Asked::Remote);
    }
    let sources = files::read(&args.file, env)?;
    evaluate(args, env, color, &flags, &Definition { sources, folder: None })
}

/// Fetches a definition from elsewhere, and evaluates it.
pub(super) fn fetch(args: &args::Bake, env: &Environment<'_>, layers: &Layers, color: bool) -> Result<Asked> {
    let mut flags = flags(args);
    let Some(address) = remote::address(&args.targets) else { return Ok(Asked::Done) };
    let terminal = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
    let quiet = args.print || args.list.is_some() || args.list_targets || args.list_variables;
    let view = if quiet { "quiet" } else { &args.progress };
    let observer = run::observer(view, Screen { terminal, color })?;
    let definition = remote::fetch(address.url, &args.file, env, layers, &*observer)?;
    drop(observer);
    flags.url = definition.folder.is_some().then(|| address.url.to_owned());
    flags.context = address.context.map(str::to_owned);
    flags.targets = address.targets.to_vec();
    evaluate(args, env, color, &flags, &definition)
}

/// The files of a definition.
struct Definition {
    sources: Vec<Source>,
    /// The tree that they are from, if it is not the working folder.
    folder: Option<PathBuf>,
}

fn evaluate(
    args: &args::Bake,
    env: &Environment<'_>,
    color: bool,
    flags: &Flags,
    definition: &Definition,
) -> Result<Asked> {
    let (machine, sources) = (Machine, &definition.sources);
    let ran = command::run(flags, sources, &machine);
    for warning in &ran.warnings {
        let text = render(warning, true, sources, color);
        writeln!(std::io::stderr(), "{text}").at("write", "standard error")?;
    }
    let picture = |problem: &::bake::problem::Problem| match problem.span {
        Some(_) => plain(problem).report(render(problem, false, sources, color)),
        None => plain(problem),
    };
    match ran.outcome.map_err(|problem| picture(&problem))? {
        Outcome::Text(text) => {
            let print = |cause| Error::new(Kind::Export, "cannot print the answer").because(cause);
            std::io::stdout().write_all(text.as_bytes()).map_err(print)?;
            Ok(Asked::Done)
        }
        Outcome::Build(mut made) => {
            grants::ask(&made, &machine)?;
            if let Some(folder) = &definition.folder {
                remote::place(&mut made, folder)?;
            }
            Ok(Asked::Build(Box::new(plan::prepare(*made, args, env)?)))
        }
    }
}

fn plain(problem: &::bake::problem::Problem) -> Error {
    let error = Error::new(Kind::Usage, problem.to_string());
    match &problem.help {
        Some(help) => error.hint(help.clone()),
        None => error,
    }
}

fn flags(args: &args::Bake) -> Flags {
    let list = args.list.clone().or_else(|| args.list_targets.then(|| "targets".to_owned()));
    Flags {
        targets: args.targets.clone(),
        set: args.set.clone(),
        vars: args.var.clone(),
        allow: args.allow.clone(),
        policy: args.policy.clone(),
        sbom: args.sbom.clone(),
        provenance: args.provenance.clone(),
        push: args.push,
        load: args.load,
        call: args.call.clone().or_else(|| args.check.then(|| "check".to_owned())),
        no_cache: args.no_cache,
        pull: args.pull,
        print: args.print,
        list: list.or_else(|| args.list_variables.then(|| "variables".to_owned())),
        context: None,
        url: None,
    }
}

/// Builds the targets, or answers `--call` for each.
pub(super) fn build(
    args: &args::Bake,
    prepared: Prepared,
    layers: &Layers,
    identity: &Identity,
    color: bool,
) -> Result<ExitCode> {
    let terminal = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
    let observer = run::observer(&prepared.progress, Screen { terminal, color })?;
    run::tell_of_single_id(identity, &*observer);
    let stop = sandbox::Stop::default();
    run::on_interrupt(&stop)?;
    let bench = side::Bench { layers, stop: &stop, observer: &observer };
    if prepared.targets.iter().any(plan::Target::is_call) {
        return side::call(prepared, &bench);
    }
    let ids = side::build(prepared, &bench, args.metadata_file.as_deref());
    run::after_builds(layers, &*observer)?;
    drop(observer);
    let ids = ids?;
    if args.progress == "quiet" || args.quiet {
        for (name, id) in ids {
            writeln!(std::io::stdout(), "{name} {id}").at("write", "standard output")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
