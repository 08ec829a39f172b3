//! Functions on times.

use super::{Builtin, Failure, any, number, row, string, text};
use crate::clock::Time;
use crate::number::Number;
use crate::value::{Text, Value};

pub const TABLE: &[Builtin] = &[
    row("formatdate", &[string("format"), string("time")], |_, a| {
        let time = Time::parse(text(a, 1)).map_err(|why| Failure::Argument(1, why))?;
        Ok(Value::string(format_date(text(a, 0), &time)?))
    }),
    row("formattimestamp", &[string("format"), any("time")], |_, a| format_timestamp(a)),
    row("timeadd", &[string("timestamp"), string("duration")], |_, a| {
        let time = Time::parse(text(a, 0))?;
        let added = frontend::go::duration(text(a, 1))?;
        Ok(Value::string(time.add(added).rfc3339()))
    }),
    row("timestamp", &[], |host, _| Ok(Value::string(Time::from_unix(host.now()).rfc3339()))),
    row("unixtimestampparse", &[number("unix_timestamp")], |_, a| parse_unix(a)),
];

fn unix(value: &Value) -> Result<Time, String> {
    let seconds = value.as_number().and_then(Number::to_i64).ok_or("unix timestamp must be an integer")?;
    Time::checked(seconds).ok_or_else(|| "unix timestamp is out of range".into())
}

fn format_timestamp(arguments: &[Value]) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::Argument(1, why);
    let format = text(arguments, 0);
    let time = match &arguments[1] {
        Value::String(stamp) if format == "X" => {
            Time::parse(stamp).map_err(|_| wrong("timestamp string must be RFC3339".into()))?
        }
        Value::String(stamp) => Time::parse(stamp).map_err(wrong)?,
        value @ Value::Number(_) => unix(value).map_err(wrong)?,
        _ => return Err(wrong("must be a string timestamp or a unix timestamp number".into())),
    };
    Ok(Value::string(if format == "X" { time.unix().to_string() } else { format_date(format, &time)? }))
}

fn parse_unix(arguments: &[Value]) -> Result<Value, Failure> {
    let time = unix(&arguments[0]).map_err(|why| Failure::Argument(0, why))?;
    let (iso_year, iso_week) = time.iso_week();
    let numbers = [
        ("year", time.year),
        ("year_day", time.year_day()),
        ("day", time.day),
        ("month", time.month),
        ("weekday", time.weekday()),
        ("hour", time.hour),
        ("minute", time.minute),
        ("second", time.second),
        ("iso_year", iso_year),
        ("iso_week", iso_week),
    ];
    let texts = [
        ("month_name", time.month_name().to_owned()),
        ("weekday_name", time.weekday_name().to_owned()),
        ("rfc3339", time.rfc3339()),
    ];
    let numbers = numbers.into_iter().map(|(name, value)| (Text::from(name), Value::integer(value)));
    let texts = texts.into_iter().map(|(name, value)| (Text::from(name), Value::string(value)));
    Ok(Value::object(numbers.chain(texts).collect()))
}

/// Runs of one letter are verbs, text in single quotes is itself.
fn format_date(format: &str, time: &Time) -> Result<String, Failure> {
    let mut made = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (literal, after) = quoted(rest)?;
            made.push_str(&literal);
            rest = after;
            continue;
        }
        let alike =
            |c: char| if first.is_ascii_alphabetic() { c == first } else { !c.is_ascii_alphabetic() && c != '\'' };
        let end = rest.find(|c| !alike(c)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        match first.is_ascii_alphabetic() {
            true => made.push_str(&verb(token, first, time)?),
            false => made.push_str(token),
        }
        rest = after;
    }
    Ok(made)
}

fn quoted(text: &str) -> Result<(String, &str), Failure> {
    if let Some(after) = text.strip_prefix("''") {
        return Ok(("'".into(), after));
    }
    let (mut made, mut rest) = (String::new(), &text[1..]);
    loop {
        let Some(end) = rest.find('\'') else {
            return Err(Failure::Argument(0, "unterminated literal '".into()));
        };
        made.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                made.push('\'');
                rest = after;
            }
            None => return Ok((made, rest)),
        }
    }
}

fn verb(token: &str, letter: char, time: &Time) -> Result<String, Failure> {
    let wrong = |what: &str| Err(Failure::Argument(0, format!("invalid date format verb {token:?}{what}")));
    let number = |value: i64, what: &str| match token.len() {
        1 => Ok(value.to_string()),
        2 => Ok(format!("{value:02}")),
        _ => wrong(&format!(": {what} must either be \"{letter}\" or \"{letter}{letter}\"")),
    };
    match (letter, token.len()) {
        ('Y', 2) => Ok(format!("{:02}", time.year % 100)),
        ('Y', 4) => Ok(format!("{:04}", time.year)),
        ('Y', _) => wrong(": year must either be \"YY\" or \"YYYY\""),
        ('M', 1 | 2) => number(time.month, "month"),
        ('M', 3) => Ok(time.month_name()[..3].into()),
        ('M', 4) => Ok(time.month_name().into()),
        ('M', _) => wrong(": month must be \"M\", \"MM\", \"MMM\", or \"MMMM\""),
        ('D', _) => number(time.day, "day of month"),
        ('E', 3) => Ok(time.weekday_name()[..3].into()),
        ('E', 4) => Ok(time.weekday_name().into()),
        ('E', _) => wrong(": day of week must either be \"EEE\" or \"EEEE\""),
        ('h', _) => number(time.hour, "24-hour"),
        ('H', _) => number(if time.hour % 12 == 0 { 12 } else { time.hour % 12 }, "12-hour"),
        ('A', 2) => Ok(if time.hour < 12 { "AM" } else { "PM" }.into()),
        ('a', 2) => Ok(if time.hour < 12 { "am" } else { "pm" }.into()),
        ('A' | 'a', _) => wrong(&format!(": must be \"{letter}{letter}\"")),
        ('m', _) => number(time.minute, "minute"),
        ('s', _) => number(time.second, "second"),
        ('Z', 1) => Ok(time.zone("Z", ":")),
        ('Z', 3) => Ok(time.zone("UTC", "")),
        ('Z', 4) => Ok(time.zone("+0000", "")),
        ('Z', 5) => Ok(time.zone("+00:00", ":")),
        ('Z', _) => wrong(": timezone must be Z, ZZZZ, or ZZZZZ"),
        _ => wrong(""),
    }
}
