//! Reads typed values from trees.

use super::Named;
use crate::go;
use crate::interpolate::boolean;
use crate::node::{Node, Value};
use crate::path::Path;
use crate::problem::{Code, Problem};

/// A type that can be read from a tree.
pub trait Decode: Sized {
    /// Reads the value. It is not called for a key without a value.
    fn decode(node: &Node, path: &Path<'_>) -> Result<Self, Problem>;
}

/// The problem of a value of the wrong type.
pub fn mismatch(node: &Node, path: &Path<'_>, wanted: &str) -> Problem {
    let problem = Problem::at(node.place, Code::Value, format!("{path} must be {wanted}"));
    problem.label(format!("this is {}", node.value.kind()))
}

/// The problem of a value that can't be read.
pub fn invalid(node: &Node, path: &Path<'_>, words: impl std::fmt::Display) -> Problem {
    Problem::at(node.place, Code::Value, format!("{path}: {words}"))
}

impl Decode for String {
    fn decode(node: &Node, path: &Path<'_>) -> Result<String, Problem> {
        match &node.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Int(number) => Ok(number.to_string()),
            _ => Err(mismatch(node, path, "a string")),
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, path: &Path<'_>) -> Result<bool, Problem> {
        match &node.value {
            Value::Bool(flag) => Ok(*flag),
            Value::Text(text) => boolean(text).ok_or_else(|| invalid(node, path, format!("invalid boolean: {text}"))),
            _ => Err(mismatch(node, path, "a boolean")),
        }
    }
}

impl Decode for i64 {
    fn decode(node: &Node, path: &Path<'_>) -> Result<i64, Problem> {
        let invalid = |text: &str| invalid(node, path, format!("`{text}` is not an integer"));
        match &node.value {
            Value::Int(number) => Ok(*number),
            Value::Float(number) => Ok(*number as i64),
            Value::Text(text) => text.parse().map_err(|_| invalid(text)),
            Value::Big(number) => Err(invalid(&number.to_string())),
            _ => Err(mismatch(node, path, "an integer")),
        }
    }
}

impl Decode for u64 {
    fn decode(node: &Node, path: &Path<'_>) -> Result<u64, Problem> {
        if let Value::Big(number) = node.value {
            return Ok(number);
        }
        let number = i64::decode(node, path)?;
        u64::try_from(number).map_err(|_| invalid(node, path, format!("`{number}` must not be negative")))
    }
}

impl Decode for u32 {
    fn decode(node: &Node, path: &Path<'_>) -> Result<u32, Problem> {
        let number = i64::decode(node, path)?;
        u32::try_from(number).map_err(|_| invalid(node, path, format!("`{number}` is out of range")))
    }
}

impl Decode for u16 {
    fn decode(node: &Node, path: &Path<'_>) -> Result<u16, Problem> {
        let number = i64::decode(node, path)?;
        u16::try_from(number).map_err(|_| invalid(node, path, format!("`{number}` is out of range")))
    }
}

impl Decode for f32 {
    fn decode(node: &Node, path: &Path<'_>) -> Result<f32, Problem> {
        match &node.value {
            Value::Int(number) => Ok(*number as f32),
            Value::Big(number) => Ok(*number as f32),
            Value::Float(number) => Ok(*number as f32),
            Value::Text(text) => text.parse().map_err(|_| invalid(node, path, format!("`{text}` is not a number"))),
            _ => Err(mismatch(node, path, "a number")),
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Option<T>, Problem> {
        if node.is_null() { Ok(None) } else { T::decode(node, path).map(Some) }
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Box<T>, Problem> {
        T::decode(node, path).map(Box::new)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Vec<T>, Problem> {
        let one = |at: usize, item: &Node| T::decode(item, &path.key(&at.to_string()));
        match &node.value {
            Value::List(list) => list.iter().enumerate().map(|(at, item)| one(at, item)).collect(),
            Value::Text(_) => Ok(vec![T::decode(node, path)?]),
            _ => Err(mismatch(node, path, "a list")),
        }
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Named<T>, Problem> {
        let map = node.as_map().ok_or_else(|| mismatch(node, path, "a mapping"))?;
        map.iter().map(|(key, entry)| Ok((key.to_owned(), T::decode(&entry.node, &path.key(key))?))).collect()
    }
}

/// The entries of a mapping or of a list of `key=value`. A key without a value has None.
pub fn pairs(node: &Node, path: &Path<'_>) -> Result<Vec<(String, Option<String>)>, Problem> {
    match &node.value {
        Value::Map(map) => {
            let value = |node: &Node| (!node.is_null()).then(|| go::sprint(node));
            Ok(map.iter().map(|(key, entry)| (key.to_owned(), value(&entry.node))).collect())
        }
        Value::List(list) => Ok(list.iter().map(|item| pair(&go::sprint(item))).collect()),
        _ => Err(mismatch(node, path, "a list or a mapping")),
    }
}

fn pair(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}
