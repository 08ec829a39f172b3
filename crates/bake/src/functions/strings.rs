//! Functions on text.

use super::{Builtin, Failure, Kind, affordable, number, parameter, row, string, text, variadic, whole};
use crate::value::Value;
use unicode_segmentation::UnicodeSegmentation;

pub const TABLE: &[Builtin] = &[
    row("basename", &[string("path")], |_, a| Ok(Value::string(basename(text(a, 0))))),
    row("chomp", &[string("str")], |_, a| Ok(Value::string(text(a, 0).trim_end_matches(['\r', '\n'])))),
    row("dirname", &[string("path")], |_, a| Ok(Value::string(dirname(text(a, 0))))),
    row("homedir", &[], |host, _| Ok(Value::string(host.home()))),
    row("indent", &[number("spaces"), string("str")], |_, a| indent(a)),
    variadic("join", &[string("separator")], parameter("lists", Kind::Strings), |_, a| join(a)),
    row("lower", &[string("str")], |_, a| Ok(Value::string(mapped(text(a, 0), |c| c.to_lowercase().collect())))),
    row("reverse", &[string("str")], |_, a| Ok(Value::string(text(a, 0).graphemes(true).rev().collect::<String>()))),
    row("sanitize", &[string("name")], |_, a| {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
        Ok(Value::string(text(a, 0).chars().map(safe).collect::<String>()))
    }),
    row("split", &[string("separator"), string("str")], |_, a| Ok(Value::strings(split(text(a, 0), text(a, 1))))),
    row("strlen", &[string("str")], |_, a| {
        Ok(Value::integer(i64::try_from(text(a, 0).graphemes(true).count()).unwrap_or(i64::MAX)))
    }),
    row("substr", &[string("str"), number("offset"), number("length")], |_, a| substr(a)),
    row("title", &[string("str")], |_, a| Ok(Value::string(title(text(a, 0))))),
    row("trim", &[string("str"), string("cutset")], |_, a| {
        let set: Vec<char> = text(a, 1).chars().collect();
        Ok(Value::string(text(a, 0).trim_matches(&set[..])))
    }),
    row("trimprefix", &[string("str"), string("prefix")], |_, a| {
        Ok(Value::string(text(a, 0).strip_prefix(text(a, 1)).unwrap_or(text(a, 0))))
    }),
    row("trimspace", &[string("str")], |_, a| Ok(Value::string(text(a, 0).trim()))),
    row("trimsuffix", &[string("str"), string("suffix")], |_, a| {
        Ok(Value::string(text(a, 0).strip_suffix(text(a, 1)).unwrap_or(text(a, 0))))
    }),
    row("upper", &[string("str")], |_, a| Ok(Value::string(mapped(text(a, 0), |c| c.to_uppercase().collect())))),
];

/// Maps each character to one, as Go does: those that would become several stay.
fn mapped(text: &str, map: fn(char) -> Vec<char>) -> String {
    let one = |c: char| match map(c).as_slice() {
        [only] => *only,
        _ => c,
    };
    text.chars().map(one).collect()
}

/// The last element of a path.
pub fn basename(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".",
        (_, "") => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// All but the last element of a path.
pub fn dirname(path: &str) -> String {
    crate::paths::clean(path.rfind('/').map_or("", |at| &path[..=at]))
}

fn split<'a>(separator: &str, text: &'a str) -> Vec<&'a str> {
    match separator {
        "" => text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect(),
        _ => text.split(separator).collect(),
    }
}

fn indent(arguments: &[Value]) -> Result<Value, Failure> {
    let spaces = usize::try_from(whole(arguments, 0)?).map_err(|_| "the number of spaces must not be negative")?;
    let text = text(arguments, 1);
    let lines = text.matches('\n').count();
    affordable(spaces.checked_mul(lines).and_then(|more| more.checked_add(text.len())))?;
    Ok(Value::string(text.replace('\n', &format!("\n{}", " ".repeat(spaces)))))
}

fn join(arguments: &[Value]) -> Result<Value, Failure> {
    let (separator, lists) = (text(arguments, 0), arguments.get(1..).unwrap_or_default());
    if lists.is_empty() {
        return Err("at least one list is required".into());
    }
    let mut parts = Vec::new();
    for (at, list) in lists.iter().enumerate() {
        for (element, value) in list.elements().unwrap_or_default().iter().enumerate() {
            parts.push(value.as_str().ok_or_else(|| {
                let of = if lists.len() > 1 { format!(" of list {}", at + 1) } else { String::new() };
                let why = format!("element {element}{of} is null; cannot concatenate null values");
                Failure::Argument(at + 1, why)
            })?);
        }
    }
    let length: usize = parts.iter().map(|part| part.len()).sum();
    affordable(separator.len().checked_mul(parts.len()).and_then(|more| more.checked_add(length)))?;
    Ok(Value::string(parts.join(separator)))
}

fn substr(arguments: &[Value]) -> Result<Value, Failure> {
    let (offset, length) = (whole(arguments, 1)?, whole(arguments, 2)?);
    let clusters: Vec<&str> = text(arguments, 0).graphemes(true).collect();
    let count = i64::try_from(clusters.len()).unwrap_or(i64::MAX);
    if offset >= 0 && length == 0 {
        return Ok(Value::string(""));
    }
    let start = if offset < 0 { (offset + count).max(0) } else { offset.min(count) };
    let start = usize::try_from(start).unwrap_or(0);
    let rest = &clusters[start..];
    // A length of 0 after a negative offset takes all, as go-cty has it.
    let take = usize::try_from(length).ok().filter(|take| *take > 0).unwrap_or(rest.len());
    Ok(Value::string(rest.iter().take(take).copied().collect::<String>()))
}

fn title(text: &str) -> String {
    let in_word = |c: char| c.is_alphanumeric() || c == '_' || (!c.is_ascii() && !c.is_whitespace());
    let mut before = ' ';
    let mut made = String::with_capacity(text.len());
    for c in text.chars() {
        match in_word(before) {
            false => made.push_str(&mapped(&c.to_string(), |c| c.to_uppercase().collect())),
            true => made.push(c),
        }
        before = c;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_gos_path_does() {
        assert_eq!([basename(""), basename("/"), basename("a/b/"), basename("x")], [".", "/", "b", "x"]);
        assert_eq!([dirname(""), dirname("/a"), dirname("a/b/c"), dirname("x")], [".", "/", "a/b", "."]);
    }

    #[test]
    fn parts_are_counted_in_what_a_reader_sees() {
        let family = "👨‍👩‍👧é";
        let part = substr(&[Value::string(family), Value::integer(1), Value::integer(1)]).expect("a part");
        assert_eq!(part.as_str(), Some("é"));
    }
}
