//! How Go's `fmt` prints a value with `%v`, and when a value counts as true.

use serde_json::{Number, Value};
use std::fmt::Write as _;

/// A value as `{{.}}` prints it.
pub(crate) fn printed(value: &Value) -> String {
    let mut out = String::new();
    print_into(value, &mut out);
    out
}

fn print_into(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                print_into(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // Go sorts the keys of a map.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            out.push_str("map[");
            for (at, (name, value)) in fields.into_iter().enumerate() {
                let _infallible = write!(out, "{}{name}:", if at > 0 { " " } else { "" });
                print_into(value, out);
            }
            out.push(']');
        }
    }
}

/// A number as Go's `%v` has it: whole numbers in full, others by the shortest form.
pub(crate) fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_text(float),
        _ => number.to_string(),
    }
}

/// Go's `%g` with the shortest digits, and an exponent below 1e-4 and from 1e21.
pub(crate) fn float_text(float: f64) -> String {
    if !float.is_finite() {
        let word = if float.is_nan() { "NaN" } else { "Inf" };
        let sign = if float.is_nan() {
            ""
        } else if float > 0.0 {
            "+"
        } else {
            "-"
        };
        return format!("{sign}{word}");
    }
    let size = float.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |rest| ("-", rest));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{float}")
}

/// True if `if` takes its first branch.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}
