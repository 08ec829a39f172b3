//! Functions on maps and objects.

use super::{Builtin, Failure, Kind, any, items, nullable, parameter, row, string, text, variadic};
use crate::value::{Text, Type, Value, convert};
use std::collections::BTreeMap;

pub const TABLE: &[Builtin] = &[
    row("keys", &[any("inputMap")], |_, a| keys(a)),
    row("lookup", &[any("inputMap"), string("key"), any("default")], |_, a| lookup(a)),
    variadic("merge", &[], nullable("maps"), |_, a| merge(a)),
    row("values", &[any("mapping")], |_, a| values(a)),
    row("zipmap", &[parameter("keys", Kind::Strings), any("values")], |_, a| zip(a)),
];

fn keys(arguments: &[Value]) -> Result<Value, Failure> {
    let names = |entries: &BTreeMap<Text, Value>| entries.keys().cloned().map(Value::String).collect();
    match &arguments[0] {
        Value::Map(_, entries) => Ok(Value::list(Type::String, names(&entries.values))),
        Value::Object(entries) => Ok(Value::tuple(names(&entries.values))),
        _ => Err(Failure::Argument(0, "must have map or object type".into())),
    }
}

fn values(arguments: &[Value]) -> Result<Value, Failure> {
    let all = |entries: &BTreeMap<Text, Value>| entries.values().cloned().collect();
    match &arguments[0] {
        Value::Map(element, entries) => Ok(Value::list(element.clone(), all(&entries.values))),
        Value::Object(entries) => Ok(Value::tuple(all(&entries.values))),
        _ => Err("values() requires a map as the first argument".into()),
    }
}

fn lookup(arguments: &[Value]) -> Result<Value, Failure> {
    let (key, default) = (text(arguments, 1), &arguments[2]);
    match &arguments[0] {
        Value::Object(entries) => Ok(entries.values.get(key).unwrap_or(default).clone()),
        Value::Map(element, entries) => {
            let default = convert(default, element).map_err(|_| {
                Failure::Argument(2, "the default value must have the same type as the map elements".into())
            })?;
            Ok(entries.values.get(key).cloned().unwrap_or(default))
        }
        _ => Err(Failure::Argument(0, "lookup() requires a map as the first argument".into())),
    }
}

fn merge(arguments: &[Value]) -> Result<Value, Failure> {
    let mut merged = BTreeMap::new();
    for value in arguments {
        let kind = value.kind();
        if !matches!(kind, Type::Map(_) | Type::Object(_) | Type::Dynamic) {
            return Err(format!("arguments must be maps or objects, got {:?}", kind.name()).into());
        }
        if let Some(entries) = value.entries() {
            merged.extend(entries.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    let first = arguments.first().map(Value::kind);
    match first {
        Some(Type::Map(element)) if arguments.iter().all(|value| value.kind() == Type::Map(element.clone())) => {
            Ok(Value::map((*element).clone(), merged))
        }
        _ => Ok(Value::object(merged)),
    }
}

fn zip(arguments: &[Value]) -> Result<Value, Failure> {
    let (keys, elements) = (items(arguments, 0), &arguments[1]);
    let all = match elements {
        Value::List(_, items) | Value::Tuple(items) => &items.values,
        _ => return Err("values argument must be a list or tuple value".into()),
    };
    if keys.len() != all.len() {
        let why = format!("number of keys ({}) does not match number of values ({})", keys.len(), all.len());
        return Err(why.into());
    }
    let mut zipped = BTreeMap::new();
    for (at, (key, value)) in keys.iter().zip(all).enumerate() {
        let key = key.as_str().ok_or_else(|| format!("keys list has null value at index {at}"))?;
        zipped.insert(Text::from(key), value.clone());
    }
    match elements {
        Value::List(element, _) => Ok(Value::map(element.clone(), zipped)),
        _ => Ok(Value::object(zipped)),
    }
}
