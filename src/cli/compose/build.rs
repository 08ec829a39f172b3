//! `kiln compose build`: the images of services, as `kiln build` makes each.

use super::Project as Flags;
use crate::cli::args::Command;
use crate::cli::bake::plan::Target;
use crate::cli::request::Environment;
use crate::cli::words;
use crate::request::BuildRequest;
use base::error::{Error, Kind, Result};
use clap::Args;
use compose::filepath;
use compose::model::{Build, Service, Ulimit};
use compose::project::Project;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// `kiln compose build`.
#[derive(Debug, Args)]
pub struct BuildFlags {
    /// The services to build [default: all that have `build`].
    pub services: Vec<String>,
    /// Set build-time variables for services: NAME=VALUE, or NAME from the environment (may repeat).
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Do not use cache when building the image.
    #[arg(long)]
    pub no_cache: bool,
    /// Always attempt to pull a newer version of the image.
    #[arg(long)]
    pub pull: bool,
    /// Push service images.
    #[arg(long)]
    pub push: bool,
    /// Suppress the build output.
    #[arg(short, long)]
    pub quiet: bool,
    /// Set type of progress output, as in front of the verb.
    #[arg(long, value_name = "VIEW", hide = true)]
    pub progress: Option<String>,
    /// Set SSH authentications used when building service images: default, or ID=SOCKET.
    #[arg(long, value_name = "default|ID[=PATH]")]
    pub ssh: Vec<String>,
    /// Also build dependencies (transitively).
    #[arg(long)]
    pub with_dependencies: bool,
    /// Set memory limit for the steps of builds.
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
}

/// The builds of the services that are asked for, with what they need built before.
pub(super) fn targets(
    project: &Project,
    flags: &BuildFlags,
    all: &Flags,
    env: &Environment<'_>,
    now: i64,
) -> Result<Vec<Target>> {
    let names = wanted(project, flags)?;
    refuse_cycles(project, &names)?;
    let of_project = |name: &str| project.environment.get(name).cloned().or_else(|| (env.get)(name));
    let env = Environment { get: &of_project };
    let progress = flags.progress.as_deref().or(all.progress.as_deref());
    let progress = if flags.quiet { Some("quiet") } else { progress };
    let mut targets = Vec::new();
    for name in &names {
        let Some((service, build)) = service_of(project, name).and_then(|one| Some((one, one.build.as_ref()?))) else {
            continue;
        };
        let line = Line { project, flags, name, service, build };
        targets.push(line.target(progress, &env, now).map_err(|error| error.context(format!("service {name}")))?);
    }
    Ok(targets)
}

/// A service by its name. The image of one that is not active may be a context of another.
fn service_of<'a>(project: &'a Project, name: &str) -> Option<&'a Service> {
    project.services.get(name).or_else(|| project.disabled.get(name))
}

/// No service may need its own image.
fn refuse_cycles(project: &Project, names: &[String]) -> Result<()> {
    let mut left: Vec<&String> = names.iter().collect();
    loop {
        let waits = |name: &&String| {
            let build = service_of(project, name).and_then(|service| service.build.as_ref());
            build.is_some_and(|build| needed(build).any(|other| left.iter().any(|name| *name == other)))
        };
        let rest: Vec<&String> = left.iter().copied().filter(|name| waits(name)).collect();
        if rest.len() == left.len() {
            break;
        }
        left = rest;
    }
    let Some(name) = left.first() else { return Ok(()) };
    let text = format!("service {name}: its additional contexts lead back to its own image");
    Err(Error::new(Kind::Dockerfile, text))
}

