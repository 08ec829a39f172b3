//! Text in other forms: base64, CSV, JSON, URLs.

use super::{Builtin, Failure, affordable, nullable, row, string, text};
use crate::csv;
use crate::value::{Text, Type, Value, implied_type, to_json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

pub const TABLE: &[Builtin] = &[
    row("base64decode", &[string("str")], |_, a| base64_decode(text(a, 0))),
    row("base64encode", &[string("str")], |_, a| Ok(Value::string(STANDARD.encode(text(a, 0))))),
    row("csvdecode", &[string("str")], |_, a| csv_decode(text(a, 0))),
    row("jsondecode", &[string("str")], |_, a| Ok(implied_type(text(a, 0))?)),
    row("jsonencode", &[nullable("val")], |_, a| {
        affordable(usize::try_from(a[0].weight()).ok())?;
        Ok(Value::string(to_json(&a[0])))
    }),
    row("urlencode", &[string("str")], |_, a| Ok(Value::string(query_escape(text(a, 0))))),
];

/// Bytes of base64, as Go reads it: line ends do not count.
pub fn from_base64(encoded: &str) -> Result<Vec<u8>, String> {
    let joined: String = encoded.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(joined).map_err(|_| format!("failed to decode base64 data {encoded:?}"))
}

fn base64_decode(encoded: &str) -> Result<Value, Failure> {
    let bytes = from_base64(encoded)?;
    let decoded =
        String::from_utf8(bytes).map_err(|_| "the result of decoding the provided string is not valid UTF-8")?;
    Ok(Value::string(decoded))
}

fn query_escape(plain: &str) -> String {
    let mut made = String::with_capacity(plain.len());
    for byte in plain.bytes() {
        match byte {
            b' ' => made.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => made.push(char::from(byte)),
            _ => made.push_str(&format!("%{byte:02X}")),
        }
    }
    made
}

fn csv_decode(source: &str) -> Result<Value, Failure> {
    let mut records = csv::records(source).map_err(|(line, why)| format!("CSV parse error on line {line}: {why}"))?;
    if records.is_empty() {
        return Err("missing header line".into());
    }
    let (_, header) = records.remove(0);
    for (at, name) in header.iter().enumerate() {
        if header[..at].contains(name) {
            return Err(format!("duplicate column name {name:?}").into());
        }
    }
    let mut rows = Vec::new();
    for (line, record) in records {
        if record.len() != header.len() {
            return Err(format!("CSV parse error on line {line}: wrong number of fields").into());
        }
        let cells = header.iter().zip(record).map(|(name, cell)| (Text::from(name.as_str()), Value::string(cell)));
        rows.push(Value::object(cells.collect::<BTreeMap<_, _>>()));
    }
    let element = Type::object(header.iter().map(|name| (Text::from(name.as_str()), Type::String)));
    Ok(Value::list(element, rows))
}
