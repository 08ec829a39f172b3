//! `RUN --mount`: its options, and the op's mount.

use super::{Diagnostic, Stage, bind_input};
use crate::line::{Flag, Span};
use crate::op::{self, CacheDir, MountKind, Sharing};
use crate::stage::join;
use base::words::closest;
use solver::VertexId;

/// A mount as it is written; values are expanded when the stage is lowered.
#[derive(Clone, Debug)]
pub(in crate::instruction) struct Mount {
    fields: Vec<(String, Option<String>)>,
    /// Known before expansion: it may hold no variable.
    pub(in crate::instruction) from: Option<String>,
    span: Span,
}

const KINDS: &[&str] = &["bind", "cache", "tmpfs", "secret", "ssh"];
const KEYS: &[&str] = &[
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// A mount's options after expansion.
#[derive(Default)]
struct Options {
    kind: String,
    source: String,
    target: String,
    id: String,
    env: Option<String>,
    readonly: Option<bool>,
    required: bool,
    size: Option<u64>,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Mount {
    pub(super) fn parse(flag: &Flag) -> Result<Mount, Diagnostic> {
        let error = |message: String| Diagnostic::error("mount", message, Some(flag.span.clone()));
        let mut mount = Mount { fields: Vec::new(), from: None, span: flag.span.clone() };
        for field in csv(flag.value.as_deref().unwrap_or("")).map_err(&error)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value.to_owned())),
                None => (field.to_lowercase(), None),
            };
            if key == "from" {
                mount.from = value.clone().filter(|from| !from.is_empty());
                if value.as_deref().is_some_and(|from| from.trim_end_matches('$').contains('$')) {
                    let message = "'from' doesn't support variable expansion, define alias stage instead";
                    return Err(error(message.to_owned()).help("put `FROM $IMAGE AS name` before this stage"));
                }
            }
            mount.fields.push((key, value));
        }
        // A mount without variables can be checked now, in stages that nobody needs too.
        if mount.fields.iter().all(|(_, value)| value.as_deref().is_none_or(|value| !value.contains('$'))) {
            mount.options(&mut |value| Ok(value.to_owned()))?;
        }
        Ok(mount)
    }

    fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error("mount", message, Some(self.span.clone()))
    }

    fn options(&self, expand: &mut dyn FnMut(&str) -> Result<String, Diagnostic>) -> Result<Options, Diagnostic> {
        let mut options = Options { kind: "bind".to_owned(), ..Options::default() };
        for (key, value) in &self.fields {
            let value = value.as_deref().map(&mut *expand).transpose()?;
            self.option(&mut options, key, value.as_deref())?;
        }
        self.check(&options)?;
        Ok(options)
    }

    fn option(&self, to: &mut Options, key: &str, value: Option<&str>) -> Result<(), Diagnostic> {
        let bad = || self.error(format!("invalid value for {key}: {}", value.unwrap_or("")));
        let elsewhere = || self.error(format!("unexpected key '{key}' for mount type '{}'", to.kind));
        let bool_of = |value: Option<&str>| value.map_or(Some(true), base::words::bool_of).ok_or_else(bad);
        match (key, value) {
            ("readonly" | "ro", value) => to.readonly = Some(bool_of(value)?),
            ("readwrite" | "rw", value) => to.readonly = Some(!bool_of(value)?),
            ("required", value) if matches!(to.kind.as_str(), "secret" | "ssh") => to.required = bool_of(value)?,
            ("required", _) => return Err(elsewhere()),
            (key, None) => return Err(self.error(format!("invalid field '{key}' must be a key=value pair"))),
            ("type", Some(value)) => to.kind = self.one_of("unsupported mount type", value, KINDS)?,
            ("from", Some(_)) => {}
            ("source" | "src", Some(value)) => to.source = value.to_owned(),
            ("target" | "dst" | "destination", Some(value)) => to.target = value.to_owned(),
            ("size", Some(value)) if to.kind == "tmpfs" => to.size = Some(bytes(value).ok_or_else(bad)?),
            ("size", _) => return Err(elsewhere()),
            ("id", Some(value)) => to.id = value.to_owned(),
            ("sharing", Some(value)) => {
                let name = self.one_of("unsupported sharing value", value, &["shared", "private", "locked"])?;
                to.sharing = Some(match name.as_str() {
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => Sharing::Shared,
                });
            }
            ("mode", Some(value)) => to.mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad())?),
            ("uid", Some(value)) => to.uid = Some(value.parse().map_err(|_| bad())?),
            ("gid", Some(value)) => to.gid = Some(value.parse().map_err(|_| bad())?),
            ("env", Some(value)) => to.env = Some(value.to_owned()),
            (key, Some(value)) => {
                let error = self.error(format!("unexpected key '{key}' in '{key}={value}'"));
                return Err(self.suggest(error, key, KEYS));
            }
        }
        Ok(())
    }

    /// Adds what was most likely meant in place of a word, as the flag with that.
    fn suggest(&self, error: Diagnostic, word: &str, known: &[&str]) -> Diagnostic {
        let Some(near) = closest(word, known.iter().copied()) else {
            return error.help(format!("known are {}", known.join(", ")));
        };
        let field = |(key, value): &(String, Option<String>)| {
            let key = if key == word { near } else { key };
            match value {
                Some(value) => format!("{key}={}", if value == word { near } else { value }),
                None => key.to_owned(),
            }
        };
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        error.label(format!("did you mean {near}?")).fix(self.span.clone(), format!("--mount={}", fields.join(",")))
    }

    fn one_of(&self, what: &str, value: &str, known: &[&str]) -> Result<String, Diagnostic> {
        let lower = value.to_lowercase();
        if known.contains(&lower.as_str()) {
            return Ok(lower);
        }
        Err(self.suggest(self.error(format!("{what} {value:?}")), value, known))
    }

    /// Refuses options that do not go together.
    fn check(&self, options: &Options) -> Result<(), Diagnostic> {
        let kind = options.kind.as_str();
        let refuse = |message: String| Err(self.error(message));
        if matches!(kind, "bind" | "tmpfs") {
            let given = [("mode", options.mode), ("uid", options.uid), ("gid", options.gid)];
            if let Some((name, _)) = given.iter().find(|(_, value)| value.is_some()) {
                return refuse(format!("{name} not allowed for {kind:?} type mounts"));
            }
        }
        if options.sharing.is_some() && kind != "cache" {
            return refuse(format!("invalid cache sharing set for {kind} mount"));
        }
        if kind == "ssh" && !options.source.is_empty() {
            return refuse("ssh does not support source".to_owned());
        }
        if kind == "secret" {
            if self.from.is_some() {
                return refuse("secret mount should not have a from".to_owned());
            }
            if options.source.is_empty() && options.target.is_empty() && options.id.is_empty() {
                return refuse("invalid secret mount. one of source, target required".to_owned());
            }
            if !options.source.is_empty() && !options.id.is_empty() {
                return refuse("both source and id can't be set".to_owned());
            }
        }
        Ok(())
    }

    /// The op's mount; `input` takes a vertex and gives back its place among the op's inputs.
    pub(super) fn lower(
        &self,
        stage: &mut Stage<'_, '_>,
        input: &mut dyn FnMut(VertexId) -> usize,
    ) -> Result<op::Mount, Diagnostic> {
        let options = self.options(&mut |value| stage.expand(value))?;
        match options.kind.as_str() {
            "secret" => return Ok(secret(&options)),
            "ssh" => return Ok(ssh(&options)),
            _ => {}
        }
        let target = join(&stage.workdir(), &options.target);
        if target == "/" {
            let help = "say where it is mounted: `target=/path`";
            return Err(self.error(format!("invalid mount target {:?}", options.target)).help(help));
        }
        let source = join("/", &options.source);
        let kind = match options.kind.as_str() {
            "tmpfs" => MountKind::Tmpfs { size: options.size.filter(|size| *size > 0) },
            "cache" => {
                let from = match &self.from {
                    Some(from) => Some(input(bind_input(stage, Some(from), &source)?)),
                    None => None,
                };
                let id = if options.id.is_empty() { join("/", &options.target) } else { options.id };
                let said = options.mode.or(options.uid).or(options.gid).is_some();
                let dir = (said && source == "/").then(|| CacheDir {
                    mode: options.mode.unwrap_or(CacheDir::default().mode),
                    uid: options.uid.unwrap_or(0),
                    gid: options.gid.unwrap_or(0),
                });
                MountKind::Cache {
                    id: stage.cache_id(&id),
                    sharing: options.sharing.unwrap_or_default(),
                    from,
                    source,
                    readonly: options.readonly.unwrap_or(false),
                    dir,
                }
            }
            _ => {
                let vertex = bind_input(stage, self.from.as_deref(), &source)?;
                MountKind::Bind { input: Some(input(vertex)), source, readonly: options.readonly.unwrap_or(true) }
            }
        };
        Ok(op::Mount { target, kind })
    }
}

