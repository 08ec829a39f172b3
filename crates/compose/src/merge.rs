//! The rules by which a later file overrides an earlier one: mappings are merged, lists are
//! appended, and some keys have rules of their own.

use crate::go;
use crate::node::{Entry, Map, Node, Value};
use crate::path::Path;
use crate::place::Place;
use crate::problem::{Code, Problem, Result};

/// Merges a later tree into an earlier one.
pub fn merge(base: Node, over: Node, path: &Path<'_>) -> Result<Node> {
    if let Some(rule) = rule_of(&path.names()) {
        return rule(base, over, path);
    }
    if over.is_null() {
        return Ok(base);
    }
    let kinds = (base.value.kind(), over.value.kind());
    let Node { value: over_value, place } = over;
    match (base.value, over_value) {
        (Value::Map(first), Value::Map(second)) => {
            Ok(Node::new(Value::Map(mappings(first, second, path)?), base.place))
        }
        (Value::List(mut first), Value::List(second)) => {
            first.extend(second);
            Ok(Node::new(Value::List(first), base.place))
        }
        (Value::Map(_) | Value::List(_), _) => Err(cannot(path, base.place, place, kinds)),
        (_, value) => Ok(Node::new(value, place)),
    }
}

/// Merges a service over the one that it extends.
pub fn extend(base: Node, service: Node) -> Result<Node> {
    let services = Path::ROOT.key("services");
    merge(base, service, &services.key("x"))
}

fn cannot(path: &Path<'_>, base: Place, over: Place, kinds: (&str, &str)) -> crate::problem::Error {
    let message = format!("cannot override {path}: {} with {}", kinds.0, kinds.1);
    Problem::at(over, Code::Merge, message).also(base, format!("the earlier value is {}", kinds.0)).into()
}

fn mappings(mut base: Map, over: Map, path: &Path<'_>) -> Result<Map> {
    for (key, entry) in over {
        let Some(earlier) = base.get_mut(&key) else {
            base.put(key, entry);
            continue;
        };
        let place = earlier.place;
        let value = std::mem::replace(earlier, Node::new(Value::Null, place));
        let node = merge(value, entry.node, &path.key(&key))?;
        base.put(key, Entry { key: entry.key, node });
    }
    Ok(base)
}

type Rule = fn(Node, Node, &Path<'_>) -> Result<Node>;

fn rule_of(names: &[&str]) -> Option<Rule> {
    Some(match names {
        ["networks", _, "ipam", "config"] => pools,
        ["networks" | "volumes", _, "labels"] => sequence,
        ["services", _, rest @ ..] => match rest {
            ["command" | "entrypoint"] | ["healthcheck", "test"] => replace,
            ["ulimits", _] => replace,
            ["annotations" | "dns" | "dns_opt" | "dns_search" | "env_file" | "label_file"] => sequence,
            ["environment" | "labels" | "sysctls" | "tmpfs"] => sequence,
            ["build", "args" | "additional_contexts" | "labels"] | ["deploy", "labels"] => sequence,
            ["volumes", _, "volume", "labels"] => sequence,
            ["extra_hosts"] | ["build", "extra_hosts"] => hosts,
            ["build"] => build,
            ["depends_on"] => dependencies,
            ["logging"] => logging,
            ["models" | "networks"] => names_to_map,
            _ => return None,
        },
        _ => return None,
    })
}

fn replace(_: Node, over: Node, _: &Path<'_>) -> Result<Node> {
    Ok(over)
}

fn sequence(base: Node, over: Node, _: &Path<'_>) -> Result<Node> {
    let place = base.place;
    let mut list = into_sequence(base);
    list.extend(into_sequence(over));
    Ok(Node::new(Value::List(list), place))
}

fn hosts(base: Node, over: Node, _: &Path<'_>) -> Result<Node> {
    let place = base.place;
    let mut list = into_sequence(base);
    let earlier = list.len();
    for host in into_sequence(over) {
        if !list[..earlier].iter().any(|known| known.value == host.value) {
            list.push(host);
        }
    }
    Ok(Node::new(Value::List(list), place))
}

/// Turns a mapping into a list of `key=value`, sorted by key.
fn into_sequence(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(list) => list,
        Value::Text(text) => vec![Node::text(text, node.place)],
        Value::Map(map) => {
            let mut list: Vec<(String, Place)> = Vec::new();
            for (key, entry) in map {
                let place = entry.node.place;
                match entry.node.value {
                    Value::Null => list.push((key, place)),
                    Value::List(items) => {
                        list.extend(items.iter().map(|item| (format!("{key}={}", go::sprint(item)), item.place)));
                    }
                    value => list.push((format!("{key}={}", go::sprint(&Node::new(value, place))), place)),
                }
            }
            list.sort_by(|a, b| a.0.cmp(&b.0));
            list.into_iter().map(|(text, place)| Node::text(text, place)).collect()
        }
        _ => Vec::new(),
    }
}

