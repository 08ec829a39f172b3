//! `--set pattern.key=value`.

use crate::allow::Allowed;
use crate::definition::Config;
use crate::entry::{Attest, Entry, Export, Policy, Resources, Secret, Ssh, parse_all, parse_caches};
use crate::host::Host;
use crate::problem::Problem;
use crate::target::Target;
use base::words::bool_of;
use base::words::closest;
use frontend::glob::Glob;
use std::collections::BTreeMap;

/// One key's values.
#[derive(Clone, Debug, Default)]
struct Override {
    key: String,
    name: Option<String>,
    value: String,
    values: Vec<String>,
    append: bool,
}

/// Overrides by target.
#[derive(Debug, Default)]
pub struct Overrides {
    by_target: BTreeMap<String, Vec<Override>>,
    /// Findings that are no errors.
    pub warnings: Vec<Problem>,
}

/// Keys whose values are collected.
const LISTS: &[&str] = &[
    "annotations",
    "attest",
    "cache-from",
    "cache-to",
    "entitlements",
    "network",
    "output",
    "platform",
    "policy",
    "secrets",
    "ssh",
    "tags",
];
/// All other keys.
const OTHERS: &[&str] = &[
    "args",
    "call",
    "context",
    "contexts",
    "dockerfile",
    "extra-hosts",
    "labels",
    "load",
    "no-cache",
    "no-cache-filter",
    "pull",
    "push",
    "resources",
    "secret",
    "shm-size",
    "target",
    "ulimits",
];

fn plain(what: String) -> Problem {
    Problem::plain(what)
}

impl Overrides {
    /// Reads overrides. Without a value an argument is that of the environment, where it may set variables.
    pub fn read(texts: &[String], config: &Config, host: &dyn Host, environment: bool) -> Result<Overrides, Problem> {
        let mut overrides = Overrides::default();
        for text in texts {
            overrides.add(text, config, host, environment)?;
        }
        Ok(overrides)
    }

    fn add(&mut self, text: &str, config: &Config, host: &dyn Host, environment: bool) -> Result<(), Problem> {
        let (whole, value) = match text.split_once('=') {
            Some((whole, value)) => (whole, Some(value)),
            None => (text, None),
        };
        let (path, append) = match whole.strip_suffix('+') {
            Some(path) => (path, true),
            None => (whole, false),
        };
        let mut parts = path.splitn(3, '.');
        let (pattern, key, name) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let key = key.ok_or_else(|| plain(format!("invalid override key {path}, expected target.name")))?;
        if value.is_none() && key != "args" {
            return Err(plain(format!("invalid override {text}, expected target.name=value")));
        }
        if matches!(key, "resources" | "secret" | "args" | "contexts") && name.is_none() {
            return Err(plain(format!("invalid key {whole}, {key} requires name")));
        }
        if matches!(key, "resources" | "secret") && append {
            return Err(plain(format!("invalid key {whole}, {key} does not support append")));
        }
        let targets = expand(config, pattern)?;
        let from_environment = value.is_none() && environment;
        let found = if from_environment { name.and_then(|name| host.variable(name)) } else { None };
        if from_environment && found.is_none() {
            return Ok(());
        }
        self.warn_of_lists(key, whole);
        for target in targets {
            let all = self.by_target.entry(target).or_default();
            let at = all.iter().position(|known| known.key == key && known.name.as_deref() == name);
            let at = at.unwrap_or_else(|| {
                all.push(Override { key: key.into(), name: name.map(str::to_owned), ..Override::default() });
                all.len() - 1
            });
            let entry = &mut all[at];
            match value {
                Some(value) if LISTS.contains(&key) => {
                    entry.append = append;
                    entry.values.push(value.into());
                }
                Some(value) => entry.value = value.into(),
                None => entry.value = found.clone().unwrap_or_default(),
            }
        }
        Ok(())
    }

