//! Prints trees: as JSON like Go's encoder, and as YAML.

mod yaml;

use serde_json::Value;

pub use yaml::yaml;

/// JSON with two blanks for each level. `<`, `>` and `&` are escaped.
pub fn json(value: &Value) -> String {
    escape(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// JSON on one line.
pub fn compact(value: &Value) -> String {
    escape(&serde_json::to_string(value).unwrap_or_default())
}

/// Escapes what Go's encoder escapes. In JSON these characters occur only inside strings.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}
