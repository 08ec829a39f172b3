//! `format` and `formatlist`.

use super::{Builtin, Failure, affordable, nullable, string, text, variadic};
use crate::number::Number;
use crate::value::{Type, Value, convert, to_json};
use unicode_segmentation::UnicodeSegmentation;

pub const TABLE: &[Builtin] = &[
    variadic("format", &[string("format")], nullable("args"), |_, a| Ok(Value::string(format(text(a, 0), &a[1..])?))),
    variadic("formatlist", &[string("format")], nullable("args"), |_, a| format_list(text(a, 0), &a[1..])),
];

/// Widest field.
const WIDEST: usize = 1 << 16;

fn format_list(pattern: &str, arguments: &[Value]) -> Result<Value, Failure> {
    let mut length: Option<(usize, usize)> = None;
    for (at, value) in arguments.iter().enumerate() {
        let Some(elements) = value.elements() else { continue };
        match length {
            None => length = Some((at, elements.len())),
            Some((first, count)) if count != elements.len() => {
                let why = format!(
                    "argument {} has length {}, which is inconsistent with argument {} of length {count}",
                    at + 1,
                    elements.len(),
                    first + 1
                );
                return Err(Failure::Argument(at + 1, why));
            }
            Some(_) => {}
        }
    }
    let mut made = Vec::new();
    for row in 0..length.map_or(1, |(_, count)| count) {
        let pick = |value: &Value| value.elements().and_then(|elements| elements.get(row)).unwrap_or(value).clone();
        let picked: Vec<Value> = arguments.iter().map(pick).collect();
        let line = format(pattern, &picked).map_err(|failure| match (failure, length) {
            (Failure::Whole(why), Some(_)) => Failure::Whole(format!("error on format iteration {row}: {why}")),
            (failure, _) => failure,
        })?;
        made.push(line);
    }
    Ok(Value::strings(made))
}

/// One `%…` of a format.
struct Verb<'a> {
    raw: &'a str,
    offset: usize,
    zero: bool,
    sharp: bool,
    plus: bool,
    minus: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
    argument: usize,
    mode: char,
}

fn format(pattern: &str, arguments: &[Value]) -> Result<String, Failure> {
    let (mut made, mut next, mut highest) = (String::new(), 1, 0);
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        let offset = pattern.len() - rest.len() + at;
        if rest[at + 1..].starts_with('%') {
            made.push('%');
            rest = &rest[at + 2..];
            continue;
        }
        let verb = parse(pattern, offset, next)?;
        rest = &pattern[offset + verb.raw.len()..];
        highest = highest.max(verb.argument);
        next = verb.argument + 1;
        let argument = arguments.get(verb.argument.wrapping_sub(1)).ok_or_else(|| {
            let (raw, argument, total) = (verb.raw, verb.argument, arguments.len());
            format!("not enough arguments for {raw:?} at {offset}: need index {argument} but have {total} total")
        })?;
        made.push_str(&one(&verb, argument)?);
        affordable(Some(made.len()))?;
    }
    made.push_str(rest);
    if highest < arguments.len() {
        let why = match highest {
            0 => "too many arguments; no verbs in format string".into(),
            used => format!("too many arguments; only {used} used by format string"),
        };
        return Err(Failure::Argument(highest + 1, why));
    }
    Ok(made)
}

/// Flags, width, precision, index of the argument, letter: in this order.
fn parse(pattern: &str, offset: usize, next: usize) -> Result<Verb<'_>, String> {
    let bytes = pattern.as_bytes();
    let mut at = offset + 1;
    let flags = |flag: u8, from: usize| bytes[offset + 1..from].contains(&flag);
    while bytes.get(at).is_some_and(|byte| b"0#-+ ".contains(byte)) {
        at += 1;
    }
    let end_of_flags = at;
    let number = |at: &mut usize| -> Option<usize> {
        let start = *at;
        while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
            *at += 1;
        }
        pattern[start..*at].parse().ok()
    };
    let width = if bytes.get(at).is_some_and(|byte| (b'1'..=b'9').contains(byte)) { number(&mut at) } else { None };
    let mut precision = None;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        precision = Some(number(&mut at).unwrap_or(0));
    }
    let mut argument = next;
    if bytes.get(at) == Some(&b'[') {
        at += 1;
        argument = number(&mut at).filter(|index| *index > 0).unwrap_or(0);
        if argument == 0 || bytes.get(at) != Some(&b']') {
            return Err(unrecognized(pattern, at));
        }
        at += 1;
    }
    let mode = pattern[at..].chars().next().filter(char::is_ascii_alphabetic);
    let mode = mode.ok_or_else(|| unrecognized(pattern, at))?;
    if width.is_some_and(|width| width > WIDEST) || precision.is_some_and(|precision| precision > WIDEST) {
        return Err(format!("a field of a format may be {WIDEST} characters wide"));
    }
    Ok(Verb {
        raw: &pattern[offset..=at],
        offset,
        zero: flags(b'0', end_of_flags),
        sharp: flags(b'#', end_of_flags),
        plus: flags(b'+', end_of_flags),
        minus: flags(b'-', end_of_flags),
        space: flags(b' ', end_of_flags),
        width,
        precision,
        argument,
        mode,
    })
}

fn unrecognized(pattern: &str, at: usize) -> String {
    match pattern[at..].chars().next() {
        Some(c) => format!("unrecognized format character {c:?} at offset {at}"),
        None => format!("invalid format string starting at offset {at}"),
    }
}

