//! Types, and their names in messages.

use super::Text;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any, or not known.
    Dynamic,
    /// `bool`
    Bool,
    /// `number`
    Number,
    /// `string`
    String,
    /// `list(T)`
    List(Rc<Type>),
    /// `set(T)`
    Set(Rc<Type>),
    /// `map(T)`
    Map(Rc<Type>),
    /// `tuple([T, U])`
    Tuple(Rc<[Type]>),
    /// `object({name = T})`
    Object(Rc<Fields>),
    /// Bytes, which no value has.
    Bytes,
}

/// Attributes of an object type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Their types.
    pub types: BTreeMap<Text, Type>,
    /// Those that a value converted to the type may lack.
    pub optional: BTreeSet<Text>,
}

impl Type {
    /// `list(T)`
    pub fn list(element: Type) -> Type {
        Type::List(Rc::new(element))
    }

    /// `set(T)`
    pub fn set(element: Type) -> Type {
        Type::Set(Rc::new(element))
    }

    /// `map(T)`
    pub fn map(element: Type) -> Type {
        Type::Map(Rc::new(element))
    }

    /// An object type that has all its attributes.
    pub fn object(types: impl IntoIterator<Item = (Text, Type)>) -> Type {
        Type::Object(Rc::new(Fields { types: types.into_iter().collect(), optional: BTreeSet::new() }))
    }

    /// An object type whose attributes are all optional.
    pub fn optional_object(types: &[(&str, Type)]) -> Type {
        let types: BTreeMap<Text, Type> = types.iter().map(|(name, kind)| (Text::from(*name), kind.clone())).collect();
        let optional = types.keys().cloned().collect();
        Type::Object(Rc::new(Fields { types, optional }))
    }

    /// Text, numbers and truth values.
    pub fn is_primitive(&self) -> bool {
        matches!(self, Type::Bool | Type::Number | Type::String)
    }

    /// Lists, sets and maps.
    pub fn is_collection(&self) -> bool {
        self.element().is_some()
    }

    /// The type of the elements of a list, set or map.
    pub fn element(&self) -> Option<&Type> {
        match self {
            Type::List(element) | Type::Set(element) | Type::Map(element) => Some(element),
            _ => None,
        }
    }

    /// True where a part of the type is not known.
    pub fn has_dynamic(&self) -> bool {
        match self {
            Type::Dynamic => true,
            Type::List(element) | Type::Set(element) | Type::Map(element) => element.has_dynamic(),
            Type::Tuple(elements) => elements.iter().any(Type::has_dynamic),
            Type::Object(fields) => fields.types.values().any(Type::has_dynamic),
            _ => false,
        }
    }

    /// The type that a converted value has: no attribute is optional in it.
    pub fn without_optional(&self) -> Type {
        match self {
            Type::List(element) => Type::list(element.without_optional()),
            Type::Set(element) => Type::set(element.without_optional()),
            Type::Map(element) => Type::map(element.without_optional()),
            Type::Tuple(elements) => Type::Tuple(elements.iter().map(Type::without_optional).collect()),
            Type::Object(fields) => {
                Type::object(fields.types.iter().map(|(name, kind)| (name.clone(), kind.without_optional())))
            }
            other => other.clone(),
        }
    }

    /// The name in messages.
    pub fn name(&self) -> String {
        self.named("dynamic")
    }

    /// The name in messages where the type is asked for: an unknown part is `any type`.
    pub fn constraint_name(&self) -> String {
        self.named("any type")
    }

    fn named(&self, dynamic: &str) -> String {
        let of = |what: &str, element: &Type| format!("{what} of {}", element.named_element(dynamic));
        match self {
            Type::Dynamic => dynamic.into(),
            Type::Bool => "bool".into(),
            Type::Number => "number".into(),
            Type::String => "string".into(),
            Type::Bytes => "bytes".into(),
            Type::List(element) => of("list", element),
            Type::Set(element) => of("set", element),
            Type::Map(element) => of("map", element),
            Type::Tuple(_) => "tuple".into(),
            Type::Object(_) => "object".into(),
        }
    }

    fn named_element(&self, dynamic: &str) -> String {
        if *self == Type::Dynamic && dynamic == "any type" { "any single type".into() } else { self.named(dynamic) }
    }
}
