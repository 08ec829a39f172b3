//! Adds what a project implies: its default network, names of its resources, and dependencies that
//! follow from other keys.

use crate::dotenv::Environment;
use crate::filepath;
use crate::go;
use crate::node::{Map, Node, Value};
use crate::place::Place;
use base::words::bool_of;

/// Adds implied keys.
pub fn normalize(root: &mut Node, name: &str, environment: &Environment) {
    let place = root.place;
    let Some(map) = root.as_map_mut() else { return };
    map.insert("name", Node::text(name, place));
    default_network(map, place);
    if let Some(services) = map.get_mut("services").and_then(Node::as_map_mut) {
        for (_, entry) in services.iter_mut() {
            let place = entry.key;
            if let Some(service) = entry.node.as_map_mut() {
                normalize_service(service, place, environment);
            }
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        if let Some(resources) = map.get_mut(section).and_then(Node::as_map_mut) {
            name_resources(resources, name);
        }
    }
}

fn default_network(map: &mut Map, place: Place) {
    let mut used = false;
    if let Some(services) = map.get_mut("services").and_then(Node::as_map_mut) {
        for (_, entry) in services.iter_mut() {
            let place = entry.key;
            let Some(service) = entry.node.as_map_mut() else { continue };
            if service.has("provider") || service.has("network_mode") {
                continue;
            }
            match service.get("networks").and_then(Node::as_map) {
                Some(networks) if !networks.is_empty() => used |= networks.has("default"),
                _ => {
                    service.insert("networks", Node::map([("default", Value::Null)], place));
                    used = true;
                }
            }
        }
    }
    if !used {
        return;
    }
    if !map.has("networks") {
        map.insert("networks", Node::new(Value::Map(Map::default()), place));
    }
    if let Some(networks) = map.get_mut("networks").and_then(Node::as_map_mut)
        && !networks.has("default")
    {
        networks.insert("default", Node::new(Value::Null, place));
    }
}

fn normalize_service(service: &mut Map, place: Place, environment: &Environment) {
    if service.text("pull_policy") == Some("if_not_present") {
        service.insert("pull_policy", Node::text("missing", place));
    }
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
        let absent = |build: &Map, key: &str| build.get(key).is_none_or(Node::is_null);
        if absent(build, "context") {
            build.insert("context", Node::text(".", place));
        }
        if absent(build, "dockerfile") && absent(build, "dockerfile_inline") {
            build.insert("dockerfile", Node::text("Dockerfile", place));
        }
        if let Some(args) = build.get_mut("args") {
            inherit(args, environment, false);
        }
    }
    if let Some(variables) = service.get_mut("environment") {
        inherit(variables, environment, true);
    }
    if let Some(volumes) = service.get_mut("volumes")
        && let Value::List(volumes) = &mut volumes.value
    {
        let targets = volumes.iter_mut().filter_map(|volume| volume.as_map_mut()?.get_mut("target"));
        for target in targets {
            if let Value::Text(text) = &mut target.value {
                *text = filepath::clean(text);
            }
        }
    }
    imply_dependencies(service, place);
    inherit_image(service);
}

/// Gives variables without a value their value of the environment. Without one they stay if `keep`
/// is true.
fn inherit(node: &mut Node, environment: &Environment, keep: bool) {
    match &mut node.value {
        Value::Map(map) => map.retain(|key, entry| {
            if !entry.node.is_null() {
                return true;
            }
            match environment.get(key) {
                Some(value) => entry.node.value = Value::Text(value.clone()),
                None => return keep,
            }
            true
        }),
        Value::List(list) => list.retain_mut(|item| {
            let Some(text) = item.as_text().filter(|text| !text.contains('=')) else { return true };
            match environment.get(text) {
                Some(value) => item.value = Value::Text(format!("{text}={value}")),
                None => return keep,
            }
            true
        }),
        _ => {}
    }
}

fn imply_dependencies(service: &mut Map, place: Place) {
    let mut implied: Vec<(String, bool, Place)> = Vec::new();
    let texts = |key: &str| {
        let list = service.get(key).and_then(Node::as_list).unwrap_or_default();
        list.iter().filter_map(|item| Some((item.as_text()?.to_owned(), item.place))).collect::<Vec<_>>()
    };
    for (link, place) in texts("links") {
        let name = match link.split(':').collect::<Vec<_>>().as_slice() {
            [name, _] => (*name).to_owned(),
            _ => link,
        };
        implied.push((name, true, place));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(key)
            && let Some(name) = node.as_text().and_then(|text| text.strip_prefix("service:"))
        {
            implied.push((name.to_owned(), true, node.place));
        }
    }
    for (source, place) in texts("volumes_from") {
        if !source.starts_with("container:") {
            implied.push((source.split(':').next().unwrap_or_default().to_owned(), false, place));
        }
    }
    for (name, restart, at) in implied {
        if !service.has("depends_on") {
            service.insert("depends_on", Node::new(Value::Map(Map::default()), place));
        }
        if let Some(dependencies) = service.get_mut("depends_on").and_then(Node::as_map_mut)
            && !dependencies.has(&name)
        {
            let condition = Value::Text("service_started".to_owned());
            let entries =
                [("condition", condition), ("restart", Value::Bool(restart)), ("required", Value::Bool(true))];
            dependencies.insert(name, Node::map(entries, at));
        }
    }
}

fn inherit_image(service: &mut Map) {
    let Some(image) =
        service.get("image").filter(|image| image.as_text().is_some_and(|text| !text.is_empty())).cloned()
    else {
        return;
    };
    if let Some(hooks) = service.get_mut("pre_start")
        && let Value::List(hooks) = &mut hooks.value
    {
        for hook in hooks.iter_mut().filter_map(Node::as_map_mut).filter(|hook| !hook.has("image")) {
            hook.insert("image", image.clone());
        }
    }
}

fn name_resources(resources: &mut Map, project: &str) {
    for (key, entry) in resources.iter_mut() {
        let place = entry.key;
        if entry.node.is_null() {
            entry.node.value = Value::Map(Map::default());
        }
        let Some(resource) = entry.node.as_map_mut() else { continue };
        if resource.get("name").is_none_or(Node::is_null) {
            let external = resource.get("external").map(go::sprint).unwrap_or_default();
            let external = bool_of(&external).unwrap_or(false);
            let name = if external { key.to_owned() } else { format!("{project}_{key}") };
            resource.insert("name", Node::text(name, place));
        }
    }
}

/// Resolves variables that a list names without a value, and the contents of configs that come from
/// a variable.
pub fn resolve_environment(root: &mut Node, environment: &Environment) {
    let Some(map) = root.as_map_mut() else { return };
    if let Some(services) = map.get_mut("services").and_then(Node::as_map_mut) {
        for (_, entry) in services.iter_mut() {
            let variables = entry.node.as_map_mut().and_then(|service| service.get_mut("environment"));
            if let Some(variables) = variables.filter(|variables| variables.as_list().is_some()) {
                inherit(variables, environment, true);
            }
        }
    }
    if let Some(configs) = map.get_mut("configs").and_then(Node::as_map_mut) {
        for (_, entry) in configs.iter_mut() {
            let place = entry.node.place;
            let Some(config) = entry.node.as_map_mut() else { continue };
            if let Some(value) = config.text("environment").and_then(|name| environment.get(name)).cloned() {
                config.insert("content", Node::text(value, place));
            }
        }
    }
}
