//! Lists whose items have a key. Of two items with the same key the later one replaces the earlier
//! one, in its position.

use crate::canonical::volume;
use crate::go;
use crate::node::{Node, Value};
use crate::path::Path;
use crate::problem::{Code, Problem, Result};
use std::collections::HashMap;

/// Removes items that later ones define again.
pub fn enforce(node: &mut Node, path: &Path<'_>) -> Result<()> {
    match &mut node.value {
        Value::Map(map) => {
            for (key, entry) in map.iter_mut() {
                enforce(&mut entry.node, &path.key(key))?;
            }
        }
        Value::List(list) => {
            if let Some(index) = index_of(&path.names()) {
                *list = unique(std::mem::take(list), index, path)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn unique(list: Vec<Node>, index: Index, path: &Path<'_>) -> Result<Vec<Node>> {
    let mut kept: Vec<Node> = Vec::with_capacity(list.len());
    let mut known: HashMap<String, usize> = HashMap::new();
    for (at, item) in list.into_iter().enumerate() {
        let place = item.place;
        let key = index(&item).map_err(|what| Problem::at(place, Code::Value, format!("{path}.[{at}]: {what}")))?;
        match known.get(&key) {
            Some(&earlier) => kept[earlier] = item,
            None => {
                known.insert(key, kept.len());
                kept.push(item);
            }
        }
    }
    Ok(kept)
}

/// The key of an item, or the words for its fault.
type Index = fn(&Node) -> Result<String, String>;

fn index_of(names: &[&str]) -> Option<Index> {
    Some(match names {
        ["networks", _, "labels"] | ["networks", _, "ipam", "options"] => key_value,
        ["services", _, rest @ ..] => match rest {
            ["annotations" | "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search"] => key_value,
            ["environment" | "labels" | "links" | "profiles" | "sysctls" | "tmpfs"] => key_value,
            ["build", "args" | "additional_contexts" | "platform" | "tags" | "labels"] => key_value,
            ["deploy", "labels"] | ["networks", _, "aliases" | "link_local_ips"] => key_value,
            ["volumes"] => volume_target,
            ["devices"] => device_target,
            ["configs"] => config_target,
            ["secrets"] => secret_target,
            ["env_file"] => file_path,
            ["expose"] => exposed,
            ["ports"] => port,
            _ => return None,
        },
        _ => return None,
    })
}

fn key_value(item: &Node) -> Result<String, String> {
    match &item.value {
        Value::Text(text) => Ok(text.split('=').next().unwrap_or_default().to_owned()),
        value => Err(format!("must be a string, and is {}", value.kind())),
    }
}

fn volume_target(item: &Node) -> Result<String, String> {
    match &item.value {
        Value::Map(map) => map.text("target").map(str::to_owned).ok_or("the volume has no mount target".to_owned()),
        Value::Text(text) => Ok(volume::parse(text)?.target),
        _ => Ok(String::new()),
    }
}

fn device_target(item: &Node) -> Result<String, String> {
    match &item.value {
        Value::Map(map) => map.text("target").map(str::to_owned).ok_or("the device has no mount target".to_owned()),
        Value::Text(text) => {
            let mut parts = text.split(':');
            let first = parts.next().unwrap_or_default();
            Ok(parts.next().unwrap_or(first).to_owned())
        }
        _ => Ok(String::new()),
    }
}

fn config_target(item: &Node) -> Result<String, String> {
    mounted(item, "")
}

fn secret_target(item: &Node) -> Result<String, String> {
    mounted(item, "/run/secrets")
}

fn mounted(item: &Node, directory: &str) -> Result<String, String> {
    match &item.value {
        Value::Text(text) => Ok(format!("{directory}/{text}")),
        Value::Map(map) => match (map.get("target"), map.get("source")) {
            (Some(target), _) => target.as_text().map(str::to_owned).ok_or("the target must be a string".to_owned()),
            (None, source) => Ok(format!("{directory}/{}", source.map(go::sprint).unwrap_or_default())),
        },
        value => Err(format!("must be a string or a mapping, and is {}", value.kind())),
    }
}

fn file_path(item: &Node) -> Result<String, String> {
    match &item.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Map(map) => map.text("path").map(str::to_owned).ok_or("the environment file has no path".to_owned()),
        _ => Ok(String::new()),
    }
}

fn exposed(item: &Node) -> Result<String, String> {
    match &item.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Int(port) => Ok(port.to_string()),
        value => Err(format!("must be a port, and is {}", value.kind())),
    }
}

fn port(item: &Node) -> Result<String, String> {
    match &item.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Int(port) => Ok(port.to_string()),
        Value::Map(map) => {
            let target = map.get("target").ok_or("the port is missing a target port")?;
            // A published port as a number differs from one as a text here, as in the reference.
            let published = map.get("published").map(|node| format!("{}{}", node.value.kind(), go::sprint(node)));
            let or = |key: &str, default: &str| map.get(key).map_or(default.to_owned(), go::sprint);
            let (host, protocol) = (or("host_ip", "0.0.0.0"), or("protocol", "tcp"));
            Ok(format!("{host}:{}:{}/{protocol}", published.unwrap_or_default(), go::sprint(target)))
        }
        _ => Ok(String::new()),
    }
}
