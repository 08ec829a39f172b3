//! Targets as `--print` writes them: attributes in a fixed order, what is empty left out.

use super::{Group, Options, Target};
use crate::entry::{Attest, Cache, Export, Policy, Resources, Secret, Ssh};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

struct Object(Map<String, Json>);

impl Object {
    fn put(&mut self, name: &str, value: Json) {
        self.0.insert(name.into(), value);
    }

    fn text(&mut self, name: &str, value: &Option<String>) {
        if let Some(value) = value {
            self.put(name, Json::from(value.as_str()));
        }
    }

    fn filled(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, Json::from(value));
        }
    }

    fn list<T>(&mut self, name: &str, list: &Option<Vec<T>>, show: impl Fn(&T) -> Json) {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            self.put(name, Json::Array(list.iter().map(show).collect()));
        }
    }

    fn texts(&mut self, name: &str, list: &Option<Vec<String>>) {
        self.list(name, list, |text| Json::from(text.as_str()));
    }

    fn options(&mut self, name: &str, options: &Options) {
        if options.is_empty() {
            return;
        }
        let show = |value: &Option<String>| value.as_ref().map_or(Json::Null, |value| Json::from(escaped(value)));
        let shown = options.iter().map(|(name, value)| (name.clone(), show(value))).collect();
        self.put(name, Json::Object(shown));
    }
}

/// Text as it has to be written in a definition.
fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// A group.
pub fn group_json(group: &Group) -> Json {
    let mut made = Object(Map::new());
    made.filled("description", &group.description);
    let names = Json::Array(group.targets.iter().map(|name| Json::from(name.as_str())).collect());
    made.put("targets", if group.unset && group.targets.is_empty() { Json::Null } else { names });
    Json::Object(made.0)
}

/// A target.
pub fn target_json(target: &Target) -> Json {
    let mut made = Object(Map::new());
    made.filled("description", &target.description);
    if !target.inherits.is_empty() {
        made.texts("inherits", &Some(target.inherits.clone()));
    }
    made.list("annotations", &target.annotations, |text| Json::from(escaped(text)));
    made.list("attest", &target.attest, attest);
    made.text("context", &target.context);
    if !target.contexts.is_empty() {
        let contexts = target.contexts.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str())));
        made.put("contexts", Json::Object(contexts.collect()));
    }
    made.text("dockerfile", &target.dockerfile);
    made.text("dockerfile-inline", &target.dockerfile_inline.as_deref().map(escaped));
    made.options("args", &target.args);
    made.options("labels", &target.labels);
    made.texts("tags", &target.tags);
    made.list("cache-from", &target.cache_from, cache);
    made.list("cache-to", &target.cache_to, cache);
    made.text("target", &target.target);
    made.list("secret", &target.secrets, secret);
    made.list("ssh", &target.ssh, ssh);
    made.texts("platforms", &target.platforms);
    made.list("output", &target.outputs, export);
    if let Some(pull) = target.pull {
        made.put("pull", Json::Bool(pull));
    }
    if let Some(no_cache) = target.no_cache {
        made.put("no-cache", Json::Bool(no_cache));
    }
    made.text("network", &target.network);
    made.texts("no-cache-filter", &target.no_cache_filter);
    made.text("shm-size", &target.shm_size);
    made.texts("ulimits", &target.ulimits);
    if let Some(limits) = &target.resources {
        made.put("resources", resources(limits));
    }
    made.text("call", &target.call);
    made.texts("entitlements", &target.entitlements);
    made.options("extra-hosts", &target.extra_hosts);
    made.list("policy", &target.policy, policy);
    Json::Object(made.0)
}

/// Attributes of an entry by name, its own among them.
fn sorted(attributes: &BTreeMap<String, String>, own: &[(&str, Json)]) -> Json {
    let mut all: BTreeMap<String, Json> =
        attributes.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str()))).collect();
    all.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Json::Object(all.into_iter().collect())
}

fn attest(entry: &Attest) -> Json {
    let mut own = vec![("type", Json::from(entry.kind.as_str()))];
    if entry.disabled {
        own.push(("disabled", Json::Bool(true)));
    }
    sorted(&entry.attributes, &own)
}

fn cache(entry: &Cache) -> Json {
    sorted(&entry.attributes, &[("type", Json::from(entry.kind.as_str()))])
}

fn export(entry: &Export) -> Json {
    let mut own = vec![("type", Json::from(entry.kind.as_str()))];
    if !entry.destination.is_empty() {
        own.push(("dest", Json::from(entry.destination.as_str())));
    }
    sorted(&entry.attributes, &own)
}

fn secret(entry: &Secret) -> Json {
    let mut made = Object(Map::new());
    made.filled("id", &entry.id);
    made.filled("src", &entry.path);
    made.filled("env", &entry.env);
    Json::Object(made.0)
}

fn ssh(entry: &Ssh) -> Json {
    let mut made = Object(Map::new());
    made.filled("id", &entry.id);
    if !entry.paths.is_empty() {
        made.texts("paths", &Some(entry.paths.clone()));
    }
    Json::Object(made.0)
}

fn resources(limits: &Resources) -> Json {
    let mut made = Object(Map::new());
    made.text("memory", &limits.memory);
    made.text("memory-swap", &limits.memory_swap);
    let numbers =
        [("cpu-shares", limits.cpu_shares), ("cpu-period", limits.cpu_period), ("cpu-quota", limits.cpu_quota)];
    for (name, value) in numbers {
        if let Some(value) = value {
            made.put(name, Json::from(value));
        }
    }
    made.text("cpuset-cpus", &limits.cpuset_cpus);
    made.text("cpuset-mems", &limits.cpuset_mems);
    Json::Object(made.0)
}

/// Named as Go's fields are: buildx has no names of its own for them.
fn policy(entry: &Policy) -> Json {
    let file = |name: &String| {
        let mut made = Object(Map::new());
        made.put("Filename", Json::from(name.as_str()));
        made.put("Data", Json::Null);
        Json::Object(made.0)
    };
    let mut made = Object(Map::new());
    let files = Json::Array(entry.files.iter().map(file).collect());
    made.put("Files", if entry.files.is_empty() { Json::Null } else { files });
    made.put("Reset", Json::Bool(entry.reset));
    made.put("Disabled", Json::Bool(entry.disabled));
    made.put("Strict", entry.strict.map_or(Json::Null, Json::Bool));
    made.put("LogLevel", entry.log_level.map_or(Json::Null, Json::from));
    Json::Object(made.0)
}