fn one(verb: &Verb<'_>, argument: &Value) -> Result<String, String> {
    let unsupported = |why: &str| format!("unsupported value for {:?} at {}: {why}", verb.raw, verb.offset);
    if verb.mode != 'v' && argument.is_null() {
        return Err(unsupported("null value cannot be formatted"));
    }
    let converted = |want: Type| convert(argument, &want).map_err(|why| unsupported(&why));
    match verb.mode {
        'v' => Ok(pad(
            verb,
            &match argument {
                Value::String(text) if !verb.sharp => text.to_string(),
                Value::Number(number) if !verb.sharp => number.text_general(None),
                other => to_json(other),
            },
        )),
        't' => Ok(if matches!(converted(Type::Bool)?, Value::Bool(true)) { "true" } else { "false" }.into()),
        's' | 'q' => {
            let text = converted(Type::String)?;
            let text = text.as_str().unwrap_or_default();
            let cut: String = match verb.precision {
                Some(precision) if precision > 0 => text.graphemes(true).take(precision).collect(),
                _ => text.into(),
            };
            Ok(pad(verb, &if verb.mode == 'q' { to_json(&Value::string(cut)) } else { cut }))
        }
        'b' | 'd' | 'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'g' | 'G' => {
            let value = converted(Type::Number)?;
            let number = value.as_number().ok_or_else(|| unsupported("a number is required"))?;
            match verb.mode {
                'b' | 'd' | 'o' | 'x' | 'X' => {
                    integer(verb, number).ok_or_else(|| unsupported("an integer is required"))
                }
                _ => Ok(sign_and_pad(verb, &float(verb, number))),
            }
        }
        mode => Err(format!("unsupported format verb {mode:?} in {:?} at offset {}", verb.raw, verb.offset)),
    }
}

fn integer(verb: &Verb<'_>, number: &Number) -> Option<String> {
    let magnitude = number.to_integer()?;
    let (radix, prefix) = match verb.mode {
        'b' => (2, "0b"),
        'o' => (8, "0"),
        'x' => (16, "0x"),
        'X' => (16, "0X"),
        _ => (10, ""),
    };
    let mut digits = magnitude.to_str_radix(radix);
    if verb.mode == 'X' {
        digits.make_ascii_uppercase();
    }
    if let Some(precision) = verb.precision {
        digits.insert_str(0, &"0".repeat(precision.saturating_sub(digits.len())));
    }
    let sign = if number.is_negative() { "-" } else { "" };
    let prefix = if verb.sharp { prefix } else { "" };
    Some(sign_and_pad(verb, &format!("{sign}{prefix}{digits}")))
}

fn float(verb: &Verb<'_>, number: &Number) -> String {
    let text = match verb.mode {
        'f' => number.text_fixed(Some(verb.precision.unwrap_or(6))),
        'e' | 'E' => number.text_exponent(Some(verb.precision.unwrap_or(6))),
        _ => number.text_general(verb.precision),
    };
    if verb.mode.is_ascii_uppercase() && !number.is_infinite() { text.to_uppercase() } else { text }
}

/// Sign and width as Go's `fmt` has them: zeros go behind the sign.
fn sign_and_pad(verb: &Verb<'_>, text: &str) -> String {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if text.starts_with('-') => ("-", digits),
        Some(digits) => ("+", digits),
        None if verb.plus => ("+", text),
        None if verb.space => (" ", text),
        None => ("", text),
    };
    let missing = verb.width.unwrap_or(0).saturating_sub(sign.len() + digits.len());
    match (verb.minus, verb.zero) {
        (true, _) => format!("{sign}{digits}{}", " ".repeat(missing)),
        (false, true) => format!("{sign}{}{digits}", "0".repeat(missing)),
        (false, false) => format!("{}{sign}{digits}", " ".repeat(missing)),
    }
}

fn pad(verb: &Verb<'_>, text: &str) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(text.graphemes(true).count());
    let fill = if verb.zero { "0" } else { " " }.repeat(missing);
    if verb.minus { format!("{text}{fill}") } else { format!("{fill}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pattern: &str, arguments: &[Value]) -> String {
        format(pattern, arguments).unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    #[test]
    fn verbs_are_gos() {
        let seven = Value::integer(7);
        assert_eq!(
            made("%03d|%+d|%-4d|%x", &[seven.clone(), seven.clone(), seven.clone(), Value::integer(255)]),
            "007|+7|7   |ff"
        );
        assert_eq!(made("%5.1f%%", &[Value::Number(Number::parse("2.25").expect("a number"))]), "  2.2%");
        assert_eq!(made("%[2]s %[1]s", &[Value::string("a"), Value::string("b")]), "b a");
        assert_eq!(made("%v %q", &[Value::strings(["x"]), Value::string("q\"")]), r#"["x"] "q\"""#);
        assert_eq!(made("%6.2s|", &[Value::string("abcd")]), "    ab|");
    }

    #[test]
    fn wrong_formats_are_errors() {
        assert!(format("%d", &[]).is_err() && format("x", &[Value::integer(1)]).is_err());
        assert!(
            format("%", &[]).is_err()
                && format("%é", &[]).is_err()
                && format("%99999999d", &[Value::integer(1)]).is_err()
        );
    }
}
