//! `kiln compose`: the flags of `docker compose`, and the verbs that need no container.

pub mod build;
mod host;

use super::bake::plan::Prepared;
use super::bake::side;
use super::request::Environment;
use super::run;
use base::error::{At as _, Error, Kind, Result};
use build::BuildFlags;
use clap::{Args, Subcommand};
use compose::config::{Format, Print, Request, config};
use compose::options::Options;
use compose::problem::{self, Report};
use compose::project::{Steps, load_project};
use frontend::diagnostic::Severity;
use host::Machine;
use layer::Layers;
use sandbox::sys::userns::Identity;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

/// The flags of `kiln compose`.
#[derive(Debug, Args)]
pub struct Compose {
    /// The project.
    #[command(flatten)]
    pub project: Project,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The flags that select the project.
#[derive(Debug, Args)]
pub struct Project {
    /// Compose configuration files (may repeat); `-` is standard input.
    #[arg(short, long, value_name = "PATH")]
    pub file: Vec<String>,
    /// Project name.
    #[arg(short, long, value_name = "NAME")]
    pub project_name: Option<String>,
    /// Specify a profile to enable (may repeat); `*` is all of them.
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// Specify an alternate environment file (may repeat).
    #[arg(long, value_name = "PATH")]
    pub env_file: Vec<String>,
    /// Specify an alternate working directory [default: the path of the, first specified, Compose
    /// file].
    #[arg(long, value_name = "PATH", alias = "workdir")]
    pub project_directory: Option<String>,
    /// Run compose in backward compatibility mode: names have `_` between their parts.
    #[arg(long)]
    pub compatibility: bool,
    /// Include all resources, even those not used by services.
    #[arg(long)]
    pub all_resources: bool,
    /// Set type of progress output: auto, tty, plain, quiet, rawjson.
    #[arg(long, value_name = "VIEW")]
    pub progress: Option<String>,
    /// Control when to print ANSI control characters: never, always, auto.
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["never", "always", "auto"])]
    pub ansi: String,
}

/// The verbs of `kiln compose`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Parse, resolve and render compose file in canonical format.
    #[command(visible_alias = "convert")]
    Config(Config),
    /// Build or rebuild services.
    Build(BuildFlags),
    /// Show the version.
    Version {
        /// Format the output: pretty, json.
        #[arg(short, long, default_value = "pretty", value_parser = ["pretty", "json"])]
        format: String,
        /// Shows only the version number.
        #[arg(long)]
        short: bool,
    },
}

/// `kiln compose config`.
#[derive(Debug, Args)]
pub struct Config {
    /// The services to show, with what they depend on [default: all].
    pub services: Vec<String>,
    /// Format the output: yaml, json.
    #[arg(long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    pub format: String,
    /// Only validate the configuration, don't print anything.
    #[arg(short, long)]
    pub quiet: bool,
    /// Save to file [default: standard output].
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Don't interpolate environment variables.
    #[arg(long)]
    pub no_interpolate: bool,
    /// Don't normalize compose model.
    #[arg(long)]
    pub no_normalize: bool,
    /// Don't resolve file paths.
    #[arg(long)]
    pub no_path_resolution: bool,
    /// Don't check model consistency - warning: may produce invalid Compose output.
    #[arg(long)]
    pub no_consistency: bool,
    /// Don't resolve service env files.
    #[arg(long)]
    pub no_env_resolution: bool,
    /// Print the service names, one per line.
    #[arg(long = "services")]
    pub list_services: bool,
    /// The lists to print instead of the project.
    #[command(flatten)]
    pub lists: Lists,
}

/// The parts of a project that `config` lists.
#[derive(Debug, Args)]
pub struct Lists {
    /// Print the volume names, one per line.
    #[arg(long)]
    pub volumes: bool,
    /// Print the network names, one per line.
    #[arg(long)]
    pub networks: bool,
    /// Print the model names, one per line.
    #[arg(long)]
    pub models: bool,
    /// Print the profile names, one per line.
    #[arg(long)]
    pub profiles: bool,
    /// Print the image names, one per line.
    #[arg(long)]
    pub images: bool,
    /// Print the service config hash, one per line: names behind commas, or `*`.
    #[arg(long, value_name = "SERVICES")]
    pub hash: Option<String>,
    /// Print model variables and default values.
    #[arg(long)]
    pub variables: bool,
    /// Print environment used for interpolation.
    #[arg(long)]
    pub environment: bool,
}

/// The result of a verb before the store is opened.
pub(super) enum Asked {
    /// It was printed.
    Done,
    /// Images to build.
    Build(Prepared),
}

