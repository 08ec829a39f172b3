//! What a command line means: plain data, with everything from the environment resolved.

use super::args;
use super::buildkit;
use super::hosts;
use super::limits;
use super::operand::{self, Coming, Inputs};
use super::output::Around;
use crate::call::Asked;
use crate::engine::Secret;
use crate::engine::agent::{Agent, is_socket};
use crate::error::{At, Error, Kind, Result};
use crate::exec::Limits;
use crate::export::Wanted;
use crate::registry::Settings;
use crate::remote;
use frontend::go::bool_of;
use frontend::op::Network;
use frontend::platform::Platform;
use frontend::remote::{Remote, redacted};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A build, as it is wished.
#[derive(Debug)]
pub struct BuildRequest {
    /// Whether pictures of errors may be coloured.
    pub color: bool,
    /// Its bytes.
    pub dockerfile: Vec<u8>,
    /// Its name for people, and where its ignore file may be.
    pub dockerfile_path: Option<PathBuf>,
    /// The context; none when only a Dockerfile came.
    pub context: Option<PathBuf>,
    /// A context that has yet to come.
    pub coming: Option<Coming>,
    /// Where it came to.
    pub fetched: Option<PathBuf>,
    /// SOURCE_DATE_EPOCH=context: the time is the context's.
    pub epoch_of_context: bool,
    /// `-t`.
    pub names: Vec<String>,
    /// With what the environment gave.
    pub build_args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// One at least.
    pub platforms: Vec<Platform>,
    /// Whether `--platform` or DOCKER_DEFAULT_PLATFORM said so.
    pub platform_given: bool,
    /// By name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// By id.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`, by id.
    pub agents: BTreeMap<String, Agent>,
    /// `--ulimit`, `--shm-size`.
    pub limits: Limits,
    /// `--call`.
    pub asked: Asked,
    /// `--allow`.
    pub allow: Allow,
    /// What is built, for whoever compares two builds: the Dockerfile and the context by where they are.
    pub place: String,
    /// `--fail-on-miss`.
    pub fail_on_miss: Vec<String>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`.
    pub no_cache_filter: Vec<String>,
    /// `--cache-from` and `--cache-to`.
    pub caches: Vec<remote::Wanted>,
    /// `--pull`.
    pub pull: bool,
    /// `--jobs`.
    pub jobs: Option<usize>,
    /// `--network`.
    pub network: Network,
    /// `--add-host`.
    pub hosts: Vec<(String, String)>,
    /// `--output`.
    pub outputs: Vec<Wanted>,
    /// `--iidfile`.
    pub iidfile: Option<PathBuf>,
    /// `--metadata-file`.
    pub metadata_file: Option<PathBuf>,
    /// The id is printed.
    pub quiet: bool,
    /// How progress is shown.
    pub progress: String,
    /// BUILDKIT_MULTI_PLATFORM: one platform has the form of several.
    pub multi: bool,
    /// What is to be told before the build begins.
    pub warnings: Vec<String>,
    /// SOURCE_DATE_EPOCH.
    pub epoch: Option<i64>,
    /// Proxies.
    pub settings: Settings,
}

/// What `--build-context` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Dir(PathBuf),
    /// An image at a registry.
    Image(String),
    /// `oci-layout://...`.
    Layout(String),
    /// A repository, or a tarball behind a URL.
    Remote(Remote),
}

/// What a build may do beyond the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// `network.host`.
    pub network_host: bool,
    /// `security.insecure`.
    pub security_insecure: bool,
    /// `device=NAME`; an empty name for `device`, which allows all.
    pub devices: Vec<String>,
    /// `buildx.local.delete`: `type=local,mode=delete` may empty any directory.
    pub local_delete: bool,
}

/// buildx's name of that.
const LOCAL_DELETE: &str = "buildx.local.delete";

/// The environment, read once.
pub struct Environment<'a> {
    /// The value of a variable.
    pub get: &'a dyn Fn(&str) -> Option<String>,
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| usage(format!("{flag} {}: not of the form NAME=VALUE", redacted(text))))
}

