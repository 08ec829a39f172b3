//! A service's build as a target.

use super::host::relative;
use crate::definition::valid_name;
use crate::entry::{self, Attest, Entry, Export, Secret, Ssh, canonical_attest, parse_caches};
use crate::problem::Problem;
use crate::target::Target;
use base::words::closest;
use compose::model::{Build, Service, Ulimit};
use compose::node::{Node, Value};
use compose::project::Project;
use std::collections::BTreeMap;

fn plain(why: String) -> Problem {
    Problem::plain(why).or_summary("failed to parse compose file")
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The target of a service.
pub fn target(project: &Project, name: &str, service: &Service, build: &Build) -> Result<Target, Problem> {
    // A service may have a dot in its name, which a target may not.
    let name = name.replace('.', "_");
    if !valid_name(&name) {
        return Err(plain(format!("invalid service name {name:?}: only \"[a-zA-Z0-9_-]+\" are allowed")));
    }
    let mut target = Target { name, ..Target::default() };
    target.context = some(&relative(&build.context));
    target.dockerfile = some(&build.dockerfile);
    target.dockerfile_inline = some(&build.dockerfile_inline);
    target.contexts = contexts(build.additional_contexts.0.iter());
    target.shm_size = (build.shm_size.0 > 0).then(|| size(build.shm_size.0));
    target.network = some(&build.network);
    target.target = some(&build.target);
    if !build.ulimits.is_empty() {
        target.ulimits = Some(build.ulimits.iter().map(ulimit).collect());
    }
    target.extra_hosts = build.extra_hosts.0.iter().map(|(host, all)| (host.clone(), Some(all.join(",")))).collect();
    target.labels = build.labels.0.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    for (name, value) in &build.args.0 {
        let of_service = || service.environment.0.get(name).cloned().flatten();
        let value = value.clone().or_else(of_service).or_else(|| project.environment.get(name).cloned());
        if value.is_some() {
            target.args.insert(name.clone(), value);
        }
    }
    lists(project, build, &mut target)?;
    extension(build, &mut target)?;
    if target.tags.as_ref().is_none_or(Vec::is_empty) && !service.image.is_empty() {
        target.tags = Some(vec![service.image.clone()]);
    }
    Ok(target)
}

fn lists(project: &Project, build: &Build, target: &mut Target) -> Result<(), Problem> {
    let filled = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    target.tags = filled(&build.tags);
    target.platforms = filled(&build.platforms);
    for (list, own) in [(&build.cache_from, &mut target.cache_from), (&build.cache_to, &mut target.cache_to)] {
        if !list.is_empty() {
            *own = Some(parse_caches(list).map_err(plain)?);
        }
    }
    let mut ssh: Vec<Ssh> = Vec::new();
    for (id, path) in &build.ssh.0 {
        let paths = path.iter().filter(|path| !path.is_empty()).map(|path| relative(path)).collect();
        ssh.push(Ssh { id: id.clone(), paths });
    }
    ssh.sort();
    target.ssh = (!ssh.is_empty()).then_some(ssh);
    let mut secrets = Vec::new();
    for mounted in &build.secrets {
        let id = &mounted.source;
        let Some(secret) = project.secrets.get(id) else {
            return Err(plain(format!("service {:?} refers to undefined build secret {id}", target.name)));
        };
        if secret.external {
            return Err(plain(format!("unsupported external secret {}", secret.name)));
        }
        let path = if secret.file.is_empty() { String::new() } else { relative(&secret.file) };
        secrets.push(Secret { id: id.clone(), path, env: secret.environment.clone() });
    }
    target.secrets = (!secrets.is_empty()).then_some(secrets);
    let mut attest = Vec::new();
    for (kind, text) in [("sbom", &build.sbom), ("provenance", &build.provenance)] {
        if !text.is_empty() {
            attest.extend(Attest::parse(&canonical_attest(kind, text)).map_err(plain)?);
        }
    }
    target.attest = (!attest.is_empty()).then_some(attest);
    target.no_cache = build.no_cache.then_some(true);
    target.pull = build.pull.then_some(true);
    Ok(())
}

/// Contexts with those of other services as links.
fn contexts<'a>(all: impl Iterator<Item = (&'a String, &'a String)>) -> BTreeMap<String, String> {
    let link = |value: &str| match value.strip_prefix("service:").or_else(|| value.strip_prefix("target:")) {
        Some(name) => format!("target:{}", name.replace('.', "_")),
        None => relative(value),
    };
    all.map(|(name, value)| (name.clone(), link(value))).collect()
}

