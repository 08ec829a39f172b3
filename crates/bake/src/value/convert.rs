//! Conversions between types, as go-cty allows them.

use super::{Fields, Text, Type, Value, mismatch, unify};
use crate::number::Number;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Converts a value, or says why that is not possible.
pub fn convert(value: &Value, want: &Type) -> Result<Value, String> {
    let got = value.kind();
    if got == want.without_optional() {
        return Ok(value.clone());
    }
    if *want == Type::Dynamic {
        return Ok(value.clone());
    }
    if !possible(&got, want) {
        return Err(mismatch(&got, want));
    }
    if value.is_null() {
        return Ok(Value::Null(filled(&got, &want.without_optional())));
    }
    known(value, want)
}

/// True where some values of a type can be converted to another.
pub fn possible(got: &Type, want: &Type) -> bool {
    between(got, want, true)
}

/// True where all values of a type can be converted to another.
pub fn safe(got: &Type, want: &Type) -> bool {
    between(got, want, false)
}

fn between(got: &Type, want: &Type, lossy: bool) -> bool {
    let same = |got: &Type, want: &Type| got == want || between(got, want, lossy);
    let elements = |want: &Type, all: &mut dyn Iterator<Item = &Type>| {
        let all: Vec<Type> = all.cloned().collect();
        match want {
            Type::Dynamic => all.is_empty() || unify(&all, lossy).is_some(),
            want => all.iter().all(|got| same(got, want)),
        }
    };
    match (got, want) {
        (_, Type::Dynamic) => true,
        (Type::Dynamic, _) => lossy,
        (Type::Number | Type::Bool, Type::String) => true,
        (Type::String, Type::Number | Type::Bool) => lossy,
        (Type::Object(got), Type::Object(want)) => want.types.iter().all(|(name, want_type)| {
            got.types.get(name).map_or(want.optional.contains(name), |got| same(got, want_type))
        }),
        (Type::Tuple(got), Type::Tuple(want)) => {
            got.len() == want.len() && got.iter().zip(want.iter()).all(|(got, want)| same(got, want))
        }
        (Type::List(got) | Type::Set(got), Type::List(want)) => same(got, want),
        (Type::List(got), Type::Set(want)) => lossy && same(got, want),
        (Type::Set(got), Type::Set(want)) | (Type::Map(got), Type::Map(want)) => same(got, want),
        (Type::Tuple(got), Type::List(want) | Type::Set(want)) => elements(want, &mut got.iter()),
        (Type::Object(got), Type::Map(want)) => elements(want, &mut got.types.values()),
        (Type::Map(got), Type::Object(want)) => {
            lossy && want.types.iter().all(|(name, kind)| same(got, kind) || want.optional.contains(name))
        }
        _ => false,
    }
}

fn known(value: &Value, want: &Type) -> Result<Value, String> {
    match (value, want) {
        (Value::Number(number), Type::String) => Ok(Value::string(number.text_fixed(None))),
        (Value::Bool(truth), Type::String) => Ok(Value::string(if *truth { "true" } else { "false" })),
        (Value::String(text), Type::Number) => {
            Number::parse(text).map(Value::Number).ok_or_else(|| "a number is required".into())
        }
        (Value::String(text), Type::Bool) => to_bool(text),
        (Value::Object(entries), Type::Object(fields)) => object(&entries.values, fields),
        (Value::Map(_, entries), Type::Object(fields)) => {
            for (name, kind) in &fields.types {
                match entries.values.get(name) {
                    Some(element) if !possible(&element.kind(), kind) && element.kind() != *kind => {
                        let why = mismatch(&element.kind(), kind);
                        return Err(format!("map element type is incompatible with attribute {name:?}: {why}"));
                    }
                    None if !fields.optional.contains(name) => {
                        return Err(format!("map has no element for required attribute {name:?}"));
                    }
                    _ => {}
                }
            }
            object(&entries.values, fields)
        }
        (Value::Tuple(items), Type::Tuple(wants)) => {
            let converted = items.values.iter().zip(wants.iter()).map(|(value, want)| convert(value, want));
            Ok(Value::tuple(converted.collect::<Result<_, _>>()?))
        }
        (Value::List(..) | Value::Set(..) | Value::Tuple(_), Type::List(element)) => {
            let (element, values) = alike(value, value.elements().unwrap_or_default(), element)?;
            Ok(Value::list(element, values))
        }
        (Value::List(..) | Value::Set(..) | Value::Tuple(_), Type::Set(element)) => {
            let (element, values) = alike(value, value.elements().unwrap_or_default(), element)?;
            Ok(Value::set(element, values))
        }
        (Value::Map(_, entries) | Value::Object(entries), Type::Map(element)) => {
            let values: Vec<Value> = entries.values.values().cloned().collect();
            let (element, values) = alike(value, &values, element)?;
            Ok(Value::map(element, entries.values.keys().cloned().zip(values).collect()))
        }
        _ => Err(mismatch(&value.kind(), want)),
    }
}

