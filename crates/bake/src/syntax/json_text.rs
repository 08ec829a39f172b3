//! JSON with the place of each value, which `serde_json` does not tell.

use crate::number::Number;
use crate::problem::{Problem, Span};
use std::ops::Range;

/// Levels within each other.
const DEEPEST: u32 = 64;

/// A value with its place.
#[derive(Debug)]
pub struct Node {
    pub kind: NodeKind,
    pub bytes: Range<usize>,
}

#[derive(Debug)]
pub enum NodeKind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub bytes: Range<usize>,
    pub value: Node,
}

/// Reads a whole text.
pub fn read(file: usize, text: &str) -> Result<Node, Problem> {
    let mut reader = Reader { file, text, at: 0 };
    let node = reader.node(0)?;
    reader.blank();
    if reader.at < text.len() {
        return Err(reader.wrong("Extraneous data after value", "Extra characters appear after the JSON value."));
    }
    Ok(node)
}

struct Reader<'a> {
    file: usize,
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, summary: &str, detail: &str) -> Problem {
        let width = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        Problem::at(Span::new(self.file, self.at..self.at + width), summary, detail)
    }

    fn unclosed(&self, open: usize, what: &str) -> Problem {
        let detail = format!(
            "No closing {} was found for this JSON {what}.",
            if what == "object" { "brace" } else { "bracket" }
        );
        Problem::at(Span::new(self.file, open..open + 1), format!("Unclosed {what}"), detail)
    }

    fn blank(&mut self) {
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\r', '\n']);
        self.at = self.text.len() - rest.len();
    }

    fn peek(&mut self) -> Option<u8> {
        self.blank();
        self.text.as_bytes().get(self.at).copied()
    }

    fn node(&mut self, depth: u32) -> Result<Node, Problem> {
        if depth > DEEPEST {
            return Err(self.wrong("Too deeply nested", "At most 64 levels are read."));
        }
        let first = self.peek();
        let start = self.at;
        let kind = match first {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => NodeKind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => self.word()?,
            _ => return Err(self.wrong("Invalid JSON value", "A JSON value is expected here.")),
        };
        Ok(Node { kind, bytes: start..self.at })
    }

    fn word(&mut self) -> Result<NodeKind, Problem> {
        let words = [("true", NodeKind::Bool(true)), ("false", NodeKind::Bool(false)), ("null", NodeKind::Null)];
        for (word, kind) in words {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        Err(self.wrong("Invalid JSON keyword", "The keywords of JSON are true, false and null."))
    }

    fn number(&mut self) -> Result<NodeKind, Problem> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(rest.len());
        let number = Number::parse(&rest[..length]);
        let number = number.ok_or_else(|| self.wrong("Invalid JSON number", "This is not a valid number."))?;
        self.at += length;
        Ok(NodeKind::Number(number))
    }

    fn string(&mut self) -> Result<String, Problem> {
        let bytes = self.text.as_bytes();
        let (start, mut end) = (self.at, self.at + 1);
        while let Some(byte) = bytes.get(end) {
            match byte {
                b'"' => {
                    let text = serde_json::from_str(&self.text[start..=end]).map_err(|error| {
                        Problem::at(Span::new(self.file, start..end + 1), "Invalid JSON string", error.to_string())
                    })?;
                    self.at = end + 1;
                    return Ok(text);
                }
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        Err(self.wrong("Unclosed string", "No closing quote was found for this JSON string."))
    }

    fn array(&mut self, depth: u32) -> Result<NodeKind, Problem> {
        let open = self.at;
        let mut values = Vec::new();
        self.at += 1;
        loop {
            match self.peek() {
                Some(b']') => break,
                None => return Err(self.unclosed(open, "array")),
                _ => values.push(self.node(depth + 1)?),
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                None => return Err(self.unclosed(open, "array")),
                _ => return Err(self.wrong("Missing comma", "A comma is expected between the values of an array.")),
            }
        }
        self.at += 1;
        Ok(NodeKind::Array(values))
    }

    fn object(&mut self, depth: u32) -> Result<NodeKind, Problem> {
        let open = self.at;
        let mut members = Vec::new();
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'}') => break,
                Some(b'"') => {}
                None => return Err(self.unclosed(open, "object")),
                _ => return Err(self.wrong("Invalid property name", "A JSON property name is a string in quotes.")),
            }
            let start = self.at;
            let name = self.string()?;
            let bytes = start..self.at;
            match self.peek() {
                Some(b':') => self.at += 1,
                None => return Err(self.unclosed(open, "object")),
                _ => return Err(self.wrong("Missing colon", "A colon is expected after a property name.")),
            }
            let value = self.node(depth + 1)?;
            members.push(Member { name, bytes, value });
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                None => return Err(self.unclosed(open, "object")),
                _ => {
                    return Err(self.wrong("Missing comma", "A comma is expected between the properties of an object."));
                }
            }
        }
        self.at += 1;
        Ok(NodeKind::Object(members))
    }
}
