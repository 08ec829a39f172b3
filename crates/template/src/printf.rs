//! Go's `fmt.Sprintf` for JSON values.

use crate::print::{float_text, printed};
use serde_json::Value;

/// The widest field: a larger width is a mistake, or an attack.
const WIDEST: usize = 10_000;

/// Formats `args` as `format` says. A verb that does not fit its value prints what Go prints:
/// `%!d(string=x)`, `%!d(MISSING)`, `%!(EXTRA ...)`.
pub(crate) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (spec, behind) = Spec::parse(&rest[at + 1..], args, &mut used);
        rest = behind;
        match spec.verb {
            Some('%') => out.push('%'),
            None => out.push_str("%!(NOVERB)"),
            Some(verb) => match args.get(used) {
                Some(value) => {
                    used += 1;
                    out.push_str(&spec.format(verb, value));
                }
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    out.push_str(rest);
    if used < args.len() {
        let extra: Vec<String> = args[used..].iter().map(|arg| format!("{}={}", go_type(arg), printed(arg))).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// The flags, width and precision between `%` and its verb.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
    verb: Option<char>,
}

impl Spec {
    fn parse<'a>(text: &'a str, args: &[Value], used: &mut usize) -> (Spec, &'a str) {
        let mut spec = Spec::default();
        let mut rest = text;
        loop {
            let flag = match rest.as_bytes().first() {
                Some(b'-') => &mut spec.minus,
                Some(b'+') => &mut spec.plus,
                Some(b'#') => &mut spec.sharp,
                Some(b' ') => &mut spec.space,
                Some(b'0') => &mut spec.zero,
                _ => break,
            };
            *flag = true;
            rest = &rest[1..];
        }
        (spec.width, rest) = number(rest, args, used);
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = number(after, args, used);
            spec.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        spec.verb = rest.chars().next();
        let skip = spec.verb.map_or(0, char::len_utf8);
        (spec, &rest[skip..])
    }

    fn format(&self, verb: char, value: &Value) -> String {
        let text = match (verb, value) {
            ('v' | 's', Value::String(text)) => self.cut(text),
            ('v', value) if self.sharp => value.to_string(),
            ('v', Value::Number(number)) if number.is_f64() => self.float('g', number.as_f64().unwrap_or(0.0)),
            ('v', value) => printed(value),
            ('s', Value::Array(_) | Value::Object(_)) => printed(value),
            ('T', value) => go_type(value).to_owned(),
            ('q', Value::String(text)) => format!("{text:?}"),
            ('q', Value::Array(items)) => {
                let quoted: Vec<String> = items.iter().map(|item| self.format('q', item)).collect();
                format!("[{}]", quoted.join(" "))
            }
            ('t', Value::Bool(yes)) => yes.to_string(),
            ('x' | 'X', Value::String(text)) => text.bytes().map(|byte| hex(byte, verb)).collect(),
            ('d' | 'b' | 'o' | 'x' | 'X' | 'c' | 'q' | 'U', Value::Number(number)) if !number.is_f64() => {
                self.int(verb, number.as_i64().unwrap_or(i64::MAX))
            }
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Number(number)) if number.is_f64() => {
                self.float(verb, number.as_f64().unwrap_or(0.0))
            }
            (verb, value) => format!("%!{verb}({}={})", go_type(value), printed(value)),
        };
        self.padded(text, value.is_number())
    }

    fn cut(&self, text: &str) -> String {
        self.precision.map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect())
    }

    fn int(&self, verb: char, number: i64) -> String {
        let size = number.unsigned_abs();
        let digits = match verb {
            'b' => format!("{size:b}"),
            'o' => format!("{}{size:o}", if self.sharp { "0" } else { "" }),
            'x' => format!("{}{size:x}", if self.sharp { "0x" } else { "" }),
            'X' => format!("{}{size:X}", if self.sharp { "0X" } else { "" }),
            'c' | 'q' | 'U' => {
                let c = u32::try_from(size).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
                return match verb {
                    'c' => c.to_string(),
                    'q' => format!("{c:?}"),
                    _ => format!("U+{size:04X}"),
                };
            }
            _ => size.to_string(),
        };
        let digits = format!("{digits:0>width$}", width = self.precision.unwrap_or(0).min(WIDEST));
        format!("{}{digits}", self.sign(number < 0))
    }

    fn float(&self, verb: char, number: f64) -> String {
        let precision = self.precision.map(|precision| precision.min(WIDEST));
        let size = number.abs();
        let text = match (verb, precision) {
            ('f' | 'F', precision) => format!("{size:.*}", precision.unwrap_or(6)),
            ('e' | 'E', precision) => exponent(&format!("{size:.*e}", precision.unwrap_or(6))),
            (_, None) => float_text(size),
            (_, Some(precision)) => significant(size, precision.max(1)),
        };
        let text = if verb.is_uppercase() { text.to_uppercase() } else { text };
        format!("{}{text}", self.sign(number < 0.0))
    }

    fn sign(&self, negative: bool) -> &'static str {
        match () {
            () if negative => "-",
            () if self.plus => "+",
            () if self.space => " ",
            () => "",
        }
    }

    fn padded(&self, text: String, number: bool) -> String {
        let width = self.width.unwrap_or(0).min(WIDEST);
        let missing = width.saturating_sub(text.chars().count());
        if self.minus {
            return text + &" ".repeat(missing);
        }
        if self.zero && number {
            let digits = text.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(0);
            return format!("{}{}{}", &text[..digits], "0".repeat(missing), &text[digits..]);
        }
        " ".repeat(missing) + &text
    }
}

/// A width or precision: digits, or `*` for the next argument.
fn number<'a>(text: &'a str, args: &[Value], used: &mut usize) -> (Option<usize>, &'a str) {
    if let Some(rest) = text.strip_prefix('*') {
        let value = args.get(*used).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok());
        *used += 1;
        return (value, rest);
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), &text[end..])
}

/// Rust's `1e5` as Go has it: `1e+05`.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(("+", power), |rest| ("-", rest));
    format!("{digits}e{sign}{power:0>2}")
}

/// `%.Ng`: so many digits that count, without trailing zeros.
fn significant(size: f64, digits: usize) -> String {
    let scientific = format!("{size:.*e}", digits - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || power >= i32::try_from(digits).unwrap_or(i32::MAX) {
        return exponent(&format!("{}e{power}", trimmed(mantissa)));
    }
    let places = usize::try_from(i32::try_from(digits).unwrap_or(0) - 1 - power).unwrap_or(0);
    trimmed(&format!("{size:.places$}"))
}

fn hex(byte: u8, verb: char) -> String {
    if verb == 'X' { format!("{byte:02X}") } else { format!("{byte:02x}") }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
