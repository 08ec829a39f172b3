//! Values of expressions and their types: go-cty's, less what is unknown.
//!
//! A sequence or mapping knows its weight (how much memory a walk over all of it would see, shared parts counted as
//! often as they are reached) and its depth, so that a definition whose values double with each line is stopped
//! before anything walks them.

mod convert;
mod json;
mod mismatch;
mod order;
mod types;
mod unify;

pub use convert::convert;
pub use json::{from_json, implied_type, to_json};
pub use mismatch::mismatch;
pub use types::{Fields, Type};
pub use unify::unify;

use crate::number::Number;
use std::collections::BTreeMap;
use std::rc::Rc;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Text of a value or the name of an attribute.
pub type Text = Rc<str>;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, of a type.
    Null(Type),
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text in Unicode's form NFC.
    String(Text),
    /// Elements of one type.
    List(Type, Rc<Items>),
    /// Different elements of one type, in their order.
    Set(Type, Rc<Items>),
    /// Elements of one type by name.
    Map(Type, Rc<Entries>),
    /// Elements of several types.
    Tuple(Rc<Items>),
    /// Attributes of several types.
    Object(Rc<Entries>),
}

/// Elements with their weight and depth.
#[derive(Debug)]
pub struct Items {
    /// The elements.
    pub values: Vec<Value>,
    weight: u64,
    depth: u32,
}

/// Named elements with their weight and depth.
#[derive(Debug)]
pub struct Entries {
    /// The elements.
    pub values: BTreeMap<Text, Value>,
    weight: u64,
    depth: u32,
}

impl Items {
    fn new(values: Vec<Value>) -> Rc<Items> {
        let (weight, depth) = measure(values.iter());
        Rc::new(Items { values, weight, depth })
    }
}

impl Entries {
    fn new(values: BTreeMap<Text, Value>) -> Rc<Entries> {
        let (weight, depth) = measure(values.values());
        let names = values.keys().map(|name| name.len() as u64).sum::<u64>();
        Rc::new(Entries { values, weight: weight.saturating_add(names), depth })
    }
}

fn measure<'a>(values: impl Iterator<Item = &'a Value>) -> (u64, u32) {
    values.fold((16, 0), |(weight, depth), value| {
        (weight.saturating_add(value.weight()), depth.max(value.depth().saturating_add(1)))
    })
}