/// The services that are built: those that are asked for and those whose images are contexts of others.
fn wanted(project: &Project, flags: &BuildFlags) -> Result<Vec<String>> {
    let asked = match (flags.services.is_empty(), flags.with_dependencies) {
        (true, _) => project.services.keys().cloned().collect(),
        (false, true) => project.closure(&flags.services).map_err(super::plain)?,
        (false, false) => {
            project.closure(&flags.services).map_err(super::plain)?;
            flags.services.clone()
        }
    };
    let mut all: Vec<String> = Vec::new();
    let mut open = asked;
    while let Some(name) = open.pop() {
        let Some(service) = service_of(project, &name) else { continue };
        let Some(build) = service.build.as_ref().filter(|_| !all.contains(&name)) else { continue };
        open.extend(needed(build).map(str::to_owned));
        all.push(name);
    }
    all.sort();
    Ok(all)
}

/// The services whose images are contexts of a build.
fn needed(build: &Build) -> impl Iterator<Item = &str> {
    build.additional_contexts.0.values().filter_map(|context| context.strip_prefix("service:"))
}

/// The command line of `kiln build` for a service.
struct Line<'a> {
    project: &'a Project,
    flags: &'a BuildFlags,
    name: &'a str,
    service: &'a Service,
    build: &'a Build,
}

