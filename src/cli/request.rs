//! Makes the request of a build from its command line and environment.

use super::args;
use super::buildkit;
use super::hosts;
use super::limits;
use super::operand::{self, Inputs};
use super::output::Around;
use super::values::{agent, allowed, given, named, named_context, place, platforms, secret, usage};
use crate::call::Asked;
use crate::request::BuildRequest;
use base::error::{At, Error, Result};
use base::words::bool_of;
use frontend::op::Network;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The environment of the process.
pub struct Environment<'a> {
    /// Returns the value of a variable.
    pub get: &'a dyn Fn(&str) -> Option<String>,
}

impl BuildRequest {
    /// Resolves the command line.
    pub fn of(args: &args::Build, env: &Environment<'_>, now: i64) -> Result<BuildRequest> {
        if let Some(flag) = args.later.used() {
            return Err(
                usage(format!("{flag} is not there yet")).hint("leave it out; what `kiln build --help` lists works")
            );
        }
        for (flag, value) in [("--provenance", &args.provenance), ("--sbom", &args.sbom)] {
            if value.as_deref().is_some_and(|value| bool_of(value) != Some(false)) {
                return Err(
                    usage(format!("{flag} is not there yet")).hint(format!("leave it out, or write {flag}=false"))
                );
            }
        }
        let Inputs { dockerfile, dockerfile_path, context, pending } = operand::inputs(args)?;
        let mut build_args = BTreeMap::new();
        for text in &args.build_arg {
            match named("--build-arg", text)? {
                (name, Some(value)) => drop(build_args.insert(name.to_owned(), value.to_owned())),
                (name, None) => build_args.extend((env.get)(name).map(|value| (name.to_owned(), value))),
            }
        }
        buildkit::check(&build_args)?;
        if let Some(epoch) = (env.get)("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()) {
            build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch);
        }
        let epoch_of_context = build_args.get("SOURCE_DATE_EPOCH").is_some_and(|text| text == "context");
        let epoch = build_args.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty() && !epoch_of_context);
        let epoch = epoch
            .map(|text| {
                text.parse::<i64>().map_err(|_| usage(format!("SOURCE_DATE_EPOCH={text} is no number of seconds")))
            })
            .transpose()?;
        let mut allow = allowed(&args.allow)?;
        let network = match args.network.as_str() {
            "default" | "" => Network::Default,
            "none" => Network::None,
            "host" => {
                // As in docker, the flag itself allows it.
                allow.network_host = true;
                Network::Host
            }
            other => return Err(Error::unknown("network mode", other, ["default", "none", "host"])),
        };
        let settings = super::login::settings(env);
        let default_platform = (env.get)("DOCKER_DEFAULT_PLATFORM").filter(|text| !text.is_empty());
        let asked_platforms = match (args.platform.is_empty(), default_platform) {
            (true, Some(platform)) => vec![platform],
            _ => args.platform.clone(),
        };
        let platforms = platforms(&asked_platforms)?;
        let multi = buildkit::multi_platform(&build_args, platforms.len())?;
        let may_delete = allow.local_delete;
        let around = Around { now: epoch.unwrap_or(now), settings: &settings, multi, may_delete };
        let outputs = super::output::outputs(args, &around)?;
        let mut caches = super::caches::caches(args, env)?;
        caches.extend(buildkit::inline_cache(&build_args, &caches));
        // As in buildx, the variable counts if the flag is `auto`.
        let progress = Some(args.progress.clone()).filter(|view| view != "auto" && !view.is_empty());
        let progress = progress.or_else(|| (env.get)("BUILDKIT_PROGRESS").filter(|view| !view.is_empty()));
        let progress = progress.unwrap_or_else(|| "auto".to_owned());
        Ok(BuildRequest {
            color: false,
            dockerfile,
            dockerfile_path,
            context,
            pending,
            keep_git_dir: buildkit::keeps_git_dir(&build_args),
            fetched: None,
            epoch_of_context,
            names: args
                .tag
                .iter()
                .map(|tag| crate::image::refs::normal(tag).map(|_| tag.clone()))
                .collect::<Result<_>>()?,
            warnings: buildkit::warnings(&build_args, env),
            build_args,
            target: given(&args.target),
            labels: args
                .label
                .iter()
                .map(|text| named("--label", text))
                .map(|pair| pair.map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned())))
                .collect::<Result<_>>()?,
            platform_given: !asked_platforms.is_empty(),
            platforms,
            contexts: args.build_context.iter().map(|text| named_context(text)).collect::<Result<_>>()?,
            agents: args.ssh.iter().map(|text| agent(text, env)).collect::<Result<_>>()?,
            asked: match &args.call {
                Some(call) => Asked::parse(call)?,
                None if args.check => Asked::parse("check")?,
                None => Asked::default(),
            },
            secrets: args.secret.iter().map(|text| secret(text, env)).collect::<Result<_>>()?,
            allow,
            place: place(args),
            fail_on_miss: args.fail_on_miss.clone(),
            no_cache: args.no_cache,
            no_cache_filter: args.no_cache_filter.clone(),
            caches,
            pull: args.pull,
            jobs: args.jobs.map(usize::from),
            network,
            limits: limits::of(args)?,
            hosts: hosts::hosts(&args.add_host)?,
            outputs,
            iidfile: given(&args.iidfile),
            metadata_file: given(&args.metadata_file),
            quiet: args.quiet || progress == "quiet",
            progress,
            multi,
            epoch,
            settings,
            linked: false,
        })
    }
}

/// The directory of the store.
pub fn root(env: &Environment<'_>, is_root: bool) -> Result<PathBuf> {
    let set = |name: &str| (env.get)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(root) = set("KILN_ROOT") {
        return std::path::absolute(&root).at("find", &root);
    }
    if is_root {
        return Ok("/var/lib/kiln".into());
    }
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("kiln")).ok_or_else(|| usage("there is neither KILN_ROOT, XDG_DATA_HOME nor HOME"))
}

#[cfg(test)]
mod tests;
