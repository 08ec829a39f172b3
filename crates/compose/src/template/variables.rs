//! The variables that texts use, with their defaults: `config --variables`.

use super::scan::{Token, closing_brace, name, tokens};
use crate::node::{Node, Value};
use std::collections::BTreeMap;

/// A variable, as its last use describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// The default of `${V:-default}`.
    pub default: String,
    /// The other value of `${V:+other}`.
    pub presence: String,
    /// True if it is used as `${V:?error}`.
    pub required: bool,
}

/// All variables of a tree by name.
pub fn variables(node: &Node) -> BTreeMap<String, Variable> {
    let mut found = BTreeMap::new();
    visit(node, &mut found);
    found
}

fn visit(node: &Node, found: &mut BTreeMap<String, Variable>) {
    match &node.value {
        Value::Text(text) => extract(text, found, 0),
        Value::List(list) => list.iter().for_each(|item| visit(item, found)),
        Value::Map(map) => map.iter().for_each(|(_, entry)| visit(&entry.node, found)),
        _ => {}
    }
}

fn extract(text: &str, found: &mut BTreeMap<String, Variable>, depth: usize) {
    if depth > super::DEEPEST {
        return;
    }
    for token in tokens(text) {
        let (inner, rest) = match token {
            Token::Named(name) => (name, ""),
            Token::Braced(part) => match closing_brace(part) {
                Some(at) => (&part[2..at], &part[at + 1..]),
                None => (&part[2..part.len() - 1], ""),
            },
            _ => continue,
        };
        extract(rest, found, depth + 1);
        let (name, rest) = inner.split_at(name(inner));
        let mut variable = Variable::default();
        let operator = rest.strip_prefix(':').unwrap_or(rest);
        match operator.split_at_checked(1) {
            Some(("?", _)) => variable.required = true,
            Some(("-", default)) => variable.default = default.to_owned(),
            Some(("+", other)) => variable.presence = other.to_owned(),
            _ => {}
        }
        let (default, presence) = (variable.default.clone(), variable.presence.clone());
        found.insert(name.to_owned(), variable);
        extract(&default, found, depth + 1);
        extract(&presence, found, depth + 1);
    }
}
