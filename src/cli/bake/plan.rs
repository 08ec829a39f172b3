//! The builds of a plan: a request for each target, and what each waits for.

use super::words;
use crate::cli::args::{self, Cli, Command};
use crate::cli::request::Environment;
use crate::cli::words::parse_from;
use crate::request::BuildRequest;
use ::bake::command::{Call, Plan};
use ::bake::remote::is_remote;
use base::clock::now;
use base::error::{Error, Kind, Result};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;

/// Builds that were made ready.
pub(in crate::cli) struct Prepared {
    /// The targets, by name.
    pub(in crate::cli) targets: Vec<Target>,
    /// `--progress`.
    pub(in crate::cli) progress: String,
    /// `--call`.
    pub(in crate::cli) call: Option<Call>,
}

/// A target that is built.
pub(in crate::cli) struct Target {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// The build.
    pub request: BuildRequest,
    /// Contexts that are results of other targets: their names and the targets.
    pub links: BTreeMap<String, String>,
    /// The Dockerfile's name, for reports.
    pub dockerfile: String,
    /// The target as `--print` shows it.
    pub printed: serde_json::Value,
}

impl Target {
    /// True where a question is answered in place of a build.
    pub(super) fn is_call(&self) -> bool {
        self.request.asked.call != crate::call::Call::Build
    }
}

/// Makes the targets of a plan ready.
pub(super) fn prepare(plan: Plan, args: &args::Bake, env: &Environment<'_>) -> Result<Prepared> {
    let mut targets = Vec::new();
    let mut progress = args.progress.clone();
    for (name, target) in &plan.selection.targets {
        let context = target.context.clone().unwrap_or_else(|| ".".to_owned());
        let remote = is_remote(&context);
        let inline = target.dockerfile_inline.clone();
        let file = match &inline {
            Some(_) => Some("/dev/null".to_owned()),
            None => words::file(target, remote),
        };
        let mut line: Vec<String> = vec!["kiln".into(), "build".into(), format!("--progress={}", args.progress)];
        line.extend(file.map(|file| format!("--file={file}")));
        if plan.allowed.delete {
            line.push("--allow=buildx.local.delete".into());
        }
        if let Some(jobs) = args.jobs {
            line.push(format!("--jobs={jobs}"));
        }
        if args.quiet {
            line.push("--quiet".into());
        }
        line.extend(words::of(target));
        line.push(context);
        let build = parsed(line, name)?;
        let dockerfile = crate::cli::explain::shown(&build);
        let mut request = BuildRequest::of(&build, env, now()).map_err(|error| of_target(error, name))?;
        if let Some(text) = inline {
            request.dockerfile = text.into_bytes();
            request.dockerfile_path = None;
        }
        if request.asked.call != crate::call::Call::Build
            && let Some(call) = plan.call.as_ref().filter(|call| !call.format.is_empty())
        {
            let asked = format!("{},format={}", target.call.as_deref().unwrap_or("check"), call.format);
            request.asked = crate::call::Asked::parse(&asked)?;
        }
        request.place = format!("{}\0bake\0{name}", request.place);
        progress.clone_from(&request.progress);
        let links = target
            .contexts
            .iter()
            .filter_map(|(context, value)| Some((context.clone(), value.strip_prefix("target:")?.to_owned())));
        targets.push(Target {
            name: name.clone(),
            description: target.description.clone(),
            request,
            links: links.collect(),
            dockerfile,
            printed: ::bake::target::target_json(target),
        });
    }
    if args.quiet {
        progress = "quiet".to_owned();
    }
    let linked: HashSet<String> = targets.iter().flat_map(|target| target.links.values().cloned()).collect();
    for target in &mut targets {
        target.request.linked = linked.contains(&target.name);
    }
    Ok(Prepared { targets, progress, call: plan.call })
}

pub(super) fn parsed(line: Vec<String>, name: &str) -> Result<args::Build> {
    let words = line.into_iter().map(OsString::from).collect();
    match parse_from(words) {
        Ok(Cli { command: Command::Build(build) }) => Ok(*build),
        Ok(_) => Err(Error::new(Kind::System, "BUG: a target that is no build")),
        Err(error) => Err(of_target(Error::new(Kind::Usage, error.to_string().trim_end().to_owned()), name)),
    }
}

/// An error, and the target that it is about.
pub(super) fn of_target(error: Error, name: &str) -> Error {
    error.hint(format!("this is target `{name}`"))
}