fn to_bool(text: &str) -> Result<Value, String> {
    match text {
        "true" | "1" => Ok(Value::Bool(true)),
        "false" | "0" => Ok(Value::Bool(false)),
        _ => match text.to_lowercase().as_str() {
            lower @ ("true" | "false") => {
                Err(format!("a bool is required; to convert from string, use lowercase {lower:?}"))
            }
            _ => Err("a bool is required".into()),
        },
    }
}

fn object(values: &BTreeMap<Text, Value>, fields: &Rc<Fields>) -> Result<Value, String> {
    let mut made = BTreeMap::new();
    for (name, kind) in &fields.types {
        let value = match values.get(name) {
            Some(value) => convert(value, kind)?,
            None => Value::Null(kind.without_optional()),
        };
        made.insert(name.clone(), value);
    }
    Ok(Value::object(made))
}

/// Elements of one type: the one asked for, or that which all have in common.
fn alike(whole: &Value, values: &[Value], want: &Type) -> Result<(Type, Vec<Value>), String> {
    let element = match want {
        Type::Dynamic => match whole {
            Value::List(element, _) | Value::Set(element, _) | Value::Map(element, _) => element.clone(),
            _ if values.is_empty() => Type::Dynamic,
            _ => {
                let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
                unify(&kinds, true).ok_or("all elements must have the same type")?
            }
        },
        want => want.clone(),
    };
    let values: Vec<Value> = values.iter().map(|value| convert(value, &element)).collect::<Result<_, _>>()?;
    if !element.has_dynamic() || values.is_empty() {
        return Ok((element.without_optional(), values));
    }
    let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
    let common = unify(&kinds, true).ok_or("cannot find a common base type for all elements")?;
    let values = values.iter().map(|value| convert(value, &common)).collect::<Result<_, _>>()?;
    Ok((common, values))
}

/// The type of a converted null: what is not known of the wanted type is taken from the given one.
fn filled(got: &Type, want: &Type) -> Type {
    match (got, want) {
        (Type::Dynamic, want) => want.clone(),
        (got, Type::Dynamic) => got.clone(),
        (Type::List(got) | Type::Set(got), Type::List(want)) => Type::list(filled(got, want)),
        (Type::List(got) | Type::Set(got), Type::Set(want)) => Type::set(filled(got, want)),
        (Type::Map(got), Type::Map(want)) => Type::map(filled(got, want)),
        (_, want) => want.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primitives_convert_by_their_text() {
        let number = Value::Number(Number::parse("1.50").expect("a number"));
        assert_eq!(convert(&number, &Type::String).expect("text").as_str(), Some("1.5"));
        assert!(convert(&Value::string("1e3"), &Type::Number).expect("a number").equals(&Value::integer(1000)));
        assert!(convert(&Value::string("True"), &Type::Bool).expect_err("no bool").contains("lowercase \"true\""));
        assert_eq!(convert(&number, &Type::Bool).expect_err("no bool"), "bool required, but have number");
    }

    #[test]
    fn a_tuple_becomes_a_list_of_the_common_type() {
        let mixed = Value::tuple(vec![Value::string("a"), Value::integer(1)]);
        let list = convert(&mixed, &Type::list(Type::Dynamic)).expect("a list");
        assert!(list.equals(&Value::strings(["a", "1"])));
        let bad = Value::tuple(vec![Value::string("a"), Value::tuple(vec![])]);
        let why = convert(&bad, &Type::list(Type::String)).expect_err("no list");
        assert_eq!(why, "element 1: string required, but have tuple");
    }

    #[test]
    fn a_missing_attribute_is_null_where_it_is_optional() {
        let kind = Type::optional_object(&[("id", Type::String), ("src", Type::String)]);
        let value = Value::object([("id".into(), Value::string("x"))].into());
        let made = convert(&value, &kind).expect("an object");
        assert!(made.entries().expect("entries")["src"].is_null());
    }
}