/// `NAME=VALUE` or `NAME`. As with buildx the name must not be empty.
fn named<'a>(flag: &str, text: &'a str) -> Result<(&'a str, Option<&'a str>)> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    if name.is_empty() {
        return Err(usage(format!("{flag} {text}: there is no name")).hint("write NAME=VALUE"));
    }
    Ok((name, value))
}

/// A text that was given; an empty one is the same as none, as it comes of a script's unset variable.
fn given<T: Clone + AsRef<std::ffi::OsStr>>(text: &Option<T>) -> Option<T> {
    text.clone().filter(|text| !text.as_ref().is_empty())
}

impl BuildRequest {
    /// Resolves what was typed.
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
        let Inputs { dockerfile, dockerfile_path, context, coming } = operand::inputs(args)?;
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
                // As with docker: who asks for it on the command line allows it.
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
        // As with buildx the variable counts where the flag leaves it open.
        let progress = Some(args.progress.clone()).filter(|view| view != "auto" && !view.is_empty());
        let progress = progress.or_else(|| (env.get)("BUILDKIT_PROGRESS").filter(|view| !view.is_empty()));
        let progress = progress.unwrap_or_else(|| "auto".to_owned());
        Ok(BuildRequest {
            color: false,
            dockerfile,
            dockerfile_path,
            context,
            coming,
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
        })
    }
}