fn ulimit((name, limit): (&String, &Ulimit)) -> String {
    match limit {
        // buildx takes the soft and hard limits, which a single one does not set.
        Ulimit::Single(_) => format!("{name}=0:0"),
        Ulimit::Pair(soft, hard) => format!("{name}={soft}:{hard}"),
    }
}

/// A size with four digits and a binary unit.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let digits = crate::number::Number::from_f64(value).map(|number| number.text_general(Some(4)));
    format!("{}{}", digits.unwrap_or_default(), UNITS[unit])
}

/// Keys of `x-bake`.
const EXTENSION: [&str; 11] = [
    "cache-from",
    "cache-to",
    "contexts",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "pull",
    "secret",
    "ssh",
    "tags",
];

fn extension(build: &Build, target: &mut Target) -> Result<(), Problem> {
    let Some(Value::Map(keys)) = build.extensions.get("x-bake").map(|node| &node.value) else { return Ok(()) };
    let add = |own: &mut Option<Vec<String>>, more: Vec<String>| {
        let own = own.get_or_insert_default();
        for text in more {
            if !own.contains(&text) {
                own.push(text);
            }
        }
    };
    for (key, entry) in keys.iter() {
        let texts = || texts(&entry.node).map_err(|why| plain(format!("x-bake.{key}: {why}")));
        let switch = || match &entry.node.value {
            Value::Bool(truth) => Ok(Some(*truth)),
            Value::Null => Ok(None),
            _ => Err(plain(format!("x-bake.{key}: a bool is required"))),
        };
        match key {
            "tags" => add(&mut target.tags, texts()?),
            "platforms" => add(&mut target.platforms, texts()?),
            "no-cache-filter" => add(&mut target.no_cache_filter, texts()?),
            "cache-from" => {
                let own = target.cache_from.get_or_insert_default();
                own.extend(parse_caches(&texts()?).map_err(plain)?);
                entry::without_duplicates(own);
            }
            "cache-to" => {
                let own = target.cache_to.get_or_insert_default();
                own.extend(parse_caches(&texts()?).map_err(plain)?);
                entry::without_duplicates(own);
            }
            "secret" => {
                let own = target.secrets.get_or_insert_default();
                own.extend(entry::parse_all::<Secret>(&texts()?).map_err(plain)?);
                entry::later_wins(own, |secret| &secret.id);
            }
            "ssh" => {
                let own = target.ssh.get_or_insert_default();
                own.extend(entry::parse_all::<Ssh>(&texts()?).map_err(plain)?);
                entry::later_wins(own, |ssh| &ssh.id);
                own.sort();
            }
            "output" => {
                let own = target.outputs.get_or_insert_default();
                own.extend(entry::parse_all::<Export>(&texts()?).map_err(plain)?);
                entry::without_duplicates(own);
            }
            "pull" => target.pull = switch()?.or(target.pull),
            "no-cache" => target.no_cache = switch()?.or(target.no_cache),
            "contexts" => {
                let named: Vec<(String, String)> = entry
                    .node
                    .as_map()
                    .into_iter()
                    .flat_map(|map| map.iter())
                    .map(|(name, entry)| (name.to_owned(), compose::go::sprint(&entry.node)))
                    .collect();
                for (name, value) in contexts(named.iter().map(|(name, value)| (name, value))) {
                    target.contexts.entry(name).or_insert(value);
                }
            }
            key => {
                let near = closest(key, EXTENSION).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(plain(format!("x-bake.{key} is not known{near}")));
            }
        }
    }
    Ok(())
}

/// A list, or text that is split at blanks.
fn texts(node: &Node) -> Result<Vec<String>, String> {
    match &node.value {
        Value::List(list) => Ok(list.iter().map(compose::go::sprint).collect()),
        Value::Map(_) => Err("a list or text is required".into()),
        Value::Null => Ok(Vec::new()),
        _ => Ok(compose::go::sprint(node).split_whitespace().map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_docker_does() {
        assert_eq!([size(64 << 20), size(1536 << 20), size(1000)], ["64MiB", "1.5GiB", "1000B"]);
    }
}
