//! The order of a set's elements: that of go-cty.

use super::Value;
use std::cmp::Ordering;

/// Puts elements in order and drops those that equal an earlier one.
pub fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    match values.iter().all(|value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))) {
        true => values.sort_by(compare),
        false => values.sort_by_cached_key(|value| (value.is_null(), key(value))),
    }
    values.dedup_by(|a, b| a.equals(b));
    values
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => key(a).cmp(&key(b)),
    }
}

/// Text that orders values which have no order of their own.
fn key(value: &Value) -> String {
    let joined = |values: &[Value]| values.iter().map(|value| key(value) + ";").collect::<String>();
    match value {
        Value::Null(_) => "~".into(),
        Value::Bool(true) => "T".into(),
        Value::Bool(false) => "F".into(),
        Value::Number(number) => number.text_general(Some(10)),
        Value::String(text) => format!("{text:?}"),
        Value::List(_, items) | Value::Set(_, items) => format!("[{}]", joined(&items.values)),
        Value::Tuple(items) => format!("<{}>", joined(&items.values)),
        Value::Map(_, entries) => {
            let entry = |(name, value)| format!("{name:?}:{};", key(value));
            format!("{{{}}}", entries.values.iter().map(entry).collect::<String>())
        }
        Value::Object(entries) => {
            format!("<{}>", entries.values.values().map(|value| key(value) + ";").collect::<String>())
        }
    }
}
