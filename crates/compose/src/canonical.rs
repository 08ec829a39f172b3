//! Turns short forms into long ones. After this pass each key has one form.

mod port;
pub mod volume;

pub(crate) use port::is_address;

use crate::go;
use crate::node::{Map, Node, Value};
use crate::path::{ITEM, Path};
use crate::place::Place;
use crate::problem::{Code, Error, Problem, Report, Result};
use std::cell::Cell;

/// Rewrites a tree. With `lenient`, a text that has no valid form stays: it may hold variables.
pub fn canonical(root: &mut Node, lenient: bool, report: &Report) -> Result<()> {
    Pass { lenient, report, ports: Cell::new(0) }.visit(root, &Path::ROOT)
}

/// The most ports that a project may publish. A short form can name all of them at once.
const MOST_PORTS: usize = 1 << 18;

struct Pass<'a> {
    lenient: bool,
    report: &'a Report,
    ports: Cell<usize>,
}

impl Pass<'_> {
    fn visit(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        match &*path.names() {
            ["services", _, rest @ ..] => self.in_service(node, path, rest),
            ["networks" | "volumes" | "secrets" | "configs", _] => self.external(node, path),
            _ => self.below(node, path),
        }
    }

    fn below(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        match &mut node.value {
            Value::Map(map) => map.iter_mut().try_for_each(|(key, entry)| self.visit(&mut entry.node, &path.key(key))),
            Value::List(list) => list.iter_mut().try_for_each(|item| self.visit(item, &path.item())),
            _ => Ok(()),
        }
    }

    fn in_service(&self, node: &mut Node, path: &Path<'_>, names: &[&str]) -> Result<()> {
        match names {
            ["build"] => {
                text_as(node, "context");
                expect(node, path, "a string or a mapping", |value| matches!(value, Value::Map(_)))?;
                self.below(node, path)
            }
            ["extends"] => {
                text_as(node, "service");
                expect(node, path, "a string or a mapping", |value| matches!(value, Value::Map(_)))
            }
            ["build", "secrets", ITEM] | ["secrets" | "configs", ITEM] => {
                text_as(node, "source");
                expect(node, path, "a string or a mapping", |value| matches!(value, Value::Map(_)))
            }
            ["build", "provenance" | "sbom"] => {
                node.value = Value::Text(go::sprint(node));
                Ok(())
            }
            ["build", "additional_contexts"] => self.contexts(node, path),
            ["build", "ssh"] => ssh(node, path),
            ["ulimits", _] | ["build", "ulimits", _] => {
                expect(node, path, "an integer or a mapping", |value| matches!(value, Value::Map(_) | Value::Int(_)))
            }
            ["depends_on"] => dependencies(node, path),
            ["env_file"] => env_files(node, path),
            ["label_file" | "dns"] | ["develop", "watch", ITEM, "ignore" | "include"] => {
                if let Value::Text(text) = &node.value {
                    node.value = Value::List(vec![Node::text(text.clone(), node.place)]);
                }
                Ok(())
            }
            ["gpus"] => {
                if let Value::Text(_) = node.value {
                    let all = Node::map([("count", Value::Text("all".to_owned()))], node.place);
                    node.value = Value::List(vec![all]);
                }
                expect(node, path, "`all` or a list", |value| matches!(value, Value::List(_)))
            }
            ["networks" | "models"] => names_to_map(node, path),
            ["volumes", ITEM] => self.volume(node, path),
            ["devices", ITEM] => self.device(node, path),
            ["ports"] => self.ports(node, path),
            _ => self.below(node, path),
        }
    }

    fn contexts(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        let Value::List(list) = &node.value else {
            return expect(node, path, "a list or a mapping", |value| matches!(value, Value::Map(_)));
        };
        let mut map = Map::default();
        for item in list {
            match item.as_text().and_then(|text| text.split_once('=')) {
                Some((name, value)) => map.insert(name, Node::text(value, item.place)),
                None if self.lenient => return Ok(()),
                None => {
                    let message = format!("{path}: invalid value {}, expected key=value", go::sprint(item));
                    return Err(Problem::at(item.place, Code::Value, message).into());
                }
            }
        }
        node.value = Value::Map(map);
        Ok(())
    }

    fn volume(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        if let Value::Text(text) = &node.value {
            match volume::parse(text) {
                Ok(volume) => node.value = volume.into_value(node.place),
                Err(_) if self.lenient => {}
                Err(message) => return Err(Problem::at(node.place, Code::Value, format!("{path}: {message}")).into()),
            }
            return Ok(());
        }
        expect(node, path, "a string or a mapping", |value| matches!(value, Value::Map(_)))
    }

    fn device(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        let Value::Text(text) = &node.value else {
            return expect(node, path, "a string or a mapping", |value| matches!(value, Value::Map(_)));
        };
        let parts: Vec<&str> = text.split(':').collect();
        if parts.len() > 3 && !self.lenient {
            let message = format!("confusing device mapping, please use long syntax: {text}");
            return Err(Problem::at(node.place, Code::Value, message).into());
        }
        let known = parts.len() <= 3;
        let part = |at: usize| parts.get(at).copied().filter(|_| known);
        let source = part(0).unwrap_or_default();
        let target = part(1).filter(|target| !target.is_empty()).unwrap_or(source);
        let permissions = part(2).unwrap_or("rwm");
        let text = |text: &str| Value::Text(text.to_owned());
        let entries = [("source", text(source)), ("target", text(target)), ("permissions", text(permissions))];
        *node = Node::map(entries, node.place);
        Ok(())
    }

    fn ports(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        let Value::List(list) = &node.value else {
            return expect(node, path, "a list", |_| false);
        };
        let mut ports = Vec::new();
        for item in list {
            let text = match &item.value {
                Value::Text(text) => text.clone(),
                Value::Int(port) => port.to_string(),
                Value::Map(_) => {
                    ports.push(item.clone());
                    continue;
                }
                value => {
                    let message = format!("{}: must be a port, and is {}", path, value.kind());
                    return Err(Problem::at(item.place, Code::Value, message).into());
                }
            };
            match port::parse(&text) {
                Ok(parsed) => {
                    self.ports.set(self.ports.get() + parsed.len());
                    if self.ports.get() > MOST_PORTS {
                        let message = format!("{path}: the project publishes too many ports: more than {MOST_PORTS}");
                        return Err(Problem::at(item.place, Code::Limit, message).into());
                    }
                    ports.extend(parsed.into_iter().map(|port| port.into_node(item.place)));
                }
                Err(_) if self.lenient => return Ok(()),
                Err(message) => return Err(Problem::at(item.place, Code::Value, format!("{path}: {message}")).into()),
            }
        }
        node.value = Value::List(ports);
        Ok(())
    }

    /// `external: {name: x}` becomes `external: true` and `name: x`.
    fn external(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        self.below(node, path)?;
        let Some(map) = node.as_map_mut() else { return Ok(()) };
        let Some(external) = map.get("external").filter(|node| node.as_map().is_some()).cloned() else { return Ok(()) };
        map.insert("external", Node::new(Value::Bool(true), external.place));
        let Some(name) = external.find(&["name"]).cloned() else { return Ok(()) };
        let message = format!("{path}: external.name is deprecated. Please set name and external: true");
        self.report.warn(Problem::at(external.place, Code::Deprecated, message));
        match map.get("name") {
            Some(given) if given.value != name.value => {
                let message = format!("{path}: name and external.name conflict; only use name");
                Err(Problem::at(name.place, Code::Conflict, message).into())
            }
            Some(_) => Ok(()),
            None => {
                map.insert("name", name);
                Ok(())
            }
        }
    }
}