    fn warn_of_lists(&mut self, key: &str, whole: &str) {
        let what = match key {
            "no-cache-filter" | "ulimits" => format!("{whole} empties the list: buildx does not set it from --set"),
            "network" => format!("{whole} empties the network: buildx does not set it from --set"),
            _ => return,
        };
        self.warnings.push(plain(what).help("set it in a further file: -f docker-bake.hcl -f my.hcl"));
    }

    /// Changes a target.
    pub fn apply(&self, target: &mut Target, allowed: &mut Allowed) -> Result<(), Problem> {
        let Some(all) = self.by_target.get(&target.name) else { return Ok(()) };
        let mut of_secrets = Vec::new();
        for entry in all.iter().filter(|entry| entry.key != "secret") {
            set(target, entry, allowed, &mut of_secrets).map_err(plain)?;
        }
        for entry in all.iter().filter(|entry| entry.key == "secret") {
            let id = entry.name.as_deref().unwrap_or_default();
            update_secret(target, id, &entry.value).map_err(plain)?;
            of_secrets.push(id.to_owned());
        }
        for secret in target.secrets.iter().flatten() {
            if of_secrets.contains(&secret.id) && !secret.path.is_empty() {
                allowed.read.push(secret.path.clone());
            }
        }
        Ok(())
    }
}

