//! Values as JSON text, and the other way round.

use super::{Text, Type, Value, convert, mismatch};
use crate::number::Number;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// JSON as Go's encoder writes it: `<`, `>`, `&` and two separators of lines are escaped.
pub fn to_json(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// Text in quotes, as Go's encoder writes it.
pub fn quoted(text: &str) -> String {
    let plain = serde_json::to_string(text).unwrap_or_default();
    let mut safe = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\u{7f}' => safe.push(c),
            c => safe.push(c),
        }
    }
    safe
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Null(_) => text.push_str("null"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.text_fixed(None)),
        Value::String(string) => text.push_str(&quoted(string)),
        Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => {
            text.push('[');
            for (at, value) in items.values.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        Value::Map(_, entries) | Value::Object(entries) => {
            text.push('{');
            for (at, (name, value)) in entries.values.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&quoted(name));
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
    }
}

/// Reads JSON as a value of the type that it has by itself: objects and tuples.
pub fn implied_type(text: &str) -> Result<Value, String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    read(raw, 0)
}

/// Reads JSON as a value of a type.
pub fn from_json(text: &str, want: &Type) -> Result<Value, String> {
    let value = implied_type(text)?;
    strict(&value, want)?;
    convert(&value, want)
}

/// JSON has types of its own: text is no number, and a number no text, other than in conversions.
fn strict(value: &Value, want: &Type) -> Result<(), String> {
    let required = |what: &str| Err(format!("{what} is required"));
    match (want, value) {
        (_, Value::Null(_)) => Ok(()),
        (Type::Bool, Value::Bool(_)) | (Type::Number | Type::String, Value::Number(_)) => Ok(()),
        (Type::String, Value::String(_) | Value::Bool(_)) | (Type::Dynamic, _) => Ok(()),
        (Type::Number, Value::String(text)) if Number::parse(text).is_some() => Ok(()),
        (Type::Bool, Value::String(text)) if matches!(&**text, "true" | "false" | "1" | "0") => Ok(()),
        (Type::Bool, _) => required("bool"),
        (Type::Number, _) => required("number"),
        (Type::String, _) => required("string"),
        (Type::List(want) | Type::Set(want), Value::Tuple(items)) => {
            items.values.iter().try_for_each(|value| strict(value, want))
        }
        (Type::Map(want), Value::Object(entries)) => entries.values.values().try_for_each(|value| strict(value, want)),
        (Type::Tuple(wants), Value::Tuple(items)) if wants.len() == items.values.len() => {
            items.values.iter().zip(wants.iter()).try_for_each(|(value, want)| strict(value, want))
        }
        (Type::Object(fields), Value::Object(entries)) => {
            for (name, value) in &entries.values {
                match fields.types.get(name) {
                    Some(want) => strict(value, want)?,
                    None => return Err(format!("unsupported attribute {name:?}")),
                }
            }
            Ok(())
        }
        (want, value) => Err(mismatch(&value.kind(), want)),
    }
}

fn read(raw: &RawValue, depth: u32) -> Result<Value, String> {
    const DEEPEST: u32 = 100;
    if depth > DEEPEST {
        return Err("too deeply nested".into());
    }
    let text = raw.get().trim();
    let broken = |error: serde_json::Error| error.to_string();
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(broken)?;
            let read = |(name, raw): (String, &RawValue)| Ok((Text::from(name), read(raw, depth + 1)?));
            Ok(Value::object(members.into_iter().map(read).collect::<Result<_, String>>()?))
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
            Ok(Value::tuple(elements.into_iter().map(|raw| read(raw, depth + 1)).collect::<Result<_, _>>()?))
        }
        Some(b'"') => Ok(Value::string(serde_json::from_str::<String>(text).map_err(broken)?)),
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        Some(b'n') => Ok(Value::Null(Type::Dynamic)),
        _ => Number::parse(text).map(Value::Number).ok_or_else(|| "a number is required".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_go_writes_it() {
        let value = Value::object(
            [
                ("b".into(), Value::tuple(vec![Value::integer(1), Value::Bool(true)])),
                ("a".into(), Value::string("<&>")),
            ]
            .into(),
        );
        assert_eq!(to_json(&value), r#"{"a":"\u003c\u0026\u003e","b":[1,true]}"#);
    }

    #[test]
    fn json_is_read_by_type() {
        let kind = Type::list(Type::Number);
        assert!(from_json("[1, 2.5]", &kind).expect("a list").elements().expect("elements").len() == 2);
        assert!(from_json("{}", &kind).is_err());
        let large = implied_type("123456789012345678901234567890").expect("a number");
        assert_eq!(to_json(&large), "123456789012345678901234567890");
    }
}
