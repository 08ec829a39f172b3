//! Keys: "same inputs, same result". One walk describes a thing to a [`Manifest`]; the hasher reads it for the key
//! and the printer for people, so what is explained can never differ from what was hashed.
//!
//! Every field is framed by its kind, the length of its name and the length of its value, so two descriptions
//! can only be equal if they hold the same fields in the same order. `KEY_VERSION` stands first in every key.
//!
//! Printed text can be read again ([`key_of_text`]): a record that keeps its description proves which key it has.

use sha2::{Digest as _, Sha256};
use std::fmt;

/// Changes whenever the meaning of a key does; it enters every key and the name of the cache's directory.
pub const KEY_VERSION: u32 = 2;

/// The name under which the cache remembers a result: a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// Takes the parts of a description, in order.
pub trait Manifest {
    /// A string of bytes under a name.
    fn bytes(&mut self, name: &'static str, value: &[u8]);
    /// Opens a group: the fields up to the matching [`Manifest::close`] belong together.
    fn open(&mut self, name: &'static str);
    /// Ends the group opened last.
    fn close(&mut self);

    /// A text under a name.
    fn text(&mut self, name: &'static str, value: &str) {
        self.bytes(name, value.as_bytes());
    }
    /// A number under a name.
    fn number(&mut self, name: &'static str, value: u64) {
        self.text(name, &value.to_string());
    }
    /// A yes or no under a name.
    fn flag(&mut self, name: &'static str, value: bool) {
        self.text(name, if value { "yes" } else { "no" });
    }
    /// A list of texts under a name.
    fn texts(&mut self, name: &'static str, values: &[String]) {
        self.open(name);
        values.iter().for_each(|value| self.text("", value));
        self.close();
    }
    /// Another key, as one of the parts.
    fn key(&mut self, name: &'static str, value: &Key) {
        self.text(name, &value.to_string());
    }
}

/// Says what a thing is, field by field: everything that makes its result differ, and nothing else.
pub trait Describe {
    /// Walks the fields in a fixed order.
    fn describe(&self, to: &mut dyn Manifest);
}

/// The key of whatever `walk` describes.
pub fn key_of(walk: impl FnOnce(&mut dyn Manifest)) -> Key {
    let mut hasher = Hasher(Sha256::new());
    hasher.number("key version", u64::from(KEY_VERSION));
    walk(&mut hasher);
    Key(hasher.0.finalize().into())
}

/// The same walk as text, a line a field, groups indented.
pub fn print_of(walk: impl FnOnce(&mut dyn Manifest)) -> String {
    let mut printer = Printer { text: String::new(), depth: 0 };
    walk(&mut printer);
    printer.text
}

/// Both of one walk, for one that is dear.
pub fn key_and_print(walk: impl FnOnce(&mut dyn Manifest)) -> (Key, String) {
    let mut text = String::new();
    let key = key_of(|hasher| {
        let mut printer = Printer { text: String::new(), depth: 0 };
        walk(&mut Both(hasher, &mut printer));
        text = printer.text;
    });
    (key, text)
}

struct Both<'a>(&'a mut dyn Manifest, &'a mut dyn Manifest);

impl Manifest for Both<'_> {
    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        self.0.bytes(name, value);
        self.1.bytes(name, value);
    }
    fn open(&mut self, name: &'static str) {
        self.0.open(name);
        self.1.open(name);
    }
    fn close(&mut self) {
        self.0.close();
        self.1.close();
    }
}

struct Hasher(Sha256);

impl Hasher {
    fn frame(&mut self, kind: u8, part: &[u8]) {
        self.0.update([kind]);
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }
}

impl Manifest for Hasher {
    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        self.frame(b'n', name.as_bytes());
        self.frame(b'v', value);
    }
    fn open(&mut self, name: &'static str) {
        self.frame(b'(', name.as_bytes());
    }
    fn close(&mut self) {
        self.frame(b')', b"");
    }
}

struct Printer {
    text: String,
    depth: usize,
}

impl Printer {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        use fmt::Write as _;
        let _infallible = writeln!(self.text, "{:indent$}{text}", "", indent = self.depth * 2);
    }
}

impl Manifest for Printer {
    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        let value = quoted(value);
        match name {
            "" => self.line(format_args!("{value}")),
            name => self.line(format_args!("{name}: {value}")),
        }
    }
    fn open(&mut self, name: &'static str) {
        self.line(format_args!("{name}:"));
        self.depth += 1;
    }
    fn close(&mut self) {
        self.depth -= 1;
    }
}

