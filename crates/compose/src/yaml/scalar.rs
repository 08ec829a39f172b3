//! The types of plain scalars, as the YAML library of compose's reference implementation resolves
//! them: YAML 1.2's booleans, and the numbers of Go, with `_`, `0x`, `0b`, `0o` and the octal
//! `0644`.

use crate::node::Value;
use crate::timestamp::Timestamp;

/// The value of a scalar with its tag. The error is the type that the tag requires.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<&str>) -> Result<Value, &'static str> {
    let asked = match tag {
        None if plain => return Ok(typed(text, true)),
        None | Some("!" | "!!str" | "!!binary") => return Ok(Value::Text(text.to_owned())),
        Some(tag) => tag,
    };
    let value = typed(text, asked == "!!timestamp");
    match (asked, value) {
        ("!!bool", value @ Value::Bool(_))
        | ("!!int", value @ (Value::Int(_) | Value::Big(_)))
        | ("!!float", value @ Value::Float(_))
        | ("!!null", value @ Value::Null)
        | ("!!timestamp", value @ Value::Time(_)) => Ok(value),
        ("!!float", Value::Int(number)) => Ok(Value::Float(number as f64)),
        ("!!bool", _) => Err("a boolean"),
        ("!!int", _) => Err("an integer"),
        ("!!float", _) => Err("a number"),
        ("!!null", _) => Err("nothing"),
        ("!!timestamp", _) => Err("a date"),
        _ => Ok(if plain { typed(text, true) } else { Value::Text(text.to_owned()) }),
    }
}

fn typed(text: &str, dates: bool) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        "-0" | "-0.0" => return Value::Float(-0.0),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return Value::Text(text.to_owned());
    }
    if dates && let Some(time) = Timestamp::parse(text) {
        return Value::Time(time);
    }
    number(text).unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn number(text: &str) -> Option<Value> {
    let digits = text.replace('_', "");
    if let Some(value) = whole(&digits) {
        return Some(value);
    }
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|part| part.strip_prefix(['-', '+']).unwrap_or(part));
    let valid = all_digits(before)
        && all_digits(after)
        && !(before.is_empty() && after.is_empty())
        && exponent.is_none_or(|part| !part.is_empty() && all_digits(part));
    let value: f64 = digits.parse().ok().filter(|value: &f64| valid && value.is_finite())?;
    Some(Value::Float(value))
}

fn whole(digits: &str) -> Option<Value> {
    let (sign, rest) = match digits.as_bytes().first()? {
        b'-' => ("-", &digits[1..]),
        b'+' => ("", &digits[1..]),
        _ => ("", digits),
    };
    let (radix, rest) = match rest.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &rest[2..]),
        [b'0', b'o' | b'O', ..] => (8, &rest[2..]),
        [b'0', b'b' | b'B', ..] => (2, &rest[2..]),
        [b'0', _, ..] => (8, &rest[1..]),
        _ => (10, rest),
    };
    if rest.is_empty() || !rest.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    if let Ok(value) = i64::from_str_radix(&format!("{sign}{rest}"), radix) {
        return Some(Value::Int(value));
    }
    u64::from_str_radix(rest, radix).ok().filter(|_| sign.is_empty()).map(Value::Big)
}
