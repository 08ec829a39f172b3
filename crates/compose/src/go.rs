//! Prints and parses values as Go does. Docker Compose is written in Go, and how it prints a number
//! or a duration is part of the model.

use crate::node::{Node, Value};
use std::fmt::Write;

/// `fmt.Sprint` of a value.
pub fn sprint(node: &Node) -> String {
    match &node.value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Big(value) => value.to_string(),
        Value::Float(value) => float(*value),
        Value::Time(value) => value.to_string(),
        Value::Text(value) => value.clone(),
        Value::List(list) => {
            let items: Vec<_> = list.iter().map(sprint).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(map) => {
            let mut keys: Vec<_> = map.iter().map(|(key, entry)| format!("{key}:{}", sprint(&entry.node))).collect();
            keys.sort();
            format!("map[{}]", keys.join(" "))
        }
    }
}

/// Formats a number like `%v`: the shortest digits, with an exponent for very large and very small
/// ones.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Formats a duration of nanoseconds like `time.Duration`: `1m30s`.
pub fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    if all == 0 {
        return "0s".to_owned();
    }
    for (unit, size) in [("ns", 1), ("µs", 1_000), ("ms", 1_000_000)] {
        if all < size * 1000 {
            return format!("{sign}{}{unit}", decimal(all, size));
        }
    }
    let (hours, minutes) = (all / 3_600_000_000_000, all / 60_000_000_000 % 60);
    let mut text = sign.to_owned();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{}s", decimal(all % 60_000_000_000, 1_000_000_000));
    text
}

fn decimal(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// Reads a duration, with days and weeks: `1w2d`, `1.5h`, `90s`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid duration `{text}`");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (digits, after) = rest.split_at(number);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit = after.bytes().take_while(|byte| !byte.is_ascii_digit() && *byte != b'.').count();
        let (name, after) = after.split_at(unit);
        if name.is_empty() {
            return Err(format!("missing unit in duration `{text}`"));
        }
        let size = unit_of(name).ok_or_else(|| format!("unknown unit `{name}` in duration `{text}`"))?;
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let fraction: f64 = format!("0.{fraction}0").parse().map_err(|_| invalid())?;
        let part = whole.checked_mul(size).and_then(|part| part.checked_add((fraction * size as f64) as i64));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

fn unit_of(name: &str) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    Some(match name {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        "d" => 24 * 3600 * SECOND,
        "w" => 7 * 24 * 3600 * SECOND,
        _ => return None,
    })
}

/// Reads a size in bytes: `1g`, `512m`, `1.5 GiB`, `-1`.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let invalid = || format!("invalid size `{text}`");
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let number = text[..last + 1].strip_suffix(' ').unwrap_or(&text[..last + 1]);
    let suffix = text[last + 1..].to_lowercase();
    let size: f64 = number.parse().map_err(|_| invalid())?;
    if size < 0.0 || !size.is_finite() {
        return Err(invalid());
    }
    let unit = suffix.strip_suffix("ib").or_else(|| suffix.strip_suffix('b')).unwrap_or(&suffix);
    let power = match unit {
        "" if suffix != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(format!("invalid suffix `{suffix}` of the size `{text}`")),
    };
    Ok((size * 1024f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_go_prints_them() {
        for (value, text) in [
            (1e3, "1000"),
            (0.1, "0.1"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (-0.0, "-0"),
            (1e20, "1e+20"),
            (123456.0, "123456"),
            (1234567.5, "1.2345675e+06"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn durations_are_read_and_printed() {
        for (text, shown) in [
            ("1m30s", "1m30s"),
            ("1.5h", "1h30m0s"),
            ("1d", "24h0m0s"),
            ("250ms", "250ms"),
            ("0", "0s"),
            ("1.5us", "1.5µs"),
        ] {
            assert_eq!(parse_duration(text).map(duration).as_deref(), Ok(shown), "{text}");
        }
        for text in ["", "soon", "30", "1.2.3s", "1x", "99999999999999999999s", "-"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_binary_units() {
        for (text, bytes) in [("1g", 1 << 30), ("512mb", 512 << 20), ("1.5 KiB", 1536), ("-1", -1), ("10b", 10)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "g", "1 parsecs", "-2g", "1kbb", "1ib"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