fn expand(config: &Config, pattern: &str) -> Result<Vec<String>, Problem> {
    let names = || config.targets.iter().map(|target| target.name.clone());
    if names().any(|name| name == pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let glob = Glob::new(pattern, false)
        .map_err(|_| plain(format!("could not match targets with '{pattern}': syntax error in pattern")))?;
    let found: Vec<String> = names().filter(|name| glob.matches(name)).collect();
    if found.is_empty() {
        let problem = plain(format!("could not find any target matching '{pattern}'"));
        let names: Vec<String> = names().collect();
        return Err(match closest(pattern, names.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
    }
    Ok(found)
}

fn replaced<T>(own: &mut Option<Vec<T>>, entries: Vec<T>, append: bool) {
    if append {
        own.get_or_insert_default().extend(entries);
    } else {
        *own = Some(entries);
    }
}

fn set(
    target: &mut Target,
    entry: &Override,
    allowed: &mut Allowed,
    of_secrets: &mut Vec<String>,
) -> Result<(), String> {
    let (value, values, append) = (&entry.value, &entry.values, entry.append);
    let name = || {
        let name = entry.name.clone();
        name.ok_or_else(|| format!("invalid format for {0}, expecting {0}.<name>=<value>", entry.key))
    };
    let switch = || bool_of(value).ok_or_else(|| format!("invalid value {value} for boolean key {}", entry.key));
    let in_outputs = |why: String| format!("invalid value for outputs: {why}");
    match entry.key.as_str() {
        "context" => target.context = Some(value.clone()),
        "dockerfile" => target.dockerfile = Some(value.clone()),
        "target" => target.target = Some(value.clone()),
        "call" => target.call = Some(value.clone()),
        "shm-size" => target.shm_size = Some(value.clone()),
        "network" => target.network = Some(value.clone()),
        "args" => drop(target.args.insert(name()?, Some(value.clone()))),
        "labels" => drop(target.labels.insert(name()?, Some(value.clone()))),
        "contexts" => drop(target.contexts.insert(name()?, value.clone())),
        "extra-hosts" => drop(target.extra_hosts.insert(name()?, Some(value.clone()))),
        "tags" => replaced(&mut target.tags, values.clone(), append),
        "platform" => replaced(&mut target.platforms, values.clone(), append),
        "no-cache-filter" => replaced(&mut target.no_cache_filter, values.clone(), append),
        "ulimits" => replaced(&mut target.ulimits, values.clone(), append),
        "annotations" => target.annotations.get_or_insert_default().extend(values.iter().cloned()),
        "policy" => {
            let mut entries = Vec::new();
            for text in values {
                entries.extend(Policy::parse(text)?);
            }
            replaced(&mut target.policy, entries, append);
        }
        "attest" => {
            let entries = parse_all::<Attest>(values).map_err(|why| format!("invalid value for attest: {why}"))?;
            target.attest.get_or_insert_default().extend(entries);
        }
        "cache-from" => {
            replaced(&mut target.cache_from, parse_caches(values)?, append);
            let local = target.cache_from.iter().flatten().filter(|cache| cache.kind == "local");
            allowed.read.extend(local.filter_map(|cache| cache.attributes.get("src").cloned()));
        }
        "cache-to" => {
            replaced(&mut target.cache_to, parse_caches(values)?, append);
            let local = target.cache_to.iter().flatten().filter(|cache| cache.kind == "local");
            allowed.write.extend(local.filter_map(|cache| cache.attributes.get("dest").cloned()));
        }
        "secrets" => {
            let secrets: Vec<Secret> = parse_all(values).map_err(in_outputs)?;
            of_secrets.extend(secrets.iter().map(|secret| secret.id.clone()));
            replaced(&mut target.secrets, secrets, append);
        }
        "ssh" => {
            replaced(&mut target.ssh, parse_all::<Ssh>(values).map_err(in_outputs)?, append);
            allowed.read.extend(target.ssh.iter().flatten().flat_map(|ssh| ssh.paths.clone()));
        }
        "output" => {
            replaced(&mut target.outputs, parse_all::<Export>(values).map_err(in_outputs)?, append);
            let paths = target.outputs.iter().flatten().map(|output| output.destination.clone());
            allowed.write.extend(paths.filter(|path| !path.is_empty()));
        }
        "entitlements" => {
            target.entitlements.get_or_insert_default().extend(values.iter().cloned());
            allowed.network_host |= values.iter().any(|value| value == "network.host");
            allowed.insecure |= values.iter().any(|value| value == "security.insecure");
        }
        "no-cache" => target.no_cache = Some(switch()?),
        "pull" => target.pull = Some(switch()?),
        "push" => push(&mut target.outputs, switch()?),
        "load" if switch()? => load(&mut target.outputs),
        "load" => {}
        "resources" => target.resources.get_or_insert_with(Resources::default).set(&name()?, value)?,
        key => {
            let near = closest(key, LISTS.iter().chain(OTHERS).copied());
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return Err(format!("unknown key: {key}{hint}"));
        }
    }
    Ok(())
}

fn update_secret(target: &mut Target, id: &str, value: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("invalid format for secret, expecting secret.<id>=<value>".into());
    }
    let known = target.secrets.iter_mut().flatten().find(|secret| secret.id == id);
    let known = known.ok_or_else(|| format!("secret {id:?} must be declared before it can be overridden"))?;
    for next in Secret::parse(value)? {
        if !next.id.is_empty() && next.id != id {
            return Err(format!("secret override id {:?} does not match declared secret {id:?}", next.id));
        }
        (known.env, known.path) = (next.env, next.path);
    }
    Ok(())
}

/// `push=true` pushes images and, where nothing but `docker` is asked for, adds an image; `false` takes that back.
fn push(outputs: &mut Option<Vec<Export>>, on: bool) {
    let list = outputs.get_or_insert_default();
    if !on {
        let mut at = 0;
        while at < list.len() {
            match list[at].kind.as_str() {
                "registry" => drop(list.swap_remove(at)),
                "image" => {
                    list[at].attributes.insert("push".into(), "false".into());
                    at += 1;
                }
                _ => at += 1,
            }
        }
        return;
    }
    for image in list.iter_mut().filter(|output| output.kind == "image") {
        image.attributes.insert("push".into(), "true".into());
    }
    if list.iter().all(|output| output.kind == "docker") {
        let attributes = [("push".into(), "true".into())].into();
        list.push(Export { kind: "image".into(), attributes, destination: String::new() });
    }
}

/// `load=true` adds `docker`, unless it is there or something that is no image is.
fn load(outputs: &mut Option<Vec<Export>>) {
    let list = outputs.get_or_insert_default();
    for output in list.iter() {
        match output.kind.as_str() {
            "docker" if output.destination.is_empty() => return,
            "docker" | "image" | "registry" | "oci" => {}
            _ => return,
        }
    }
    list.push(Export { kind: "docker".into(), ..Export::default() });
}