/// Where it is mounted when nothing is said, is for the whole RUN to number: `ssh_agent.0`, `ssh_agent.1`.
fn ssh(options: &Options) -> op::Mount {
    let target = if options.target.is_empty() { String::new() } else { join("/", &options.target) };
    let id = if options.id.is_empty() { "default".to_owned() } else { options.id.clone() };
    let kind = MountKind::Ssh {
        id,
        required: options.required,
        mode: options.mode.unwrap_or(0o600),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
    };
    op::Mount { target, kind }
}

fn secret(options: &Options) -> op::Mount {
    let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or("").to_owned();
    let named = [&options.source, &options.id].into_iter().find(|name| !name.is_empty());
    let id = named.cloned().unwrap_or_else(|| base(&options.target));
    let target = match (&options.env, options.target.as_str()) {
        (Some(_), "") => String::new(),
        (None, "") => format!("/run/secrets/{}", base(&id)),
        (_, target) => join("/", target),
    };
    let kind = MountKind::Secret {
        id,
        env: options.env.clone(),
        required: options.required,
        mode: options.mode.unwrap_or(0o400),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
    };
    op::Mount { target, kind }
}

/// Fields between commas; a field in double quotes may hold commas, `""` stands for a quote.
pub(super) fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    Some((_, '"')) if chars.next_if(|(_, c)| *c == '"').is_some() => field.push('"'),
                    Some((at, '"')) => break at + 1,
                    Some((_, c)) => field.push(c),
                    None => return Err("failed to parse csv mounts: a quote is not closed".to_owned()),
                }
            };
            fields.push(field);
            rest = &quoted[end..];
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(fields),
                None => return Err("failed to parse csv mounts: text behind a closing quote".to_owned()),
            }
        } else {
            match rest.split_once(',') {
                Some((field, after)) => {
                    fields.push(field.to_owned());
                    rest = after;
                }
                None => {
                    fields.push(rest.to_owned());
                    return Ok(fields);
                }
            }
        }
    }
}

/// A size as docker/go-units reads it: `64m`, `1.5GiB`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_lowercase();
    let power = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let size = number * 1024_f64.powi(power);
    (size >= 0.0 && size < u64::MAX as f64).then_some(size as u64)
}
