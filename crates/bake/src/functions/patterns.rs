//! Functions that search text.

use super::{Builtin, Failure, affordable, row, string, text};
use crate::value::{Text, Type, Value};
use regex::{Captures, Regex, RegexBuilder};

pub const TABLE: &[Builtin] = &[
    row("regex", &[string("pattern"), string("string")], |_, a| one(a)),
    row("regex_replace", &[string("str"), string("pattern"), string("replace")], |_, a| regex_replace(a)),
    row("regexall", &[string("pattern"), string("string")], |_, a| all(a)),
    row("replace", &[string("str"), string("substr"), string("replace")], |_, a| replace(a)),
];

/// Bytes that a compiled pattern may take.
const LARGEST: usize = 4 << 20;

fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(&rewritten(pattern)).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
    built.map_err(|error| {
        let text = error.to_string();
        format!("invalid regexp pattern: {}", text.lines().last().unwrap_or_default().trim_start_matches("error: "))
    })
}

/// The pattern in this library's words: Go's `\d`, `\s`, `\w` and `\b` know ASCII alone, and it has `\Q…\E`.
fn rewritten(pattern: &str) -> String {
    let mut made = String::with_capacity(pattern.len());
    let (mut rest, mut class) = (pattern, 0usize);
    while let Some(c) = rest.chars().next() {
        let Some(escape) = rest.strip_prefix('\\') else {
            match c {
                '[' if class == 0 => class = 1,
                // A bracket at the beginning of a class is one of its characters.
                '[' if !rest.starts_with("[:") => made.push('\\'),
                ']' if class == 1 && !made.ends_with(['[', '^']) => class = 0,
                '&' | '~' | '-' if class == 1 && rest[1..].starts_with(c) => made.push('\\'),
                _ => {}
            }
            made.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let letter = escape.chars().next();
        if letter == Some('Q') && class == 0 {
            let quoted = escape[1..].split_once("\\E").map_or((&escape[1..], ""), |parts| parts);
            made.push_str(&regex::escape(quoted.0));
            rest = quoted.1;
            continue;
        }
        let ascii = match letter {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => r"[\t\n\x0c\r ]",
            Some('S') => r"[^\t\n\x0c\r ]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some('b') if class == 0 => r"(?-u:\b)",
            Some('B') if class == 0 => r"(?-u:\B)",
            _ => "",
        };
        let length = letter.map_or(0, char::len_utf8);
        match ascii {
            "" => made.push_str(&rest[..1 + length]),
            ascii => made.push_str(ascii),
        }
        rest = &escape[length..];
    }
    made
}

fn pattern(arguments: &[Value]) -> Result<Regex, Failure> {
    let regex = compile(text(arguments, 0)).map_err(|why| Failure::Argument(0, why))?;
    let named = regex.capture_names().flatten().count();
    if named > 0 && named + 1 < regex.captures_len() {
        let why = "invalid regexp pattern: cannot mix both named and unnamed capture groups";
        return Err(Failure::Argument(0, why.into()));
    }
    Ok(regex)
}

/// The whole match, or its groups: a tuple, or an object where they have names.
fn groups(regex: &Regex, found: &Captures<'_>) -> Value {
    let group = |found: Option<regex::Match<'_>>| {
        found.map_or(Value::Null(Type::String), |found| Value::string(found.as_str()))
    };
    if regex.captures_len() == 1 {
        return group(found.get(0));
    }
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    if names.is_empty() {
        return Value::tuple((1..regex.captures_len()).map(|at| group(found.get(at))).collect());
    }
    Value::object(names.into_iter().map(|name| (Text::from(name), group(found.name(name)))).collect())
}

fn one(arguments: &[Value]) -> Result<Value, Failure> {
    let regex = pattern(arguments)?;
    let found = regex.captures(text(arguments, 1)).ok_or("pattern did not match any part of the given string")?;
    Ok(groups(&regex, &found))
}

fn all(arguments: &[Value]) -> Result<Value, Failure> {
    let regex = pattern(arguments)?;
    let values: Vec<Value> = regex.captures_iter(text(arguments, 1)).map(|found| groups(&regex, &found)).collect();
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    let element = match (regex.captures_len(), names.is_empty()) {
        (1, _) => Type::String,
        (count, true) => Type::Tuple(vec![Type::String; count - 1].into()),
        _ => Type::object(names.into_iter().map(|name| (Text::from(name), Type::String))),
    };
    Ok(Value::list(element, values))
}

fn regex_replace(arguments: &[Value]) -> Result<Value, Failure> {
    let regex = compile(text(arguments, 1))?;
    let (whole, replacement) = (text(arguments, 0), text(arguments, 2));
    let mut made = String::new();
    let mut end = 0;
    for found in regex.captures_iter(whole) {
        let Some(place) = found.get(0) else { continue };
        made.push_str(&whole[end..place.start()]);
        found.expand(replacement, &mut made);
        affordable(Some(made.len()))?;
        end = place.end();
    }
    made.push_str(&whole[end..]);
    Ok(Value::string(made))
}

fn replace(arguments: &[Value]) -> Result<Value, Failure> {
    let (whole, part, replacement) = (text(arguments, 0), text(arguments, 1), text(arguments, 2));
    let count = if part.is_empty() { whole.chars().count() + 1 } else { whole.matches(part).count() };
    affordable(replacement.len().checked_mul(count).and_then(|more| more.checked_add(whole.len())))?;
    Ok(Value::string(whole.replace(part, replacement)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> String {
        let all = all(&[Value::string(pattern), Value::string(text)]);
        let all = all.unwrap_or_else(|failure| panic!("{pattern}: {failure:?}"));
        crate::value::to_json(&all)
    }

    #[test]
    fn patterns_are_gos() {
        assert_eq!(found(r"\d+", "a12 b٣"), r#"["12"]"#);
        assert_eq!(found(r"[\w-]+\s", "ab-c d"), r#"["ab-c "]"#);
        assert_eq!(found(r"\bx\b", "x xx"), r#"["x"]"#);
        assert_eq!(found(r"\Qa.b\E+", "a.bb axb"), r#"["a.bb"]"#);
        assert_eq!(found(r"(?i)É", "é"), r#"["é"]"#);
        assert_eq!(found(r"[[:alpha:]]+", "ab1"), r#"["ab"]"#);
        assert_eq!(found("(a)(b)?", "ab a"), r#"[["a","b"],["a",null]]"#);
        assert!(one(&[Value::string("("), Value::string("")]).is_err());
    }
}
