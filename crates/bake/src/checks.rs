//! Checks of targets that come before any building, also with `--print`.

use crate::entry::Export;
use crate::host::{FileKind, Host};
use crate::paths;
use crate::problem::Problem;
use crate::remote::{is_git_ssh, is_remote};
use crate::target::Target;
use base::words::bool_of;
use frontend::platform::Platform;
use std::io;

type Rule = fn(&Target, &dyn Host) -> Result<(), String>;

/// Largest secret.
const SECRET: u64 = 500 * 1024;

/// Checks a target, and brings the path of its context into its final form.
pub fn check(target: &mut Target, host: &dyn Host) -> Result<(), Problem> {
    let at = |name: &str, why: String| Err(Problem::plain(why).or_at(target.span(name)));
    if target.context.as_deref() == Some("-") {
        return at("context", "context from stdin not allowed in bake".into());
    }
    if target.dockerfile.as_deref() == Some("-") {
        return at("dockerfile", "dockerfile from stdin not allowed in bake".into());
    }
    let context = final_path(target.context.as_deref().unwrap_or("."));
    if let Some(size) = &target.shm_size
        && bytes(size).is_none()
    {
        return at("shm-size", format!("invalid value {size} for membytes key shm-size"));
    }
    let rules: [(&str, Rule); 6] = [
        ("platforms", platforms),
        ("secret", secrets),
        ("ssh", ssh),
        ("output", outputs),
        ("annotations", annotations),
        ("ulimits", ulimits),
    ];
    let with_context = Target { context: Some(context.clone()), ..target.clone() };
    for (name, rule) in rules {
        if let Err(why) = rule(&with_context, host) {
            return at(name, why);
        }
    }
    if let Some(limits) = &target.resources {
        for (name, value) in [("memory", &limits.memory), ("memory-swap", &limits.memory_swap)] {
            let Some(value) = value else { continue };
            let unlimited = name == "memory-swap" && value.trim() == "-1";
            if bytes(value.trim()).is_none() && !unlimited {
                return at(
                    "resources",
                    format!("invalid value {value:?} for resource {name}: invalid size: '{value}'"),
                );
            }
        }
    }
    target.context = Some(context);
    Ok(())
}

fn final_path(path: &str) -> String {
    match path.strip_prefix("cwd://") {
        Some(local) => paths::clean(local),
        None if is_remote(path) => path.into(),
        None => paths::clean(path),
    }
}

/// A size as docker/go-units reads it.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].strip_prefix(' ').unwrap_or(&text[digits..]).to_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" | "ki" => 1,
        "m" | "mb" | "mib" | "mi" => 2,
        "g" | "gb" | "gib" | "gi" => 3,
        "t" | "tb" | "tib" | "ti" => 4,
        "p" | "pb" | "pib" | "pi" => 5,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)) as u64)
}