impl BuildRequest {
    /// Removes what an earlier build wrote to `--iidfile` and `--metadata-file`: a build that fails must not leave it.
    pub fn remove_earlier_answers(&self) -> Result<()> {
        for path in self.iidfile.iter().chain(&self.metadata_file) {
            // Only files: /dev/stdout stays, and what it leads to.
            let is_file = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
            if is_file {
                match std::fs::remove_file(path) {
                    Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                        let text = format!("cannot remove `{}`, which an earlier build wrote", path.display());
                        return Err(Error::new(Kind::Export, text).because(cause));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Directories by their real path, everything else as it was typed.
fn place(args: &args::Build) -> String {
    let real =
        |path: &str| Path::new(path).canonicalize().map_or_else(|_| path.to_owned(), |path| path.display().to_string());
    let file = args.file.as_deref().map(real).unwrap_or_default();
    format!("{}\0{file}", redacted(&real(&args.context)))
}

fn platforms(texts: &[String]) -> Result<Vec<Platform>> {
    if texts.is_empty() {
        return Ok(vec![Platform::host()]);
    }
    let mut all = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(',')).map(str::trim) {
        let platform = Platform::parse(text)
            .map_err(|cause| usage(format!("--platform {cause}")).hint("write `linux/amd64`, `linux/arm64`, ..."))?;
        if !all.contains(&platform) {
            all.push(platform);
        }
    }
    Ok(all)
}

fn allowed(words: &[String]) -> Result<Allow> {
    let mut allow = Allow::default();
    for word in words {
        match word.as_str() {
            "network.host" => allow.network_host = true,
            "security.insecure" => allow.security_insecure = true,
            LOCAL_DELETE => allow.local_delete = true,
            "device" => allow.devices.push(String::new()),
            other => match other.strip_prefix("device=") {
                Some(name) if !name.is_empty() => allow.devices.push(name.to_owned()),
                _ if other.starts_with(&format!("{LOCAL_DELETE}=")) => {
                    return Err(usage(format!("--allow {LOCAL_DELETE} takes no value")));
                }
                _ => {
                    let known = ["network.host", "security.insecure", "device", LOCAL_DELETE];
                    return Err(Error::unknown("entitlement", other, known));
                }
            },
        }
    }
    Ok(allow)
}

fn named_context(text: &str) -> Result<(String, NamedContext)> {
    let (name, source) = pair("--build-context", text)?;
    let context = if let Some(image) = source.strip_prefix("docker-image://") {
        NamedContext::Image(image.to_owned())
    } else if source.starts_with("oci-layout://") {
        NamedContext::Layout(source.to_owned())
    } else if let Some(remote) = operand::named(source)? {
        NamedContext::Remote(remote)
    } else {
        NamedContext::Dir(source.into())
    };
    Ok((name.to_owned(), context))
}

/// `id=x,src=file`, `id=x,env=NAME`, with `type=` if wished.
fn secret(text: &str, env: &Environment<'_>) -> Result<(String, Secret)> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (key, value) = pair("--secret", field)?;
        match key {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => file = Some(value.to_owned()),
            "env" => variable = Some(value.to_owned()),
            "type" if matches!(value, "file" | "env") => kind = Some(value.to_owned()),
            "type" => return Err(Error::unknown("type of secret", value, ["file", "env"])),
            other => return Err(Error::unknown("key of --secret", other, ["id", "src", "source", "env", "type"])),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| usage(format!("--secret {text}: there is no id=")))?;
    if kind.as_deref() == Some("env") {
        variable = variable.or_else(|| file.take());
    }
    let from_env = |name: &str| (env.get)(name).map(|value| Secret::Value(value.into_bytes()));
    let secret = match (file, variable) {
        (Some(file), _) if Path::new(&file).is_file() => Secret::File(file.into()),
        (Some(file), _) => return Err(usage(format!("--secret {id}: there is no file `{file}`"))),
        (None, Some(name)) => {
            from_env(&name).ok_or_else(|| usage(format!("--secret {id}: the variable {name} is not set")))?
        }
        (None, None) => {
            from_env(&id).ok_or_else(|| usage(format!("--secret {id}: neither src= nor env=, and no variable {id}")))?
        }
    };
    Ok((id, secret))
}

/// `default`, `id=path,path`, with `raw=true` if wished.
fn agent(text: &str, env: &Environment<'_>) -> Result<(String, Agent)> {
    let (id, rest) = text.split_once('=').unwrap_or((text, ""));
    if id.is_empty() {
        return Err(usage(format!("--ssh {text}: there is no id")).hint("write `--ssh default` or `--ssh ID=PATH`"));
    }
    let mut agent = Agent { paths: Vec::new(), raw: false };
    for field in rest.split(',').filter(|field| !field.is_empty()) {
        match field.strip_prefix("raw=") {
            Some("true") => agent.raw = true,
            Some("false") => agent.raw = false,
            Some(other) => return Err(Error::unknown("value of raw", other, ["true", "false"])),
            None => agent.paths.push(field.into()),
        }
    }
    if agent.paths.is_empty() {
        let socket = (env.get)("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).ok_or_else(|| {
            usage(format!("--ssh {id}: SSH_AUTH_SOCK is not set"))
                .hint("start an agent (`eval $(ssh-agent)`, `ssh-add`), or write `--ssh ID=KEYFILE`")
        })?;
        agent.paths.push(socket.into());
    }
    if let Some(missing) = agent.paths.iter().find(|path| !path.exists()) {
        return Err(usage(format!("--ssh {id}: there is no `{}`", missing.display())));
    }
    let sockets = agent.paths.iter().filter(|path| is_socket(path)).count();
    if sockets > 1 || (sockets == 1 && agent.paths.len() > 1) || (agent.raw && sockets != 1) {
        return Err(usage(format!("--ssh {id}: one socket, or key files")));
    }
    Ok((id.to_owned(), agent))
}

/// The folder of the store.
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
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use clap::Parser as _;

    fn request(args: &[&str]) -> Result<BuildRequest> {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").expect("written");
        let context = dir.path().to_string_lossy().into_owned();
        let words = ["kiln", "build"].into_iter().chain(args.iter().copied()).chain([context.as_str()]);
        let args::Command::Build(build) = args::Cli::try_parse_from(words).expect("flags").command else {
            panic!("another command")
        };
        let get = |name: &str| (name == "SET").then(|| "value".to_owned());
        BuildRequest::of(&build, &Environment { get: &get }, 7)
    }

    fn refused(args: &[&str], words: &str) {
        let error = request(args).map(drop).expect_err("refused");
        let text = format!("{error} {}", error.hints().join(" "));
        assert!(text.contains(words) && error.kind() == Kind::Usage, "{text}");
    }

    #[test]
    fn flags_mean_what_they_mean_to_docker() {
        let request = request(&[
            "--build-arg=A=1",
            "--build-arg=SET",
            "--build-arg=UNSET",
            "--platform=linux/amd64,arm64",
            "--add-host=a:1.2.3.4",
            "--secret=id=s,env=SET",
            "--network=host",
            "-o",
            "type=oci,dest=-",
            "--label=x=y=z",
            "-t",
            "a/b:c",
        ])
        .expect("a request");
        assert_eq!(
            request.build_args.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
            ["A=1", "SET=value"]
        );
        assert_eq!(
            request.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["linux/amd64", "linux/arm64"]
        );
        assert_eq!(request.hosts, [("a".to_owned(), "1.2.3.4".to_owned())]);
        assert_eq!(request.secrets.get("s"), Some(&Secret::Value(b"value".to_vec())));
        assert!(request.allow.network_host && request.network == Network::Host);
        assert_eq!(request.labels, [("x".to_owned(), "y=z".to_owned())]);
        assert_eq!((request.outputs[0].attributes.kind.as_str(), request.outputs[0].now), ("oci", 7));
    }

    #[test]
    fn wrong_values_are_refused_with_the_right_ones() {
        refused(&["--network=nnoe"], "did you mean `none`?");
        refused(&["--allow=network.hots"], "did you mean `network.host`?");
        refused(&["--platform=a/b/c/d"], "cannot parse platform");
        refused(&["--secret=idd=x"], "did you mean `id`?");
        refused(&["--secret=id=x,env=NOPE"], "NOPE is not set");
        refused(&["-o", "type=oic,dest=x"], "did you mean `oci`?");
        refused(&["-o", "dest=x"], "no type=");
        refused(&["--push"], "a name to push to");
        refused(&["-o", "type=registry,name=a@sha256:12"], "digest");
        refused(&["-o", "type=image,push=true,push-by-digest=true,name=r.io/a:1"], "without a tag");
        refused(&["--cache-to=type=local"], "--cache-to type=local needs dest=");
        refused(&["--cache-to=type=lcoal,dest=x"], "did you mean `local`?");
        refused(&["--cache-to=type=registry,ref=r.io/a,mdoe=max"], "did you mean `mode`?");
        refused(&["--cache-to=type=registry,ref=r.io/a,mode=mx"], "did you mean `max`?");
        refused(&["--cache-from=type=local,dest=x"], "unknown attribute of --cache-from type=local `dest`");
        refused(&["--cache-from=UPPER"], "must be lowercase");
        refused(&["--provenance=max"], "--provenance=false");
        refused(&["-t", "UPPER"], "must be lowercase");
        assert!(request(&["--provenance=false", "--sbom=false", "--load", "--rm", "--force-rm"]).is_ok());
    }

    #[test]
    fn push_is_an_output_of_its_own_or_that_of_the_image() {
        let kinds = |args: &[&str]| {
            let outputs = request(args).expect("a request").outputs;
            outputs.into_iter().map(|one| one.attributes).collect::<Vec<_>>()
        };
        let of = |kind: &str, others: &[(&str, &str)]| [Attributes::new(kind, others.iter().copied())];
        assert_eq!(kinds(&["--push", "-t", "a"]), of("registry", &[]));
        assert_eq!(kinds(&["--push", "-t", "a", "-o", "type=image"]), of("image", &[("push", "true")]));
        assert_eq!(kinds(&["--push", "-o", "type=registry,name=a,b/c"]), of("registry", &[("name", "a,b/c")]));
        assert_eq!(kinds(&["--push", "-o", "type=image,name=a"]), of("image", &[("name", "a"), ("push", "true")]));
    }

    #[test]
    fn the_store_is_where_the_environment_says() {
        let root_of = |pairs: &'static [(&str, &str)], is_root| {
            let get =
                move |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            root(&Environment { get: &get }, is_root).map(|path| path.display().to_string()).ok()
        };
        assert_eq!(root_of(&[("KILN_ROOT", "/k"), ("HOME", "/h")], true).as_deref(), Some("/k"));
        assert_eq!(root_of(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")], false).as_deref(), Some("/x/kiln"));
        assert_eq!(root_of(&[("HOME", "/h")], false).as_deref(), Some("/h/.local/share/kiln"));
        assert_eq!(root_of(&[("HOME", "/root")], true).as_deref(), Some("/var/lib/kiln"));
        assert_eq!(root_of(&[], false), None);
    }
}