/// Runs a verb. The builds that need the store are returned: the project is read before anything is made.
pub(super) fn prepare(args: &Compose, env: &Environment<'_>, color: bool) -> Result<Asked> {
    let color = match args.project.ansi.as_str() {
        "never" => false,
        "always" => true,
        _ => color,
    };
    match &args.verb {
        Verb::Config(flags) => print_config(&args.project, flags, color).map(|()| Asked::Done),
        Verb::Version { format, short } => print_version(format, *short).map(|()| Asked::Done),
        Verb::Build(flags) => {
            let steps = Steps { environment: false, ..Steps::default() };
            let mut project = load(&args.project, steps, color)?;
            project.enable(&flags.services);
            let targets = build::targets(&project, flags, &args.project, env, base::clock::now())?;
            if targets.is_empty() {
                writeln!(std::io::stderr(), "warning: no service has an image to build")
                    .at("write", "standard error")?;
                return Ok(Asked::Done);
            }
            let progress = targets.first().map_or("auto", |target| &target.request.progress).to_owned();
            Ok(Asked::Build(Prepared { targets, progress, call: None }))
        }
    }
}

/// Builds the images of services.
pub(super) fn build(prepared: Prepared, layers: &Layers, identity: &Identity, color: bool) -> Result<()> {
    let terminal = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
    let observer = run::observer(&prepared.progress, crate::progress::Screen { terminal, color })?;
    run::tell_of_single_id(identity, &*observer);
    let stop = sandbox::Stop::default();
    run::on_interrupt(&stop)?;
    let built = side::build(prepared, &side::Bench { layers, stop: &stop, observer: &observer }, None);
    run::after_builds(layers, &*observer)?;
    drop(observer);
    built.map(drop)
}

/// The project with all active services.
fn load(project: &Project, steps: Steps, color: bool) -> Result<compose::project::Project> {
    let report = Report::default();
    let loaded = load_project(&Machine, &report, &project.options(), steps);
    warn(&report, color)?;
    loaded.map_err(|error| picture(&error, &report, color))
}

/// An error about a project without a place.
fn plain(error: problem::Error) -> Error {
    picture(&error, &Report::default(), false)
}

fn print_config(project: &Project, flags: &Config, color: bool) -> Result<()> {
    let report = Report::default();
    let mut steps =
        Steps { consistency: !flags.no_consistency, environment: !flags.no_env_resolution, ..Steps::default() };
    steps.passes.interpolation = !flags.no_interpolate;
    steps.passes.normalization = !(flags.no_normalize || project.compatibility);
    steps.passes.paths = !flags.no_path_resolution;
    let request = |format| Request {
        print: flags.print(),
        format,
        services: flags.services.clone(),
        all_resources: project.all_resources,
    };
    let text = Format::named(&flags.format)
        .and_then(|format| config(&Machine, &report, &project.options(), steps, &request(format)));
    warn(&report, color)?;
    let text = text.map_err(|error| picture(&error, &report, color))?;
    if flags.quiet {
        return Ok(());
    }
    match &flags.output {
        Some(path) => base::outside::write(path, text.as_bytes()).at("write", path),
        None => std::io::stdout().write_all(text.as_bytes()).at("write", "standard output"),
    }
    .map_err(|error| error.within(Kind::Export))
}

fn print_version(format: &str, short: bool) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let text = match (format, short) {
        (_, true) => version.to_owned(),
        ("json", _) => serde_json::json!({ "version": version }).to_string(),
        _ => format!("kiln compose version {version}"),
    };
    writeln!(std::io::stdout(), "{text}").at("write", "standard output").map_err(|error| error.within(Kind::Export))
}

/// Prints the warnings about a project.
fn warn(report: &Report, color: bool) -> Result<()> {
    let mut err = std::io::stderr().lock();
    for warning in report.warnings() {
        writeln!(err, "{}", warning.render(&report.sources, Severity::Warning, color)).at("write", "standard error")?;
    }
    Ok(())
}

/// An error about a project, with its source lines.
fn picture(error: &problem::Error, report: &Report, color: bool) -> Error {
    let pictures = error.problems.iter().map(|problem| problem.render(&report.sources, Severity::Error, color));
    let message = error.problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
    Error::new(Kind::Dockerfile, message).report(pictures.collect::<Vec<_>>().join("\n"))
}

impl Project {
    /// The flags as the options of a project.
    fn options(&self) -> Options {
        Options {
            name: self.project_name.clone(),
            directory: self.project_directory.clone(),
            files: self.file.clone(),
            env_files: self.env_file.clone(),
            profiles: self.profile.clone(),
            compatibility: self.compatibility,
        }
    }
}

impl Config {
    fn print(&self) -> Print {
        let lists = &self.lists;
        let all = [
            (self.list_services, Print::Services),
            (lists.volumes, Print::Volumes),
            (lists.networks, Print::Networks),
            (lists.models, Print::Models),
            (lists.hash.is_some(), Print::Hash(lists.hash.clone().unwrap_or_default())),
            (lists.profiles, Print::Profiles),
            (lists.images, Print::Images),
            (lists.variables, Print::Variables),
            (lists.environment, Print::Environment),
        ];
        all.into_iter().find(|(asked, _)| *asked).map_or(Print::Project, |(_, print)| print)
    }
}
