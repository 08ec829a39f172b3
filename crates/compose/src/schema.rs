//! The schema of Compose files: the known keys and the types of their values.
//!
//! The tables (`service`, `build`, `deploy`, `resources`) are data, against which [`validate`]
//! checks a tree. It reports the first fault with its place, and for an unknown key suggests the
//! likely known one.

mod build;
mod deploy;
mod resources;
mod service;
mod shapes;
mod top;

use crate::go;
use crate::node::{Map, Node, Value};
use crate::path::Path;
use crate::place::Place;
use crate::problem::{Code, Problem, Result};
use base::words::closest;

pub use service::SERVICE;
pub use top::TOP;

/// The form of a value.
pub enum Shape {
    /// Anything.
    Any,
    /// A value without parts, of one of some types.
    Scalar(Types),
    /// A whole number within bounds, or a text.
    Range(i64, i64),
    /// One of some texts.
    Enum(&'static [&'static str]),
    /// A text that passes a test, and the words for the test.
    Matching(fn(&str) -> bool, &'static str),
    /// A list. The flag is true if its items must differ.
    List(&'static Shape, bool),
    /// A mapping with known keys.
    Fields(&'static Fields),
    /// A mapping with free keys.
    Dict(&'static Dict),
    /// One of several forms that differ in their types.
    Either(&'static [Shape]),
}

/// A set of types.
#[derive(Clone, Copy)]
pub struct Types {
    /// Nothing.
    pub null: bool,
    /// A boolean.
    pub flag: bool,
    /// A whole number.
    pub whole: bool,
    /// Any number.
    pub number: bool,
    /// A text.
    pub text: bool,
}

/// A mapping with known keys.
pub struct Fields {
    /// The keys, sorted.
    pub keys: &'static [(&'static str, &'static Shape)],
    /// The keys that must be there.
    pub required: &'static [&'static str],
    /// True if keys that begin with `x-` are allowed, with any value.
    pub extensions: bool,
    /// True if all other keys are allowed too, with any value.
    pub open: bool,
}

/// A mapping with free keys.
pub struct Dict {
    /// True for a valid key.
    pub key: fn(&str) -> bool,
    /// True if other keys are allowed, with any value.
    pub open: bool,
    /// The form of the values.
    pub value: &'static Shape,
}

/// Validates a tree against the schema of a Compose file.
pub fn validate(root: &Node) -> Result<()> {
    check(root, &Shape::Fields(&TOP), &Path::ROOT).map_err(Into::into)
}

fn check(node: &Node, shape: &Shape, path: &Path<'_>) -> Result<(), Problem> {
    match shape {
        Shape::Any => Ok(()),
        Shape::Scalar(types) if types.accept(&node.value) => Ok(()),
        Shape::Range(least, most) => range(node, *least, *most, path),
        Shape::Enum(words) => match node.as_text() {
            Some(text) if words.contains(&text) => Ok(()),
            Some(text) => Err(no_word(node, text, words, path)),
            None => Err(mismatch(node, shape, path)),
        },
        Shape::Matching(test, words) => match node.as_text() {
            Some(text) if test(text) => Ok(()),
            Some(text) => Err(Problem::at(node.place, Code::Value, format!("{path} `{text}` must be {words}"))),
            None => Err(mismatch(node, shape, path)),
        },
        Shape::List(item, unique) => match node.as_list() {
            Some(list) => items(list, item, *unique, path),
            None => Err(mismatch(node, shape, path)),
        },
        Shape::Fields(fields) => match node.as_map() {
            Some(map) => keys(map, fields, node.place, path),
            None => Err(mismatch(node, shape, path)),
        },
        Shape::Dict(dict) => match node.as_map() {
            Some(map) => entries(map, dict, path),
            None => Err(mismatch(node, shape, path)),
        },
        Shape::Either(shapes) => match shapes.iter().find(|shape| shape.fits(&node.value)) {
            Some(shape) => check(node, shape, path),
            None => Err(mismatch(node, shape, path)),
        },
        Shape::Scalar(_) => Err(mismatch(node, shape, path)),
    }
}

fn keys(map: &Map, fields: &Fields, place: Place, path: &Path<'_>) -> Result<(), Problem> {
    for (key, entry) in map.iter() {
        match fields.get(key) {
            Some(shape) => check(&entry.node, shape, &path.key(key))?,
            None if fields.open || (fields.extensions && key.starts_with("x-")) => {}
            None => return Err(unknown(key, entry.key, fields, path)),
        }
    }
    match fields.required.iter().find(|key| !map.has(key)) {
        Some(key) => Err(Problem::at(place, Code::Value, format!("{path} is missing the property `{key}`"))),
        None => Ok(()),
    }
}

fn unknown(key: &str, place: Place, fields: &Fields, path: &Path<'_>) -> Problem {
    let within = path.to_string();
    let within = if within.is_empty() { "the top level" } else { &within };
    let problem = Problem::at(place, Code::Key, format!("{within}: additional property `{key}` is not allowed"));
    match closest(key, fields.keys.iter().map(|(key, _)| *key)) {
        Some(known) => problem.label("unknown key").help(format!("did you mean `{known}`?")),
        None => problem.label("unknown key"),
    }
}

fn entries(map: &Map, dict: &Dict, path: &Path<'_>) -> Result<(), Problem> {
    for (key, entry) in map.iter() {
        match (dict.key)(key) {
            true => check(&entry.node, dict.value, &path.key(key))?,
            false if dict.open => {}
            false => {
                let message = format!("{path}: additional property `{key}` is not allowed");
                let problem = Problem::at(entry.key, Code::Key, message).label("this name is not valid");
                return Err(problem.help("names consist of letters, digits, `.`, `_` and `-`"));
            }
        }
    }
    Ok(())
}

fn items(list: &[Node], shape: &Shape, unique: bool, path: &Path<'_>) -> Result<(), Problem> {
    for (at, item) in list.iter().enumerate() {
        let name = at.to_string();
        check(item, shape, &path.key(&name))?;
    }
    if !unique {
        return Ok(());
    }
    let mut seen = std::collections::HashMap::new();
    for (at, item) in list.iter().enumerate() {
        let key = format!("{} {}", item.value.kind(), go::sprint(item));
        if let Some(first) = seen.insert(key, at) {
            let message = format!("{path} items at {first} and {at} are equal");
            return Err(Problem::at(item.place, Code::Value, message).also(list[first].place, "the first one"));
        }
    }
    Ok(())
}

fn range(node: &Node, least: i64, most: i64, path: &Path<'_>) -> Result<(), Problem> {
    let number = match &node.value {
        Value::Text(_) => return Ok(()),
        Value::Int(number) => *number as f64,
        Value::Big(number) => *number as f64,
        Value::Float(number) if number.fract() == 0.0 => *number,
        _ => return Err(mismatch(node, &Shape::Range(least, most), path)),
    };
    let problem = |message: String| Err(Problem::at(node.place, Code::Value, message));
    if number < least as f64 {
        return problem(format!("{path} must be greater than or equal to {least}"));
    }
    if number > most as f64 {
        return problem(format!("{path} must be less than or equal to {most}"));
    }
    Ok(())
}

fn no_word(node: &Node, text: &str, words: &[&str], path: &Path<'_>) -> Problem {
    let list: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let problem = Problem::at(node.place, Code::Value, format!("{path} must be one of {}", list.join(", ")));
    match closest(text, words.iter().copied()) {
        Some(word) => problem.help(format!("did you mean `{word}`?")),
        None => problem,
    }
}

fn mismatch(node: &Node, shape: &Shape, path: &Path<'_>) -> Problem {
    let name = path.to_string();
    let name = if name.is_empty() { "the file" } else { &name };
    let problem = Problem::at(node.place, Code::Value, format!("{name} must be {}", shape.words()));
    let problem = problem.label(format!("this is {}", node.value.kind()));
    let scalar = !matches!(node.value, Value::List(_) | Value::Map(_) | Value::Null);
    if scalar && shape.fits(&Value::Text(String::new())) { problem.help("write the value in quotes") } else { problem }
}

impl Types {
    fn accept(&self, value: &Value) -> bool {
        match value {
            Value::Null => self.null,
            Value::Bool(_) => self.flag,
            Value::Int(_) | Value::Big(_) => self.whole || self.number,
            Value::Float(number) => self.number || (self.whole && number.fract() == 0.0),
            Value::Text(_) | Value::Time(_) => self.text,
            Value::List(_) | Value::Map(_) => false,
        }
    }

    fn words(&self) -> Vec<&'static str> {
        let all = [
            (self.null, "nothing"),
            (self.flag, "a boolean"),
            (self.whole && !self.number, "an integer"),
            (self.number, "a number"),
            (self.text, "a string"),
        ];
        all.into_iter().filter(|(has, _)| *has).map(|(_, word)| word).collect()
    }
}

impl Shape {
    /// True if the type of a value is allowed here.
    fn fits(&self, value: &Value) -> bool {
        match self {
            Shape::Any => true,
            Shape::Scalar(types) => types.accept(value),
            Shape::Range(..) => matches!(value, Value::Int(_) | Value::Big(_) | Value::Float(_) | Value::Text(_)),
            Shape::Enum(_) | Shape::Matching(..) => matches!(value, Value::Text(_)),
            Shape::List(..) => matches!(value, Value::List(_)),
            Shape::Fields(_) | Shape::Dict(_) => matches!(value, Value::Map(_)),
            Shape::Either(shapes) => shapes.iter().any(|shape| shape.fits(value)),
        }
    }

    fn words(&self) -> String {
        let mut words = self.all_words();
        words.dedup();
        match words.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => "anything".to_owned(),
        }
    }

    fn all_words(&self) -> Vec<&'static str> {
        match self {
            Shape::Any => Vec::new(),
            Shape::Scalar(types) => types.words(),
            Shape::Range(..) => vec!["an integer", "a string"],
            Shape::Enum(_) | Shape::Matching(..) => vec!["a string"],
            Shape::List(..) => vec!["a list"],
            Shape::Fields(_) | Shape::Dict(_) => vec!["a mapping"],
            Shape::Either(shapes) => shapes.iter().flat_map(Shape::all_words).collect(),
        }
    }
}

impl Fields {
    /// The form of the value of a key.
    pub fn get(&self, key: &str) -> Option<&'static Shape> {
        let at = self.keys.binary_search_by(|(known, _)| (*known).cmp(key)).ok()?;
        Some(self.keys[at].1)
    }
}

#[cfg(test)]
mod tests;