fn build(base: Node, over: Node, path: &Path<'_>) -> Result<Node> {
    let place = base.place;
    let into_map = |node: Node| -> Result<Map> {
        let mut map = Map::default();
        match node.value {
            Value::Map(map) => return Ok(map),
            Value::Text(context) => map.insert("context", Node::text(context, node.place)),
            Value::Null => {}
            value => return Err(wrong(path, node.place, "a string or a mapping", &value)),
        }
        Ok(map)
    };
    Ok(Node::new(Value::Map(mappings(into_map(base)?, into_map(over)?, path)?), place))
}

fn wrong(path: &Path<'_>, place: Place, wanted: &str, value: &Value) -> crate::problem::Error {
    Problem::at(place, Code::Value, format!("{path} must be {wanted}"))
        .label(format!("this is {}", value.kind()))
        .into()
}

fn dependencies(base: Node, over: Node, path: &Path<'_>) -> Result<Node> {
    let started = |place| {
        let defaults = [("condition", Value::Text("service_started".to_owned())), ("required", Value::Bool(true))];
        Node::map(defaults, place)
    };
    keyed(base, over, path, &started)
}

fn names_to_map(base: Node, over: Node, path: &Path<'_>) -> Result<Node> {
    keyed(base, over, path, &|place| Node::new(Value::Null, place))
}

fn keyed(base: Node, over: Node, path: &Path<'_>, default: &dyn Fn(Place) -> Node) -> Result<Node> {
    let place = base.place;
    let (base, over) = (into_map(base, path, default)?, into_map(over, path, default)?);
    Ok(Node::new(Value::Map(mappings(base, over, path)?), place))
}

/// Turns a list of names into a mapping with a default value for each.
fn into_map(node: Node, path: &Path<'_>, default: &dyn Fn(Place) -> Node) -> Result<Map> {
    match node.value {
        Value::Map(map) => Ok(map),
        Value::List(list) => {
            let mut map = Map::default();
            for item in list {
                let Value::Text(name) = item.value else {
                    return Err(wrong(&path.item(), item.place, "a string", &item.value));
                };
                map.insert(name, default(item.place));
            }
            Ok(map)
        }
        _ => Ok(Map::default()),
    }
}

/// Merges `logging`. Options are merged only if both name the same driver, or one names none.
fn logging(base: Node, over: Node, path: &Path<'_>) -> Result<Node> {
    let (place, later) = (base.place, over.place);
    let (base, over) = match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => (base, over),
        (_, value) => return Err(wrong(path, later, "a mapping", &value)),
    };
    let driver = |map: &Map| map.get("driver").map(|node| node.value.clone());
    match (driver(&base), driver(&over)) {
        (Some(first), Some(second)) if first != second => Ok(Node::new(Value::Map(over), later)),
        _ => Ok(Node::new(Value::Map(mappings(base, over, path)?), place)),
    }
}

/// Merges address pools by their subnet.
fn pools(base: Node, over: Node, path: &Path<'_>) -> Result<Node> {
    let place = base.place;
    let maps = |node: Node| -> Result<Vec<Node>> {
        match node.value {
            Value::List(list) => Ok(list),
            value => Err(wrong(path, node.place, "a list", &value)),
        }
    };
    let (base, over) = (maps(base)?, maps(over)?);
    let subnet = |node: &Node| node.find(&["subnet"]).map(|node| node.value.clone());
    let mut pools: Vec<Node> = Vec::new();
    for mut earlier in base {
        for later in &over {
            let known = |pools: &[Node], node: &Node| pools.iter().position(|pool| subnet(pool) == subnet(node));
            if subnet(later) != subnet(&earlier) && known(&pools, later).is_none() {
                pools.push(later.clone());
                continue;
            }
            let (Value::Map(first), Value::Map(second)) = (earlier.value.clone(), later.value.clone()) else {
                return Err(wrong(path, later.place, "a list of mappings", &later.value));
            };
            earlier = Node::new(Value::Map(mappings(first, second, path)?), earlier.place);
            match known(&pools, &earlier) {
                Some(at) => pools[at] = earlier.clone(),
                None => pools.push(earlier.clone()),
            }
        }
    }
    Ok(Node::new(Value::List(pools), place))
}
