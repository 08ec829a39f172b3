//! The functions that a template may call: one row each.

use crate::print::{is_true, printed};
use crate::printf::sprintf;
use serde_json::Value;
use std::cmp::Ordering;

/// The result of a function, or the reason why it refuses its arguments.
type Outcome = Result<Value, String>;

/// Name, fewest and most arguments, and what it does.
type Row = (&'static str, usize, usize, fn(&[Value]) -> Outcome);

const MANY: usize = usize::MAX;

/// Go's predefined functions, then those that docker adds.
const FUNCTIONS: &[Row] = &[
    ("and", 1, MANY, |args| Ok(args.iter().find(|arg| !is_true(arg)).or(args.last()).cloned().unwrap_or(Value::Null))),
    ("or", 1, MANY, |args| Ok(args.iter().find(|arg| is_true(arg)).or(args.last()).cloned().unwrap_or(Value::Null))),
    ("not", 1, 1, |args| Ok(Value::Bool(!is_true(&args[0])))),
    ("eq", 2, MANY, |args| {
        args[1..].iter().try_fold(false, |yes, arg| Ok(yes | equal(&args[0], arg)?)).map(Value::Bool)
    }),
    ("ne", 2, 2, |args| equal(&args[0], &args[1]).map(|yes| Value::Bool(!yes))),
    ("lt", 2, 2, |args| order(args).map(|order| Value::Bool(order == Ordering::Less))),
    ("le", 2, 2, |args| order(args).map(|order| Value::Bool(order != Ordering::Greater))),
    ("gt", 2, 2, |args| order(args).map(|order| Value::Bool(order == Ordering::Greater))),
    ("ge", 2, 2, |args| order(args).map(|order| Value::Bool(order != Ordering::Less))),
    ("index", 1, MANY, |args| args[1..].iter().try_fold(args[0].clone(), |value, key| index(&value, key))),
    ("slice", 1, 3, slice),
    ("len", 1, 1, |args| length(&args[0])),
    ("print", 0, MANY, |args| Ok(Value::String(print(args)))),
    ("println", 0, MANY, |args| Ok(Value::String(args.iter().map(printed).collect::<Vec<_>>().join(" ") + "\n"))),
    ("printf", 1, MANY, |args| Ok(Value::String(sprintf(text(&args[0])?, &args[1..])))),
    ("html", 0, MANY, |args| Ok(Value::String(escaped(&print(args), html_character)))),
    ("js", 0, MANY, |args| Ok(Value::String(escaped(&print(args), js_character)))),
    ("urlquery", 0, MANY, |args| Ok(Value::String(print(args).bytes().map(query_byte).collect()))),
    ("json", 1, 1, |args| serde_json::to_string(&args[0]).map(Value::String).map_err(|error| error.to_string())),
    ("join", 2, 2, join),
    ("split", 2, 2, |args| {
        let (all, by) = (text(&args[0])?, text(&args[1])?);
        Ok(if by.is_empty() { all.chars().map(String::from).collect() } else { all.split(by).collect::<Value>() })
    }),
    ("lower", 1, 1, |args| Ok(Value::String(text(&args[0])?.to_lowercase()))),
    ("upper", 1, 1, |args| Ok(Value::String(text(&args[0])?.to_uppercase()))),
    ("title", 1, 1, |args| Ok(Value::String(title(text(&args[0])?)))),
    ("pad", 3, 3, pad),
    ("truncate", 2, 2, |args| {
        let most = usize::try_from(whole(&args[1])?).unwrap_or(0);
        Ok(Value::String(text(&args[0])?.chars().take(most).collect()))
    }),
];

/// True if a word names a function.
pub(crate) fn is_known(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Calls a function. What it makes is no larger than `most` bytes.
pub(crate) fn call(name: &str, args: &[Value], most: usize) -> Outcome {
    let row = FUNCTIONS.iter().find(|(known, ..)| *known == name);
    let Some((_, fewest, largest, function)) = row else { return Err("not a function".to_owned()) };
    if args.len() < *fewest || args.len() > *largest {
        return Err(format!("wrong number of args: want {fewest} got {}", args.len()));
    }
    let value = function(args)?;
    match &value {
        Value::String(text) if text.len() > most => Err("the result is too large".to_owned()),
        _ => Ok(value),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("wrong type for value; expected string; got {}", kind(value)))
}

fn whole(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("wrong type for value; expected int; got {}", kind(value)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn equal(one: &Value, two: &Value) -> Result<bool, String> {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => Ok(one.as_f64() == two.as_f64()),
        (Value::Null, _) | (_, Value::Null) => Ok(one == two),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("non-comparable type".to_owned())
        }
        _ if std::mem::discriminant(one) != std::mem::discriminant(two) => {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Ok(one == two),
    }
}

fn order(args: &[Value]) -> Result<Ordering, String> {
    match (&args[0], &args[1]) {
        (Value::Number(one), Value::Number(two)) => {
            let order = one.as_f64().zip(two.as_f64()).and_then(|(one, two)| one.partial_cmp(&two));
            order.ok_or_else(|| "incomparable numbers".to_owned())
        }
        (Value::String(one), Value::String(two)) => Ok(one.cmp(two)),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn index(value: &Value, key: &Value) -> Outcome {
    match value {
        Value::Array(items) => {
            let at = whole(key)?;
            let found = usize::try_from(at).ok().and_then(|at| items.get(at));
            found.cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        Value::Object(fields) => Ok(fields.get(text(key)?).cloned().unwrap_or(Value::String(String::new()))),
        Value::String(text) => {
            let at = whole(key)?;
            let byte = usize::try_from(at).ok().and_then(|at| text.as_bytes().get(at).copied());
            byte.map(Value::from).ok_or_else(|| format!("index out of range: {at}"))
        }
        Value::Null => Err("index of untyped nil".to_owned()),
        other => Err(format!("can't index item of type {}", kind(other))),
    }
}

fn slice(args: &[Value]) -> Outcome {
    let size = match &args[0] {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        other => return Err(format!("can't slice item of type {}", kind(other))),
    };
    let place = |at: usize, default: usize| match args.get(at) {
        Some(value) => {
            let place = usize::try_from(whole(value)?).ok().filter(|place| *place <= size);
            place.ok_or_else(|| format!("index out of range: {}", printed(value)))
        }
        None => Ok(default),
    };
    let (from, to) = (place(1, 0)?, place(2, size)?);
    match &args[0] {
        Value::String(text) => text.get(from..to).map(Value::from),
        Value::Array(items) => items.get(from..to).map(Value::from),
        _ => None,
    }
    .ok_or_else(|| format!("invalid slice index: {from} > {to}"))
}

fn length(value: &Value) -> Outcome {
    match value {
        Value::String(text) => Ok(Value::from(text.len())),
        Value::Array(items) => Ok(Value::from(items.len())),
        Value::Object(fields) => Ok(Value::from(fields.len())),
        Value::Null => Err("len of nil pointer".to_owned()),
        other => Err(format!("len of type {}", kind(other))),
    }
}

/// Go's `Sprint`: a blank between two operands if neither is a string.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        if at > 0 && !arg.is_string() && !args[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&printed(arg));
    }
    out
}

fn join(args: &[Value]) -> Outcome {
    let by = text(&args[1])?;
    match &args[0] {
        Value::Array(items) => Ok(Value::String(items.iter().map(printed).collect::<Vec<_>>().join(by))),
        Value::Null => Ok(Value::String(String::new())),
        other => Err(format!("wrong type for value; expected []string; got {}", kind(other))),
    }
}

fn title(text: &str) -> String {
    let mut begins = true;
    let capital = |c: char| {
        let upper = std::mem::replace(&mut begins, !(c.is_alphanumeric() || c == '_' || c == '\''));
        if upper { c.to_uppercase().to_string() } else { c.to_string() }
    };
    text.chars().map(capital).collect()
}

/// Blanks before and after a text, which stays empty if it is.
fn pad(args: &[Value]) -> Outcome {
    let text = text(&args[0])?;
    if text.is_empty() {
        return Ok(Value::String(String::new()));
    }
    let blanks = |value| whole(value).map(|count| " ".repeat(usize::try_from(count).unwrap_or(0).min(1000)));
    Ok(Value::String(format!("{}{text}{}", blanks(&args[1])?, blanks(&args[2])?)))
}

fn escaped(text: &str, special: fn(char) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match special(c) {
            Some(replaced) => out.push_str(&replaced),
            None => out.push(c),
        }
    }
    out
}

fn html_character(c: char) -> Option<String> {
    let entity = match c {
        '\0' => "\u{fffd}",
        '"' => "&#34;",
        '\'' => "&#39;",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => return None,
    };
    Some(entity.to_owned())
}

fn js_character(c: char) -> Option<String> {
    Some(match c {
        '\\' => "\\\\".to_owned(),
        '\'' => "\\'".to_owned(),
        '"' => "\\\"".to_owned(),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", u32::from(c)),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        _ => return None,
    })
}

fn query_byte(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    }
}