/// A value between quotes, in one line: text as Rust writes it, any other byte as `\xNN`.
fn quoted(value: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in value.utf8_chunks() {
        let text = format!("{:?}", chunk.valid());
        out.push_str(&text[1..text.len() - 1]);
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

/// The opposite of [`quoted`]; none if nothing is written so.
fn unquoted(text: &str) -> Option<Vec<u8>> {
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let (mut out, mut buffer) = (Vec::new(), [0; 4]);
    while let Some(c) = rest.next() {
        let c = match c {
            '\\' => match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'x' => {
                    let digits = [rest.next()?, rest.next()?].iter().collect::<String>();
                    out.push(u8::from_str_radix(&digits, 16).ok()?);
                    continue;
                }
                'u' => {
                    let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').take(8).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            },
            c => c,
        };
        out.extend(c.encode_utf8(&mut buffer).as_bytes());
    }
    Some(out)
}

/// The key of what [`print_of`] printed; none if it printed nothing like this.
pub fn key_of_text(text: &str) -> Option<Key> {
    let mut hasher = Hasher(Sha256::new());
    hasher.number("key version", u64::from(KEY_VERSION));
    let mut depth = 0;
    for line in text.lines() {
        let field = line.trim_start_matches(' ');
        let indent = line.len() - field.len();
        if indent % 2 != 0 || indent / 2 > depth {
            return None;
        }
        (indent / 2..depth).for_each(|_| hasher.close());
        depth = indent / 2;
        let (name, value) = match field.strip_suffix(':').filter(|_| !field.ends_with('"')) {
            Some(group) => {
                hasher.frame(b'(', group.as_bytes());
                depth += 1;
                continue;
            }
            None if field.starts_with('"') => ("", field),
            None => field.split_once(": ")?,
        };
        hasher.frame(b'n', name.as_bytes());
        hasher.frame(b'v', &unquoted(value)?);
    }
    (0..depth).for_each(|_| hasher.close());
    Some(Key(hasher.0.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(parts: &[&str]) -> Key {
        key_of(|m| parts.iter().for_each(|part| m.text("part", part)))
    }

    #[test]
    fn parts_are_framed_so_that_moving_a_boundary_changes_the_key() {
        assert_ne!(texts(&["ab", "c"]), texts(&["a", "bc"]));
        assert_ne!(texts(&["ab"]), texts(&["ab", ""]));
        let nested = key_of(|m| {
            m.open("part");
            m.text("part", "a");
            m.close();
        });
        assert_ne!(nested, texts(&["a"]));
    }

    #[test]
    fn the_printer_sees_what_the_hasher_sees() {
        let walk = |m: &mut dyn Manifest| {
            m.text("a", "x\ny");
            m.open("list");
            m.number("n", 3);
            m.close();
            m.flag("f", true);
        };
        let printed = print_of(walk);
        assert_eq!(key_and_print(walk), (key_of(walk), printed.clone()));
        assert_eq!(printed, "a: \"x\\ny\"\nlist:\n  n: \"3\"\nf: \"yes\"\n");
    }

    #[test]
    fn what_was_printed_proves_its_key() {
        let walk = |m: &mut dyn Manifest| {
            m.text("a", "x\ny \"q\" \\ 'é\u{301}\u{7f}\0:");
            m.bytes("raw", b"\xff\xfe\\xff");
            m.open("empty");
            m.close();
            m.open("list:");
            m.texts("inner", &["".to_owned(), "one: \"two\"".to_owned()]);
            m.open("");
            m.flag("f", true);
            m.close();
            m.close();
            m.number("last", 3);
        };
        let text = print_of(walk);
        assert_eq!(key_of_text(&text), Some(key_of(walk)), "{text}");
        for other in [text.replace("yes", "no"), text.replace("last", "lost"), text.replace("  f", "f")] {
            assert_ne!(key_of_text(&other), Some(key_of(walk)));
        }
        for nonsense in ["no quotes: here", "   three: \"\"", "a: \"\\q\"", "a: \"\\x4", "a"] {
            assert_eq!(key_of_text(nonsense), None, "{nonsense}");
        }
        assert_eq!(key_of_text(""), Some(key_of(|_| ())));
    }

    #[test]
    fn a_key_is_the_same_on_every_machine() {
        assert_eq!(texts(&["a"]).to_string().len(), 64);
    }
}