impl Line<'_> {
    fn target(&self, progress: Option<&str>, env: &Environment<'_>, now: i64) -> Result<Target> {
        let mut line = self.words()?;
        line.extend(progress.iter().flat_map(|view| ["--progress".to_owned(), (*view).to_owned()]));
        line.extend(["--".to_owned(), self.context()]);
        let words = ["kiln", "build"].map(OsString::from).into_iter().chain(line.into_iter().map(OsString::from));
        let parsed = words::parse_from(words.collect());
        let args = match parsed.map(|cli| cli.command) {
            Ok(Command::Build(args)) => args,
            Ok(_) => return Err(Error::new(Kind::System, "BUG: `build` is another command")),
            Err(error) => return Err(Error::new(Kind::Usage, error.to_string())),
        };
        let mut request = BuildRequest::of(&args, env, now)?;
        if !self.build.dockerfile_inline.is_empty() {
            request.dockerfile = self.build.dockerfile_inline.clone().into_bytes();
            request.dockerfile_path = None;
        }
        request.place = format!("{}\0compose\0{}", request.place, self.name);
        let link =
            |(name, context): (&String, &String)| Some((name.clone(), context.strip_prefix("service:")?.to_owned()));
        Ok(Target {
            name: self.name.to_owned(),
            description: String::new(),
            links: self.build.additional_contexts.0.iter().filter_map(link).collect(),
            dockerfile: crate::cli::explain::shown(&args),
            request,
            printed: serde_json::Value::Null,
        })
    }

    fn context(&self) -> String {
        match self.build.context.as_str() {
            "" => self.project.directory.clone(),
            context => context.to_owned(),
        }
    }

    fn words(&self) -> Result<Vec<String>> {
        let (build, flags) = (self.build, self.flags);
        let mut line = Vec::new();
        let mut put = |flag: &str, value: String| line.extend([flag.to_owned(), value]);
        put("--tag", self.project.image_of(self.name, self.service));
        build.tags.iter().for_each(|tag| put("--tag", tag.clone()));
        put("--file", self.dockerfile());
        for (name, value) in &build.args.0 {
            put("--build-arg", value.as_ref().map_or(name.clone(), |value| format!("{name}={value}")));
        }
        flags.build_arg.iter().for_each(|arg| put("--build-arg", arg.clone()));
        for (name, value) in self.labels() {
            put("--label", format!("{name}={value}"));
        }
        if !build.target.is_empty() {
            put("--target", build.target.clone());
        }
        if !build.network.is_empty() {
            put("--network", build.network.clone());
        }
        for platform in self.platforms() {
            put("--platform", platform);
        }
        build.cache_from.iter().for_each(|cache| put("--cache-from", cache.clone()));
        build.cache_to.iter().for_each(|cache| put("--cache-to", cache.clone()));
        build.no_cache_filter.iter().for_each(|stage| put("--no-cache-filter", stage.clone()));
        for (name, context) in build.additional_contexts.0.iter().filter(|(_, value)| !value.starts_with("service:")) {
            put("--build-context", format!("{name}={context}"));
        }
        for (host, addresses) in &build.extra_hosts.0 {
            addresses.iter().for_each(|address| put("--add-host", format!("{host}={address}")));
        }
        for (id, path) in &build.ssh.0 {
            put(
                "--ssh",
                path.as_ref().filter(|path| !path.is_empty()).map_or(id.clone(), |path| format!("{id}={path}")),
            );
        }
        flags.ssh.iter().for_each(|ssh| put("--ssh", ssh.clone()));
        for secret in self.secrets()? {
            put("--secret", secret);
        }
        for (name, limit) in &build.ulimits {
            let value = match limit {
                Ulimit::Single(limit) => format!("{name}={limit}"),
                Ulimit::Pair(soft, hard) => format!("{name}={soft}:{hard}"),
            };
            put("--ulimit", value);
        }
        if build.shm_size.0 > 0 {
            put("--shm-size", build.shm_size.0.to_string());
        }
        if let Some(memory) = &flags.memory {
            put("--resource", format!("memory={memory}"));
        }
        build.entitlements.iter().for_each(|entitlement| put("--allow", entitlement.clone()));
        if build.privileged {
            put("--allow", "security.insecure".to_owned());
        }
        for (flag, value) in [("--provenance", &build.provenance), ("--sbom", &build.sbom)] {
            if !value.is_empty() {
                line.push(format!("{flag}={value}"));
            }
        }
        let switches = [
            ("--no-cache", build.no_cache || flags.no_cache),
            ("--pull", build.pull || flags.pull),
            ("--push", flags.push && !self.service.image.is_empty()),
        ];
        line.extend(switches.iter().filter(|(_, on)| *on).map(|(flag, _)| (*flag).to_owned()));
        Ok(line)
    }

    /// The Dockerfile, by its path from here; one of a context elsewhere by its path there.
    fn dockerfile(&self) -> String {
        if !self.build.dockerfile_inline.is_empty() {
            // It takes the place of a file that is always there.
            return "/dev/null".to_owned();
        }
        let file = if self.build.dockerfile.is_empty() { "Dockerfile" } else { &self.build.dockerfile };
        match compose::is_remote_context(&self.build.context) {
            true => file.to_owned(),
            false => filepath::absolute(&self.context(), file),
        }
    }

    /// The labels that are asked for, and those by which compose finds its images.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.build.labels.0.clone();
        let own =
            [("project", self.project.name.as_str()), ("service", self.name), ("version", env!("CARGO_PKG_VERSION"))];
        labels.extend(own.map(|(name, value)| (format!("com.docker.compose.{name}"), value.to_owned())));
        labels
    }

    fn platforms(&self) -> Vec<String> {
        match (self.build.platforms.as_slice(), self.service.platform.as_str()) {
            ([], "") => Vec::new(),
            ([], platform) => vec![platform.to_owned()],
            (platforms, _) => platforms.to_vec(),
        }
    }

    fn secrets(&self) -> Result<Vec<String>> {
        let secret = |mount: &compose::model::MountedFile| {
            let id = if mount.target.is_empty() { &mount.source } else { &mount.target };
            let secret = self.project.secrets.get(&mount.source)?;
            match (secret.environment.as_str(), secret.file.as_str()) {
                ("", "") => None,
                ("", file) => Some(format!("id={id},src={file}")),
                (variable, _) => Some(format!("id={id},env={variable}")),
            }
        };
        let undefined = |source: &str| {
            let text = format!("service {}: the secret `{source}` has neither a file nor a variable", self.name);
            Error::new(Kind::Dockerfile, text).hint("external secrets can't be read here")
        };
        self.build.secrets.iter().map(|mount| secret(mount).ok_or_else(|| undefined(&mount.source))).collect()
    }
}