impl Value {
    /// Text, brought into form NFC.
    pub fn string(text: impl AsRef<str>) -> Value {
        let text = text.as_ref();
        if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
            return Value::String(text.into());
        }
        Value::String(text.nfc().collect::<String>().into())
    }

    /// A whole number.
    pub fn integer(value: i64) -> Value {
        Value::Number(Number::from(value))
    }

    /// A list.
    pub fn list(element: Type, values: Vec<Value>) -> Value {
        Value::List(element, Items::new(values))
    }

    /// A list of text.
    pub fn strings<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Value {
        Value::list(Type::String, values.into_iter().map(Value::string).collect())
    }

    /// A set: its elements are put in order, equal ones are one.
    pub fn set(element: Type, values: Vec<Value>) -> Value {
        Value::Set(element, Items::new(order::sorted(values)))
    }

    /// A map.
    pub fn map(element: Type, values: BTreeMap<Text, Value>) -> Value {
        Value::Map(element, Entries::new(values))
    }

    /// A tuple.
    pub fn tuple(values: Vec<Value>) -> Value {
        Value::Tuple(Items::new(values))
    }

    /// An object.
    pub fn object(values: BTreeMap<Text, Value>) -> Value {
        Value::Object(Entries::new(values))
    }

    /// The type.
    pub fn kind(&self) -> Type {
        match self {
            Value::Null(kind) => kind.clone(),
            Value::Bool(_) => Type::Bool,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::List(element, _) => Type::List(element.clone().into()),
            Value::Set(element, _) => Type::Set(element.clone().into()),
            Value::Map(element, _) => Type::Map(element.clone().into()),
            Value::Tuple(items) => Type::Tuple(items.values.iter().map(Value::kind).collect()),
            Value::Object(entries) => {
                Type::object(entries.values.iter().map(|(name, value)| (name.clone(), value.kind())))
            }
        }
    }

    /// True of nothing.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null(_))
    }

    /// True of the `null` that has no type.
    pub fn is_untyped_null(&self) -> bool {
        matches!(self, Value::Null(Type::Dynamic))
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The elements of a list, set or tuple.
    pub fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => Some(&items.values),
            _ => None,
        }
    }

    /// The elements of a map or object.
    pub fn entries(&self) -> Option<&BTreeMap<Text, Value>> {
        match self {
            Value::Map(_, entries) | Value::Object(entries) => Some(&entries.values),
            _ => None,
        }
    }

    /// Keys and elements of anything that a `for` goes over. The key of an element of a set is itself.
    pub fn pairs(&self) -> Option<Vec<(Value, Value)>> {
        let pairs = match self {
            Value::Set(_, items) => items.values.iter().map(|value| (value.clone(), value.clone())).collect(),
            Value::Map(..) | Value::Object(_) => {
                self.entries()?.iter().map(|(name, value)| (Value::String(name.clone()), value.clone())).collect()
            }
            _ => {
                let number = |at: usize| Value::Number(Number::from(at));
                self.elements()?.iter().enumerate().map(|(at, value)| (number(at), value.clone())).collect()
            }
        };
        Some(pairs)
    }

    /// How much a walk over the whole value would see.
    pub fn weight(&self) -> u64 {
        match self {
            Value::String(text) => 16 + text.len() as u64,
            Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => items.weight,
            Value::Map(_, entries) | Value::Object(entries) => entries.weight,
            Value::Null(_) | Value::Bool(_) => 16,
            Value::Number(_) => 64,
        }
    }

    /// How many values are within each other.
    pub fn depth(&self) -> u32 {
        match self {
            Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => items.depth,
            Value::Map(_, entries) | Value::Object(entries) => entries.depth,
            _ => 0,
        }
    }

    /// Equality as `==` has it: nothing equals nothing, otherwise types must be the same.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null(_), Value::Null(_)) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::List(a, one), Value::List(b, two)) | (Value::Set(a, one), Value::Set(b, two)) => {
                a == b && same_items(one, two)
            }
            (Value::Tuple(one), Value::Tuple(two)) => self.kind() == other.kind() && same_items(one, two),
            (Value::Map(a, one), Value::Map(b, two)) => a == b && same_entries(one, two),
            (Value::Object(one), Value::Object(two)) => self.kind() == other.kind() && same_entries(one, two),
            _ => false,
        }
    }
}

fn same_items(one: &Items, two: &Items) -> bool {
    one.values.len() == two.values.len() && one.values.iter().zip(&two.values).all(|(a, b)| a.equals(b))
}

fn same_entries(one: &Entries, two: &Entries) -> bool {
    one.values.len() == two.values.len()
        && one.values.iter().zip(&two.values).all(|((a, one), (b, two))| a == b && one.equals(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_in_order_and_has_each_element_once() {
        let set = Value::set(Type::String, ["b", "a", "b"].map(Value::string).to_vec());
        let texts: Vec<_> = set.elements().expect("elements").iter().filter_map(Value::as_str).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn weight_counts_shared_parts_as_often_as_they_are_reached() {
        let mut value = Value::tuple(vec![Value::string("x")]);
        for _ in 0..60 {
            value = Value::tuple(vec![value.clone(), value]);
        }
        assert!(value.weight() > 1 << 60 && value.depth() == 61);
    }

    #[test]
    fn equality_asks_for_the_same_type() {
        assert!(!Value::integer(1).equals(&Value::string("1")));
        assert!(!Value::tuple(vec![Value::string("a")]).equals(&Value::strings(["a"])));
        assert!(Value::Null(Type::String).equals(&Value::Null(Type::Number)));
    }
}