/// Turns a text into a mapping that holds the text under a key.
fn text_as(node: &mut Node, key: &'static str) {
    if let Value::Text(text) = &node.value {
        *node = Node::map([(key, Value::Text(text.clone()))], node.place);
    }
}

fn expect(node: &Node, path: &Path<'_>, wanted: &str, accept: fn(&Value) -> bool) -> Result<()> {
    if accept(&node.value) { Ok(()) } else { Err(wrong(node.place, path, wanted, &node.value)) }
}

fn wrong(place: Place, path: &Path<'_>, wanted: &str, value: &Value) -> Error {
    Problem::at(place, Code::Value, format!("{path} must be {wanted}"))
        .label(format!("this is {}", value.kind()))
        .into()
}

fn names_to_map(node: &mut Node, path: &Path<'_>) -> Result<()> {
    let Value::List(list) = &node.value else { return Ok(()) };
    let mut map = Map::default();
    for item in list {
        let Some(name) = item.as_text() else { return Err(wrong(item.place, path, "a list of strings", &item.value)) };
        map.insert(name, Node::new(Value::Null, item.place));
    }
    node.value = Value::Map(map);
    Ok(())
}

fn dependencies(node: &mut Node, path: &Path<'_>) -> Result<()> {
    names_to_map(node, path)?;
    let place = node.place;
    let Value::Map(map) = &mut node.value else {
        return Err(wrong(place, path, "a list or a mapping", &node.value));
    };
    for (name, entry) in map.iter_mut() {
        let place = entry.node.place;
        if entry.node.is_null() && entry.key == place {
            entry.node.value = Value::Map(Map::default());
        }
        let Value::Map(dependency) = &mut entry.node.value else {
            return Err(wrong(place, &path.key(name), "a mapping", &entry.node.value));
        };
        if !dependency.has("condition") {
            dependency.insert("condition", Node::text("service_started", place));
        }
        if !dependency.has("required") {
            dependency.insert("required", Node::new(Value::Bool(true), place));
        }
    }
    Ok(())
}

fn env_files(node: &mut Node, path: &Path<'_>) -> Result<()> {
    let list = match &mut node.value {
        Value::Text(text) => vec![Node::text(std::mem::take(text), node.place)],
        Value::List(list) => std::mem::take(list),
        value => return Err(wrong(node.place, path, "a string or a list", value)),
    };
    let file = |mut item: Node| {
        text_as(&mut item, "path");
        let place = item.place;
        if let Some(map) = item.as_map_mut()
            && !map.has("required")
        {
            map.insert("required", Node::new(Value::Bool(true), place));
        }
        item
    };
    node.value = Value::List(list.into_iter().map(file).collect());
    Ok(())
}

fn ssh(node: &mut Node, path: &Path<'_>) -> Result<()> {
    let Value::List(list) = &node.value else {
        return expect(node, path, "a list or a mapping", |value| matches!(value, Value::Map(_)));
    };
    let mut map = Map::default();
    for item in list {
        match item.as_text().map(|text| text.split_once('=').ok_or(text)) {
            Some(Ok((id, path))) => map.insert(id, Node::text(path, item.place)),
            Some(Err("default")) => map.insert("default", Node::new(Value::Null, item.place)),
            _ => {
                let message = format!("{path}: invalid ssh key {:?}, expected `default` or id=path", go::sprint(item));
                return Err(Problem::at(item.place, Code::Value, message).into());
            }
        }
    }
    node.value = Value::Map(map);
    Ok(())
}
