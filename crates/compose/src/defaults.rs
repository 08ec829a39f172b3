//! Default values, and checks that need no other part of the file.

use crate::canonical::is_address;
use crate::go;
use crate::node::{Map, Node, Value};
use crate::path::{ITEM, Path};
use crate::problem::{Code, Problem, Result};

/// Sets the defaults.
pub fn set(node: &mut Node, path: &Path<'_>) {
    let place = node.place;
    if let ["services", _, rest @ ..] = &*path.names() {
        let mut default = |key: &str, value: &dyn Fn(&Map) -> Value| {
            if let Some(map) = node.as_map_mut()
                && !map.has(key)
            {
                let value = value(map);
                map.insert(key, Node::new(value, place));
            }
        };
        let text = |text: &str| Value::Text(text.to_owned());
        match rest {
            ["build"] => return default("context", &|_| text(".")),
            ["secrets", ITEM] => {
                let target =
                    |map: &Map| format!("/run/secrets/{}", map.get("source").map(go::sprint).unwrap_or_default());
                return default("target", &|map| Value::Text(target(map)));
            }
            ["ports", ITEM] => {
                default("protocol", &|_| text("tcp"));
                return default("mode", &|_| text("ingress"));
            }
            ["gpus", ITEM] | ["deploy", "resources", "reservations", "devices", ITEM] => {
                if node.find(&["device_ids"]).is_none() {
                    let mut default = |map: &mut Map| {
                        if !map.has("count") {
                            map.insert("count", Node::text("all", place));
                        }
                    };
                    node.as_map_mut().map(&mut default);
                }
                return;
            }
            ["volumes", ITEM, "bind"] => return default("create_host_path", &|_| Value::Bool(true)),
            _ => {}
        }
    }
    match &mut node.value {
        Value::Map(map) => map.iter_mut().for_each(|(key, entry)| set(&mut entry.node, &path.key(key))),
        Value::List(list) => list.iter_mut().for_each(|item| set(item, &path.item())),
        _ => {}
    }
}

/// Checks keys that exclude each other, and values that must not be empty.
pub fn check(node: &Node, path: &Path<'_>) -> Result<()> {
    match &*path.names() {
        ["volumes", _] => return external(node, path),
        ["configs", _] => return one_source(node, path, &["file", "environment", "content"]),
        ["secrets", _] => return one_source(node, path, &["file", "environment"]),
        ["services", _, "ports", ITEM] => return address(node, path),
        ["services", _, "develop", "watch", ITEM, "path"] if node.as_text() == Some("") => {
            return Err(Problem::at(node.place, Code::Value, format!("{path}: value can't be blank")).into());
        }
        ["services", _, "gpus", ITEM] | ["services", _, "deploy", "resources", "reservations", "devices", ITEM] => {
            return count_or_ids(node, path);
        }
        _ => {}
    }
    match &node.value {
        Value::Map(map) => map.iter().try_for_each(|(key, entry)| check(&entry.node, &path.key(key))),
        Value::List(list) => list.iter().try_for_each(|item| check(item, &path.item())),
        _ => Ok(()),
    }
}

fn external(node: &Node, path: &Path<'_>) -> Result<()> {
    let Some(map) = node.as_map() else { return Ok(()) };
    if !matches!(map.get("external").map(|node| &node.value), Some(Value::Bool(true))) {
        return Ok(());
    }
    let other = map.iter().find(|(key, _)| !matches!(*key, "name" | "external") && !key.starts_with("x-"));
    match other {
        Some((key, entry)) => {
            let message = format!("{path}: conflicting parameters \"external\" and {key:?} specified");
            Err(Problem::at(entry.key, Code::Conflict, message)
                .help(format!("an external volume has no `{key}` here"))
                .into())
        }
        None => Ok(()),
    }
}

fn one_source(node: &Node, path: &Path<'_>, keys: &[&str]) -> Result<()> {
    let Some(map) = node.as_map() else { return Ok(()) };
    let given: Vec<_> = keys.iter().filter_map(|key| map.entry(key)).collect();
    let names = keys.join("|");
    if let [_, second, ..] = given.as_slice() {
        let message = format!("{path}: {names} attributes are mutually exclusive");
        return Err(Problem::at(second.key, Code::Conflict, message).into());
    }
    if given.is_empty() && !map.has("driver") && !map.has("external") {
        return Err(Problem::at(node.place, Code::Value, format!("{path}: one of {names} must be set")).into());
    }
    Ok(())
}

fn address(node: &Node, path: &Path<'_>) -> Result<()> {
    match node.find(&["host_ip"]) {
        Some(ip) if !ip.as_text().is_some_and(is_address) => {
            let message = format!("{path}: invalid ip address: {}", go::sprint(ip));
            Err(Problem::at(ip.place, Code::Value, message).into())
        }
        _ => Ok(()),
    }
}

fn count_or_ids(node: &Node, path: &Path<'_>) -> Result<()> {
    let Some(map) = node.as_map() else { return Ok(()) };
    match (map.entry("count"), map.entry("device_ids")) {
        (Some(_), Some(ids)) => {
            let message = format!("{path}: \"count\" and \"device_ids\" attributes are exclusive");
            Err(Problem::at(ids.key, Code::Conflict, message).into())
        }
        _ => Ok(()),
    }
}
