//! Environment files: `.env` with quotes, `export`, variables and comments; and the raw format of
//! `docker run --env-file`.

pub mod raw;

use crate::place::{FileId, Place};
use crate::problem::{Code, Problem, Result};
use crate::template::{self, Failure, Variables};
use indexmap::IndexMap;

/// The most bytes of values that a file may define. Variables that contain others grow fast.
const LARGEST: usize = 16 << 20;

/// Variables in the order of their definition.
pub type Environment = IndexMap<String, String>;

/// Reads a file into `out`. `lookup` returns outside variables, which take precedence over those of
/// the file.
pub fn parse(
    text: &str,
    file: FileId,
    out: &mut Environment,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &dyn Fn(&str),
) -> Result<()> {
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut parser = Parser { text, at: start, file, lookup, unset, size: 0 };
    while parser.statement() {
        parser.variable(out)?;
    }
    Ok(())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    file: FileId,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: &'a dyn Fn(&str),
    size: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips blanks and comments. Returns true if a statement follows.
    fn statement(&mut self) -> bool {
        loop {
            let Some(skip) = self.rest().find(|c: char| !c.is_whitespace()) else { return false };
            self.at += skip;
            if !self.rest().starts_with('#') {
                return true;
            }
            let Some(end) = self.rest().find('\n') else { return false };
            self.at += end;
        }
    }

    fn variable(&mut self, out: &mut Environment) -> Result<()> {
        let (key, place, inherited) = self.key()?;
        if key.contains(' ') {
            return Err(self.error(place, "key cannot contain a space"));
        }
        let value = match inherited {
            true => (self.lookup)(key),
            false => Some(self.value(out)?),
        };
        if let Some(value) = value {
            self.size += value.len();
            if self.size > LARGEST {
                return Err(self.limit(place));
            }
            out.insert(key.to_owned(), value);
        }
        Ok(())
    }

    /// Reads the name of a variable. Returns it, its range, and true if it has no value.
    fn key(&mut self) -> Result<(&'a str, (usize, usize), bool)> {
        if let Some(rest) = self.rest().strip_prefix("export")
            && rest.starts_with(['\t', '\n', '\u{c}', '\r', ' '])
        {
            self.at = self.text.len() - rest.trim_start_matches(is_space).len();
        }
        let (start, source) = (self.at, self.rest());
        let (mut key, mut inherited) = ("", false);
        for (at, c) in source.char_indices() {
            match c {
                '=' | ':' | '\n' => {
                    (key, inherited) = (&source[..at], c == '\n');
                    self.at = start + at + 1;
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if is_space(c) || c.is_alphanumeric() => {}
                c => {
                    let line = source.lines().next().unwrap_or_default();
                    let message = format!("unexpected character {c:?} in variable name {line:?}");
                    return Err(self.error((start + at, start + at + c.len_utf8()), &message));
                }
            }
        }
        let key = key.trim_end();
        let rest = self.rest().trim_start_matches(is_space);
        self.at = self.text.len() - rest.len();
        Ok((key, (start, start + key.len().max(1)), inherited))
    }

    fn value(&mut self, known: &Environment) -> Result<String> {
        let start = self.at;
        let quote = match self.rest().bytes().next() {
            Some(quote @ (b'"' | b'\'')) => quote,
            _ => {
                let line = self.rest().split('\n').next().unwrap_or_default();
                self.at = (self.at + line.len() + 1).min(self.text.len());
                let value = line.split(" #").next().unwrap_or_default().trim_end();
                return self.expand(value, known, (start, start + value.len()));
            }
        };
        let Some(value) = self.quoted(quote) else {
            let line = self.text[start..].split('\n').next().unwrap_or_default();
            let message = format!("unterminated quoted value {line}");
            return Err(self.error((start, start + line.len()), &message));
        };
        if quote == b'\'' {
            return Ok(value);
        }
        self.expand(&escapes(&value), known, (start, self.at))
    }

    /// The text up to the closing quote. A backslash escapes the quote; before any other character
    /// it stays.
    fn quoted(&mut self, quote: u8) -> Option<String> {
        let mut value = Vec::new();
        let mut escaped = false;
        for (at, &byte) in self.rest().as_bytes().iter().enumerate().skip(1) {
            match byte {
                _ if byte == quote && !escaped => {
                    self.at += at + 1;
                    return String::from_utf8(value).ok();
                }
                b'\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                _ if escaped && byte != quote => value.push(b'\\'),
                _ => {}
            }
            value.push(byte);
            escaped = false;
        }
        None
    }

    fn expand(&self, value: &str, known: &Environment, place: (usize, usize)) -> Result<String> {
        let scope = Scope { known, lookup: self.lookup, unset: self.unset };
        template::substitute(value, &scope).map_err(|failure| match failure {
            Failure::Invalid(text) => self.error(place, &format!("invalid template: {text:?}")),
            Failure::Required(name, reason) if reason.is_empty() => {
                self.error(place, &format!("required variable {name} is missing a value"))
            }
            Failure::Required(name, reason) => {
                self.error(place, &format!("required variable {name} is missing a value: {reason}"))
            }
            Failure::Limit => self.limit(place),
        })
    }

    fn limit(&self, (start, end): (usize, usize)) -> crate::problem::Error {
        Problem::at(Place::new(self.file, start, end), Code::Limit, "the values of the file are too large").into()
    }

    fn error(&self, (start, end): (usize, usize), message: &str) -> crate::problem::Error {
        Problem::at(Place::new(self.file, start, end), Code::Syntax, message).into()
    }
}

struct Scope<'a> {
    known: &'a Environment,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: &'a dyn Fn(&str),
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).or_else(|| self.known.get(name).cloned())
    }

    fn unset(&self, name: &str) {
        (self.unset)(name);
    }
}

