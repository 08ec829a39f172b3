//! The short form of a volume: `[source:]target[:options]`.

use crate::filepath;
use crate::node::{Map, Node, Value};
use crate::place::Place;

const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// A volume in parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// The path or volume name before the target.
    pub source: String,
    /// The path in the container.
    pub target: String,
    read_only: bool,
    no_copy: bool,
    propagation: Option<String>,
    selinux: Option<String>,
    /// True for a spec of one or two characters, which gets no options.
    bare: bool,
}

/// Reads a short form. Colons in `${...}` and the colon of a drive letter are no separators.
pub fn parse(spec: &str) -> Result<Volume, String> {
    match spec.len() {
        0 => return Err("invalid empty volume spec".to_owned()),
        1 | 2 => return Ok(Volume { target: spec.to_owned(), bare: true, ..Volume::default() }),
        _ => {}
    }
    let invalid = |what: &str| format!("invalid spec: {spec}: {what}");
    let parts = split(spec);
    if parts.iter().any(|part| part.is_empty()) {
        return Err(invalid("empty section between colons"));
    }
    let mut volume = Volume::default();
    match parts.as_slice() {
        [target] => volume.target.clone_from(target),
        [source, target] => (volume.source, volume.target) = (source.clone(), target.clone()),
        [source, target, options] => {
            (volume.source, volume.target) = (source.clone(), target.clone());
            options.split(',').for_each(|option| volume.option(option));
        }
        _ => return Err(invalid("too many colons")),
    }
    Ok(volume)
}

fn split(spec: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut nested = 0;
    let mut chars = spec.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        let part = &mut parts[last];
        let drive = c == ':' && part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
        match c {
            '$' if chars.peek() == Some(&'{') => nested += 1,
            '}' if nested > 0 => nested -= 1,
            ':' if !drive && nested == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts
}

impl Volume {
    fn option(&mut self, option: &str) {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "nocopy" => self.no_copy = true,
            "z" | "Z" => self.selinux = Some(option.to_owned()),
            option if PROPAGATIONS.contains(&option) => self.propagation = Some(option.to_owned()),
            _ => {}
        }
    }

    fn is_bind(&self) -> bool {
        let mut chars = self.source.chars();
        match (chars.next(), chars.next()) {
            (Some('.' | '/' | '~'), _) | (Some('\\'), Some('\\')) => true,
            (Some(drive), Some(':')) => drive.is_alphabetic(),
            _ => false,
        }
    }

    /// The long form.
    pub fn into_value(self, place: Place) -> Value {
        let text = |text: &str| Node::text(text, place);
        let flag = |flag| Node::new(Value::Bool(flag), place);
        let bind = self.is_bind();
        let mut map = Map::default();
        map.insert("type", text(if bind { "bind" } else { "volume" }));
        if !self.source.is_empty() {
            map.insert("source", text(&self.source));
        }
        map.insert("target", text(&filepath::clean(&self.target)));
        if self.read_only {
            map.insert("read_only", flag(true));
        }
        let mut options = Map::default();
        if let Some(selinux) = &self.selinux {
            options.insert("selinux", text(selinux));
        }
        if let Some(propagation) = &self.propagation {
            options.insert("propagation", text(propagation));
        }
        if bind {
            options.insert("create_host_path", flag(true));
        }
        if !options.is_empty() {
            map.insert("bind", Node::new(Value::Map(options), place));
        }
        if self.no_copy || (!bind && !self.bare) {
            let mut options = Map::default();
            if self.no_copy {
                options.insert("nocopy", flag(true));
            }
            map.insert("volume", Node::new(Value::Map(options), place));
        }
        Value::Map(map)
    }
}
