//! Prints YAML: block style, indented lists, and quotes around texts whose plain form would mean
//! something else.

use serde_json::Value;

/// A tree as a YAML document.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => items(list, 0, &mut out),
        value => {
            out.push_str(&scalar(value, 0));
            out.push('\n');
        }
    }
    out
}

fn entries(map: &serde_json::Map<String, Value>, depth: usize, out: &mut String) {
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 || depth == 0 || out.ends_with('\n') {
            out.push_str(&"  ".repeat(depth));
        }
        out.push_str(&text(key, depth, true));
        out.push(':');
        below(value, depth, out);
    }
}

fn items(list: &[Value], depth: usize, out: &mut String) {
    for value in list {
        out.push_str(&"  ".repeat(depth));
        out.push('-');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push(' ');
                entries(map, depth + 1, out);
            }
            value => below(value, depth, out),
        }
    }
}

/// Prints the value after `key:` or `-`.
fn below(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            entries(map, depth + 1, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            items(list, depth + 1, out);
        }
        value => {
            out.push(' ');
            out.push_str(&scalar(value, depth + 1));
            out.push('\n');
        }
    }
}

fn scalar(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(value) => text(value, depth, false),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

fn text(value: &str, depth: usize, key: bool) -> String {
    if !key && value.contains('\n') && is_literal(value) {
        return literal(value, depth);
    }
    if is_plain(value) { value.to_owned() } else { quoted(value) }
}

/// True if a text keeps its form in a literal block.
fn is_literal(value: &str) -> bool {
    let printable = value.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control());
    printable && !value.starts_with([' ', '\t', '\n']) && !value.contains('\u{feff}') && !value.contains(" \n")
}

fn literal(value: &str, depth: usize) -> String {
    let body = value.trim_end_matches('\n');
    let indicator = match value.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    };
    let mut out = indicator.to_owned();
    for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&"  ".repeat(depth.max(1)));
            out.push_str(line);
        }
    }
    out
}

/// True if a text without quotes is read as the same text.
fn is_plain(value: &str) -> bool {
    let Some(first) = value.chars().next() else { return false };
    let word = value.to_lowercase();
    let special = matches!(
        word.as_str(),
        "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "<<" | "=" | ".nan" | ".inf"
    );
    let numeric = first.is_ascii_digit()
        || (matches!(first, '+' | '-' | '.') && value.chars().nth(1).is_none_or(|c| c.is_ascii_digit() || c == '.'));
    let starts = "!&*-:?{}[],#|>@`\"'%= ".contains(first) && !is_safe_dash(value);
    let all_safe = value.chars().all(|c| !c.is_control() && c != '\u{feff}' && c != '\u{2028}' && c != '\u{2029}');
    let inside = value.contains(": ") || value.contains(" #") || value.ends_with(':') || value.ends_with(' ');
    !(special || starts || inside || !all_safe || (numeric && is_number_like(value)))
}

/// `-x` is a text, `- x` is a list.
fn is_safe_dash(value: &str) -> bool {
    value.starts_with(['-', ':', '?']) && value.chars().nth(1).is_some_and(|c| c != ' ') && !value.starts_with("---")
}

/// True if a text may be read as a number, a date or a sexagesimal.
fn is_number_like(value: &str) -> bool {
    value.chars().all(|c| {
        c.is_ascii_hexdigit()
            || matches!(c, '+' | '-' | '.' | '_' | ':' | 'x' | 'o' | 'X' | 'T' | 't' | 'Z' | ' ' | 'i' | 'n')
    })
}

fn quoted(value: &str) -> String {
    if !value.chars().any(|c| c.is_control() || matches!(c, '\'' | '\u{feff}' | '\u{2028}' | '\u{2029}'))
        && value.contains(['"', '\\'])
    {
        return format!("'{value}'");
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::encode::raw;
    use crate::place::Sources;

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        let texts = [
            "",
            "a",
            "yes",
            "No",
            "~",
            "1",
            "1.5",
            "-1",
            "-x",
            "- x",
            "-",
            "0x1F",
            "1e3",
            "2026-01-02",
            "22:22",
            "a: b",
            "a #b",
            "#a",
            "a:",
            "*a",
            "&a",
            "!a",
            "{a}",
            "[a]",
            "'a'",
            "\"a\"",
            "a\\b",
            "a\nb",
            "a\nb\n",
            "a\n\nb\n\n",
            " a",
            "a ",
            "\ta",
            "a\r\nb",
            "a\u{1}b",
            "\u{feff}a",
            "ü",
            "<<",
            "=",
            "---",
            "...",
            "?a",
            "? a",
            "a, b",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            ".5",
            "+.inf",
            "a \nb",
            "\n",
            "null",
            "a\u{2028}b",
            "0o17",
            ":a",
            "\u{85}x",
            "\u{7f}",
        ];
        let list: Vec<Value> = texts.iter().map(|text| (*text).into()).collect();
        let map: serde_json::Map<_, _> = texts.iter().map(|text| ((*text).to_owned(), (*text).into())).collect();
        let mut value =
            serde_json::json!({"l": list, "n": [[1, [true, null]], {}, [], {"a": {"b": ["c\nd"]}}], "x": 1.5});
        value["m"] = Value::Object(map);
        let printed = yaml(&value);
        let file = Sources::default().add("printed", &printed);
        let document =
            crate::yaml::parse(&printed, file).unwrap_or_else(|error| panic!("{error}\n{printed}")).remove(0);
        assert_eq!(raw(&document.root)["l"], value["l"], "{printed}");
        assert_eq!(raw(&document.root)["n"], value["n"], "{printed}");
        for (key, text) in value["m"].as_object().into_iter().flatten() {
            assert_eq!(raw(&document.root)["m"][key], *text, "{printed}");
        }
    }
}