fn platforms(target: &Target, _: &dyn Host) -> Result<(), String> {
    for text in target.platforms.iter().flatten().flat_map(|text| text.split(',')) {
        Platform::parse(text).map_err(|why| format!("{why}: invalid argument"))?;
    }
    Ok(())
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn secrets(target: &Target, host: &dyn Host) -> Result<(), String> {
    for secret in target.secrets.iter().flatten() {
        if secret.id.is_empty() {
            return Err("secret missing ID".into());
        }
        let mut path = secret.path.as_str();
        if path.is_empty() && secret.env.is_empty() && host.variable(&secret.id).is_none() {
            path = &secret.id;
        }
        if path.is_empty() {
            continue;
        }
        match host.size(path) {
            Err(error) => return Err(format!("failed to stat {path}: stat {path}: {}", said(&error))),
            Ok(size) if size > SECRET => return Err(format!("secret {} too big. max size 500KB", secret.id)),
            Ok(_) => {}
        }
    }
    Ok(())
}

fn ssh(target: &Target, host: &dyn Host) -> Result<(), String> {
    let own: Vec<(String, Vec<String>)> =
        target.ssh.iter().flatten().map(|ssh| (ssh.id.clone(), ssh.paths.clone())).collect();
    let by_git = target.context.as_deref().is_some_and(is_git_ssh) && own.is_empty();
    let all = if by_git { vec![("default".to_owned(), Vec::new())] } else { own };
    for (id, mut paths) in all {
        let shown = format!("{{{} [{}] false}}", if id.is_empty() { "default" } else { &id }, paths.join(" "));
        let wrong = |why: String| format!("failed to convert agent config {shown}: {why}");
        if paths.is_empty() || paths == [String::new()] {
            paths = vec![host.variable("SSH_AUTH_SOCK").unwrap_or_default()];
        }
        for path in &paths {
            if path.is_empty() {
                let why = "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set";
                return Err(wrong(why.into()));
            }
            match host.stat(path) {
                Err(error) => return Err(wrong(format!("stat {path}: {}", said(&error)))),
                Ok(FileKind::Socket) if paths.len() > 1 => return Err(wrong("only single socket allowed".into())),
                Ok(FileKind::Socket) => {}
                Ok(_) => {
                    let key =
                        host.read(path).map_err(|error| wrong(format!("failed to open {path}: {}", said(&error))))?;
                    if !String::from_utf8_lossy(&key).contains("PRIVATE KEY-----") {
                        return Err(wrong(format!("failed to parse {path}: ssh: no key found")));
                    }
                }
            }
        }
    }
    Ok(())
}

fn outputs(target: &Target, host: &dyn Host) -> Result<(), String> {
    let mut to_stdout = false;
    for output in target.outputs.iter().flatten() {
        if output.kind.is_empty() {
            return Err("type is required for output".into());
        }
        to_stdout = place(output, host, to_stdout)?;
    }
    Ok(())
}

/// Checks where an output goes; true once one goes to standard output.
fn place(output: &Export, host: &dyn Host, mut to_stdout: bool) -> Result<bool, String> {
    let tar = output.attributes.get("tar").and_then(|text| bool_of(text)).unwrap_or(true);
    let (file, directory) = match output.kind.as_str() {
        "local" => (false, true),
        "tar" => (true, false),
        "oci" | "docker" => (tar, !tar),
        _ => (false, false),
    };
    let (kind, path) = (&output.kind, output.destination.as_str());
    let named = !path.is_empty() && path != "-";
    let found = if named { found(host, path).map_err(|why| (path, why)) } else { Ok(None) };
    if directory {
        match path {
            "" => return Err(format!("dest is required for {kind} exporter")),
            "-" => return Err(format!("dest cannot be stdout for {kind} exporter")),
            _ => {}
        }
        match &found {
            Ok(None | Some(FileKind::Directory)) => {}
            Ok(Some(_)) => return Err(format!("destination directory {path} is a file")),
            Err((path, why)) => return Err(format!("invalid destination directory: {path}: {why}")),
        }
    }
    if file {
        if path == "-" || (path.is_empty() && kind != "docker") {
            if to_stdout {
                return Err("multiple outputs configured to write to stdout".into());
            }
            to_stdout = true;
        }
        match &found {
            Ok(Some(FileKind::Directory)) => return Err(format!("destination file {path} is a directory")),
            Ok(_) => {}
            Err((path, why)) => return Err(format!("invalid destination file: {path}: {why}")),
        }
    }
    Ok(to_stdout)
}

/// The kind of a file; none where there is none.
fn found(host: &dyn Host, path: &str) -> Result<Option<FileKind>, String> {
    match host.stat(path) {
        Ok(kind) => Ok(Some(kind)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(said(&error)),
    }
}

fn annotations(target: &Target, _: &dyn Host) -> Result<(), String> {
    const KINDS: [&str; 4] = ["index", "index-descriptor", "manifest", "manifest-descriptor"];
    for text in target.annotations.iter().flatten() {
        let (name, _) =
            text.split_once('=').ok_or_else(|| format!("invalid annotation {text:?}, expected key=value"))?;
        let Some((kinds, _)) = name.split_once(':') else { continue };
        for kind in kinds.split(',') {
            let (word, platform) = match kind.split_once('[') {
                Some((word, rest)) => (word, rest.strip_suffix(']')),
                None => (kind, Some("")),
            };
            let letters = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let Some(platform) = platform.filter(|_| letters) else {
                let why = "expected type and optional platform in square brackets";
                return Err(format!("invalid annotation type {kind:?}, {why}"));
            };
            if !KINDS.contains(&word) {
                return Err(format!("unknown annotation type {word:?}"));
            }
            if !platform.is_empty() {
                Platform::parse(platform).map_err(|why| format!("invalid platform {platform:?}: {why}"))?;
            }
        }
    }
    Ok(())
}

/// Names of limits.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn ulimits(target: &Target, _: &dyn Host) -> Result<(), String> {
    for text in target.ulimits.iter().flatten() {
        let (name, values) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
        if !ULIMITS.contains(&name) {
            return Err(format!("invalid ulimit type: {name}"));
        }
        let values: Vec<&str> = values.split(':').collect();
        if values.len() > 2 {
            return Err(format!("too many limit value arguments - {text}, can only have up to two, `soft[:hard]`"));
        }
        let numbers = values.iter().map(|value| value.parse::<i64>());
        let numbers: Vec<i64> = numbers
            .collect::<Result<_, _>>()
            .map_err(|_| format!("invalid ulimit argument: {text}: a limit is a number"))?;
        if let [soft, hard] = numbers.as_slice()
            && *hard >= 0
            && (soft > hard || *soft < 0)
        {
            return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_go_units() {
        assert_eq!([bytes("64m"), bytes("1.5 GiB"), bytes("10")], [Some(64 << 20), Some(1536 << 20), Some(10)]);
        assert_eq!([bytes("lots"), bytes("1x"), bytes(""), bytes("-1")], [None; 4]);
    }
}
