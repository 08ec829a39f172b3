//! Turns the raw tree into the tree of the model: copies aliases, resolves merge keys, and records
//! `!reset` and `!override`.

use super::events::{Item, Raw, RawKind};
use super::{DEEPEST, Document, MOST_NODES, scalar};
use crate::node::{Entry, Map, Node, Value};
use crate::place::Place;
use crate::problem::{Code, Problem, Result};
use std::collections::HashMap;

const MERGE: &str = "<<";

/// Expands a document. `left` is the number of nodes that the file may still have.
pub(super) fn document(root: &Item, left: &mut usize) -> Result<Document> {
    let mut expansion = Expansion { left, path: Vec::new(), cleared: Vec::new() };
    let node = expansion.item(root)?.unwrap_or_else(|| Node::new(Value::Null, root.place()));
    Ok(Document { root: node, cleared: expansion.cleared })
}

struct Expansion<'a> {
    left: &'a mut usize,
    path: Vec<String>,
    cleared: Vec<Vec<String>>,
}

impl Expansion<'_> {
    /// The node, or nothing if it is tagged `!reset`.
    fn item(&mut self, item: &Item) -> Result<Option<Node>> {
        match item.node.tag.as_deref() {
            Some("!reset") => {
                self.cleared.push(self.path.clone());
                Ok(None)
            }
            Some("!override") => {
                self.cleared.push(self.path.clone());
                self.node(item).map(Some)
            }
            _ => self.node(item).map(Some),
        }
    }

    fn node(&mut self, item: &Item) -> Result<Node> {
        let place = item.place();
        self.count(place)?;
        let value = match &item.node.kind {
            RawKind::Scalar(text, plain) => scalar_value(&item.node, text, *plain)?,
            RawKind::List(items) => self.list(items)?,
            RawKind::Map(entries) => Value::Map(self.map(entries, place)?),
        };
        Ok(Node { value, place: item.node.place })
    }

    fn count(&mut self, place: Place) -> Result<()> {
        if *self.left == 0 {
            let message = format!("the file is too large: its aliases expand to more than {MOST_NODES} values");
            return Err(Problem::at(place, Code::Limit, message).into());
        }
        *self.left -= 1;
        if self.path.len() > DEEPEST {
            let message = format!("the file is nested too deeply: more than {DEEPEST} levels");
            return Err(Problem::at(place, Code::Limit, message).into());
        }
        Ok(())
    }

    fn list(&mut self, items: &[Item]) -> Result<Value> {
        let mut list = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            self.path.push(at.to_string());
            let node = self.item(item);
            self.path.pop();
            list.extend(node?);
        }
        Ok(Value::List(list))
    }

    fn map(&mut self, entries: &[(Item, Item)], place: Place) -> Result<Map> {
        let mut map = Map::default();
        let mut merged = None;
        let mut seen: HashMap<&str, Place> = HashMap::new();
        for (key, value) in entries {
            let name = self.key(key)?;
            if let Some(&first) = seen.get(name) {
                return Err(twice(name, key.place(), first));
            }
            seen.insert(name, key.place());
            if name == MERGE && is_merge(&key.node) {
                merged = Some(value);
                continue;
            }
            self.path.push(name.to_owned());
            let node = self.item(value);
            self.path.pop();
            if let Some(node) = node? {
                map.put(name, Entry { key: key.place(), node });
            }
        }
        if let Some(value) = merged {
            self.merge(&mut map, value, place)?;
        }
        Ok(map)
    }

    fn key<'k>(&mut self, key: &'k Item) -> Result<&'k str> {
        self.count(key.place())?;
        let refused = |what: &str| {
            let message = format!("non-string key: {what} can't be a key");
            Problem::at(key.place(), Code::Value, message).help("write the key in quotes")
        };
        match &key.node.kind {
            RawKind::Scalar(text, plain) => match scalar_value(&key.node, text, *plain)? {
                Value::Text(_) => Ok(text),
                other => Err(refused(other.kind()).into()),
            },
            RawKind::List(_) => Err(refused("a list").into()),
            RawKind::Map(_) => Err(refused("a mapping").into()),
        }
    }

    /// Adds the keys of the mappings of `<<` that are missing. Of several mappings the first takes
    /// precedence.
    fn merge(&mut self, map: &mut Map, value: &Item, place: Place) -> Result<()> {
        let sources: &[Item] = match &value.node.kind {
            RawKind::Map(_) => std::slice::from_ref(value),
            RawKind::List(items) => items,
            RawKind::Scalar(..) => return Err(no_map(value)),
        };
        for source in sources {
            let RawKind::Map(entries) = &source.node.kind else { return Err(no_map(source)) };
            self.count(source.place())?;
            for (key, entry) in self.map(entries, place)? {
                if !map.has(&key) {
                    map.put(key, entry);
                }
            }
        }
        Ok(())
    }
}

fn is_merge(node: &Raw) -> bool {
    matches!(&node.kind, RawKind::Scalar(_, true)) && matches!(node.tag.as_deref(), None | Some("!!merge"))
}

fn no_map(item: &Item) -> crate::problem::Error {
    let message = "the merge key `<<` takes a mapping or a list of mappings";
    Problem::at(item.place(), Code::Value, message).into()
}

fn twice(name: &str, place: Place, first: Place) -> crate::problem::Error {
    let message = format!("mapping key `{name}` already defined");
    Problem::at(place, Code::Syntax, message).label("defined again here").also(first, "first defined here").into()
}

fn scalar_value(node: &Raw, text: &str, plain: bool) -> Result<Value> {
    scalar::resolve(text, plain, node.tag.as_deref()).map_err(|wanted| {
        let tag = node.tag.as_deref().unwrap_or_default();
        Problem::at(node.place, Code::Value, format!("`{text}` is tagged {tag}, and is not {wanted}")).into()
    })
}
