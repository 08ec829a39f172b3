//! Turns values into JSON trees, which are printed as JSON or YAML.

use super::Named;
use crate::node::{Map, Node, Value as Tree};
use serde_json::Value;

/// The form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `--format json`: without extensions.
    Json,
    /// `--format yaml`.
    Yaml,
}

/// A value that can be printed.
pub trait Encode {
    /// The value as a tree.
    fn encode(&self, form: Form) -> Value;

    /// True if a key with this value is omitted.
    fn is_empty(&self) -> bool;
}

/// Adds a key, unless its value is empty and `always` is false.
pub fn put(out: &mut serde_json::Map<String, Value>, form: Form, key: &str, value: &impl Encode, always: bool) {
    if always || !value.is_empty() {
        out.insert(key.to_owned(), value.encode(form));
    }
}

/// Adds the keys that begin with `x-`, but only in YAML.
pub fn extensions(out: &mut serde_json::Map<String, Value>, extensions: &Map, form: Form) {
    if form == Form::Yaml {
        let mut sorted: Vec<_> = extensions.iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        out.extend(sorted.into_iter().map(|(key, entry)| (key.to_owned(), raw(&entry.node))));
    }
}

/// Capitalizes a key for JSON.
pub fn capital(key: &str, form: Form) -> String {
    match (form, key.split_at_checked(1)) {
        (Form::Json, Some((first, rest))) => first.to_uppercase() + rest,
        _ => key.to_owned(),
    }
}

/// A tree without conversions, its keys sorted.
pub fn raw(node: &Node) -> Value {
    match &node.value {
        Tree::Null => Value::Null,
        Tree::Bool(flag) => Value::Bool(*flag),
        Tree::Int(number) => (*number).into(),
        Tree::Big(number) => (*number).into(),
        Tree::Float(number) => float(*number),
        Tree::Time(time) => Value::String(time.rfc3339()),
        Tree::Text(text) => Value::String(text.clone()),
        Tree::List(list) => Value::Array(list.iter().map(raw).collect()),
        Tree::Map(map) => {
            let mut sorted: Vec<_> = map.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            Value::Object(sorted.into_iter().map(|(key, entry)| (key.to_owned(), raw(&entry.node))).collect())
        }
    }
}

/// A number; whole ones without a fraction.
fn float(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return (number as i64).into();
    }
    serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
}

impl Encode for String {
    fn encode(&self, _: Form) -> Value {
        Value::String(self.clone())
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl Encode for bool {
    fn encode(&self, _: Form) -> Value {
        Value::Bool(*self)
    }

    fn is_empty(&self) -> bool {
        !*self
    }
}

impl Encode for f32 {
    fn encode(&self, _: Form) -> Value {
        // The shortest digits of the `f32`, not of the `f64`.
        float(self.to_string().parse().unwrap_or(f64::from(*self)))
    }

    fn is_empty(&self) -> bool {
        *self == 0.0
    }
}

macro_rules! whole {
    ($($type:ty)*) => {$(
        impl Encode for $type {
            fn encode(&self, _: Form) -> Value {
                (*self).into()
            }

            fn is_empty(&self) -> bool {
                *self == 0
            }
        }
    )*};
}

whole!(i64 u64 u32 u16);

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, form: Form) -> Value {
        self.as_ref().map_or(Value::Null, |value| value.encode(form))
    }

    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

impl<T: Encode> Encode for Box<T> {
    fn encode(&self, form: Form) -> Value {
        self.as_ref().encode(form)
    }

    fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, form: Form) -> Value {
        Value::Array(self.iter().map(|item| item.encode(form)).collect())
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Encode> Encode for Named<T> {
    fn encode(&self, form: Form) -> Value {
        Value::Object(self.iter().map(|(key, value)| (key.clone(), value.encode(form))).collect())
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}