/// True for a blank that is no line end.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

/// Resolves the escapes of a text in double quotes. `\$` becomes `$$`, which begins no variable.
fn escapes(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (value, len) = match after.bytes().next() {
            Some(b'$') => ("$$".to_owned(), 1),
            Some(b'"') => ("\"".to_owned(), 1),
            Some(b'\\') => ("\\".to_owned(), 1),
            Some(b'a') => ("\u{7}".to_owned(), 1),
            Some(b'b') => ("\u{8}".to_owned(), 1),
            Some(b'f') => ("\u{c}".to_owned(), 1),
            Some(b'n') => ("\n".to_owned(), 1),
            Some(b'r') => ("\r".to_owned(), 1),
            Some(b't') => ("\t".to_owned(), 1),
            Some(b'v') => ("\u{b}".to_owned(), 1),
            Some(b'0') => octal(after),
            _ => ("\\".to_owned(), 0),
        };
        result.push_str(&value);
        rest = &after[len..];
    }
    result + rest
}

/// `\0123` is the character with the octal number 123; other forms that begin with `\0` stay.
fn octal(after: &str) -> (String, usize) {
    let digits = after.bytes().skip(1).take(3).take_while(u8::is_ascii_digit).count();
    let number = u32::from_str_radix(&after[1..1 + digits], 8).ok().filter(|number| digits == 3 && *number < 256);
    match number.and_then(char::from_u32) {
        Some(c) => (c.to_string(), 1 + digits),
        None => (format!("\\{}", &after[..1 + digits]), 1 + digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Sources;

    fn read(text: &str) -> Result<Environment> {
        let mut out = Environment::new();
        let file = Sources::default().add(".env", text);
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        parse(text, file, &mut out, &lookup, &|_| {})?;
        Ok(out)
    }

    #[test]
    fn values_are_read_as_compose_reads_them() {
        for (text, name, value) in [
            ("\u{feff}A=1\r\n", "A", "1"),
            ("export A = x # no\n", "A", "x"),
            ("A=x#y", "A", "x#y"),
            ("A: y", "A", "y"),
            ("A='$HOST \\n'", "A", "$HOST \\n"),
            ("A=\"$HOST\\n\\$B \\0101 \\x\"", "A", "h\n$B A \\x"),
            ("A=\"one\ntwo\"\nB=1", "A", "one\ntwo"),
            ("A=1\nB=${A}2${HOST}", "B", "12h"),
            ("HOST\n", "HOST", "h"),
            ("A='it\\'s'", "A", "it's"),
            ("# c\n\n  A=", "A", ""),
        ] {
            let out = read(text).expect(text);
            assert_eq!(out.get(name).map(String::as_str), Some(value), "{text}: {out:?}");
        }
        assert!(read("GONE\n").expect("nothing").is_empty());
    }

    #[test]
    fn errors_have_a_place() {
        for (text, at) in [("A=1\nB!C=2", 5), ("A B=1", 0), ("A=\"x", 2), ("A=${", 2), ("A=${B:?no}", 2)] {
            let error = read(text).expect_err(text);
            assert_eq!(error.problems[0].place.map(|place| place.start), Some(at), "{text}");
        }
    }

    #[test]
    fn growing_values_end_in_an_error() {
        let mut text = "A0=xxxxxxxx\n".to_owned();
        for line in 1..60 {
            text.push_str(&format!("A{line}=${{A{0}}}${{A{0}}}\n", line - 1));
        }
        assert_eq!(read(&text).expect_err("a bomb").problems[0].code, Code::Limit);
    }
}
