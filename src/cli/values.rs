//! Parses the values of build flags: pairs, platforms, entitlements, contexts, secrets, agents.

use super::args;
use super::operand;
use super::request::Environment;
use crate::engine::Secret;
use crate::engine::agent::{Agent, is_socket};
use crate::request::{Allow, NamedContext};
use base::error::{Error, Kind, Result};
use frontend::platform::Platform;
use frontend::remote::redacted;
use std::path::Path;

/// buildx's entitlement for emptying any directory.
const LOCAL_DELETE: &str = "buildx.local.delete";

pub(super) fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| usage(format!("{flag} {}: not of the form NAME=VALUE", redacted(text))))
}

/// Parses `NAME=VALUE` or `NAME`. As in buildx, the name must not be empty.
pub(super) fn named<'a>(flag: &str, text: &'a str) -> Result<(&'a str, Option<&'a str>)> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    if name.is_empty() {
        return Err(usage(format!("{flag} {text}: there is no name")).hint("write NAME=VALUE"));
    }
    Ok((name, value))
}

/// The text of a flag; empty counts as unset, as it may come from an unset variable of a script.
pub(super) fn given<T: Clone + AsRef<std::ffi::OsStr>>(text: &Option<T>) -> Option<T> {
    text.clone().filter(|text| !text.as_ref().is_empty())
}

/// A key for the build's place: directories by their real path, everything else as typed.
pub(super) fn place(args: &args::Build) -> String {
    let real =
        |path: &str| Path::new(path).canonicalize().map_or_else(|_| path.to_owned(), |path| path.display().to_string());
    let file = args.file.as_deref().map(real).unwrap_or_default();
    format!("{}\0{file}", redacted(&real(&args.context)))
}

/// A switch that may be left open.
pub(super) fn switch(text: &str) -> std::result::Result<bool, String> {
    base::words::bool_of(text).ok_or_else(|| "write true or false".to_owned())
}

pub(super) fn platforms(texts: &[String]) -> Result<Vec<Platform>> {
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

pub(super) fn allowed(words: &[String]) -> Result<Allow> {
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

pub(super) fn named_context(text: &str) -> Result<(String, NamedContext)> {
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

/// Parses `id=x,src=file` or `id=x,env=NAME`, with an optional `type=`.
pub(super) fn secret(text: &str, env: &Environment<'_>) -> Result<(String, Secret)> {
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

/// Parses `default` or `id=path,path`, with an optional `raw=true`.
pub(super) fn agent(text: &str, env: &Environment<'_>) -> Result<(String, Agent)> {
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
