//! Values with forms of their own: sizes, durations, commands, mappings, hosts, limits and modes.

use super::Named;
use super::decode::{Decode, invalid, mismatch, pairs};
use super::encode::{Encode, Form};
use crate::go;
use crate::node::{Node, Value as Tree};
use crate::path::Path;
use crate::problem::Problem;
use crate::shell;
use serde_json::Value;

macro_rules! wrapper {
    ($($(#[$doc:meta])* $name:ident($type:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub $type);
    )*};
}

wrapper! {
    /// A size in bytes, printed as a text.
    Bytes(i64);
    /// A duration in nanoseconds.
    Duration(i64);
    /// The words of a command, if there is one. An empty command is not the same as none.
    Command(Option<Vec<String>>);
    /// The test of a health check: its kind and its words.
    HealthTest(Vec<String>);
    /// Texts by name; a name without a value has an empty one.
    Mapping(Named<String>);
    /// Texts by name; a name may have no value.
    Variables(Named<Option<String>>);
    /// Several texts by name.
    MultiOptions(Named<Vec<String>>);
    /// Texts or numbers, all as texts.
    Texts(Vec<String>);
    /// Addresses by the name of the host.
    Hosts(Named<Vec<String>>);
    /// SSH keys: identifiers and paths.
    SshKeys(Named<Option<String>>);
    /// The mode of a file, printed in octal digits.
    FileMode(i64);
    /// A number of devices; -1 is all of them.
    DeviceCount(i64);
    /// A switch that is on unless it is turned off.
    OptOut(bool);
}

/// A limit: one value, or a soft and a hard one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ulimit {
    /// Both limits.
    Single(i64),
    /// The soft and the hard limit.
    Pair(i64, i64),
}

impl Decode for Bytes {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Bytes, Problem> {
        match &node.value {
            Tree::Int(number) => Ok(Bytes(*number)),
            Tree::Text(text) => go::parse_bytes(text).map(Bytes).map_err(|words| invalid(node, path, words)),
            _ => Ok(Bytes(0)),
        }
    }
}

impl Encode for Bytes {
    fn encode(&self, _: Form) -> Value {
        self.0.to_string().into()
    }

    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

impl Decode for Duration {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Duration, Problem> {
        go::parse_duration(&go::sprint(node)).map(Duration).map_err(|words| {
            invalid(node, path, words).help("durations are numbers with units: 90s, 1m30s, 250ms, 1h, 2d")
        })
    }
}

impl Encode for Duration {
    fn encode(&self, _: Form) -> Value {
        go::duration(self.0).into()
    }

    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

impl Decode for Command {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Command, Problem> {
        match &node.value {
            Tree::Text(text) => {
                shell::words(text).map(|words| Command(Some(words))).map_err(|words| invalid(node, path, words))
            }
            _ => Ok(Command(Some(Vec::decode(node, path)?))),
        }
    }
}

impl Encode for Command {
    fn encode(&self, form: Form) -> Value {
        self.0.encode(form)
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Decode for HealthTest {
    fn decode(node: &Node, path: &Path<'_>) -> Result<HealthTest, Problem> {
        match node.as_text() {
            Some(text) => Ok(HealthTest(vec!["CMD-SHELL".to_owned(), text.to_owned()])),
            None => Vec::decode(node, path).map(HealthTest),
        }
    }
}

impl Decode for Mapping {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Mapping, Problem> {
        let pairs = pairs(node, path)?;
        Ok(Mapping(pairs.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()))
    }
}

impl Decode for Variables {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Variables, Problem> {
        let pairs = pairs(node, path)?;
        if node.as_list().is_some()
            && let Some((key, _)) = pairs.iter().find(|(key, _)| key.ends_with(char::is_whitespace))
        {
            let place =
                node.as_list().and_then(|list| list.iter().find(|item| go::sprint(item).starts_with(key.as_str())));
            let words = format!("environment variable `{key}` is declared with a trailing space");
            return Err(invalid(place.unwrap_or(node), path, words));
        }
        Ok(Variables(pairs.into_iter().collect()))
    }
}

impl Decode for MultiOptions {
    fn decode(node: &Node, path: &Path<'_>) -> Result<MultiOptions, Problem> {
        let map = node.as_map().ok_or_else(|| mismatch(node, path, "a mapping"))?;
        let texts = |node: &Node| match node.as_list() {
            Some(list) => list.iter().map(go::sprint).collect(),
            None => vec![go::sprint(node)],
        };
        Ok(MultiOptions(map.iter().map(|(key, entry)| (key.to_owned(), texts(&entry.node))).collect()))
    }
}

impl Decode for Texts {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Texts, Problem> {
        match &node.value {
            Tree::List(list) => Ok(Texts(list.iter().map(go::sprint).collect())),
            Tree::Text(text) => Ok(Texts(vec![text.clone()])),
            _ => Err(mismatch(node, path, "a list")),
        }
    }
}

impl Decode for Hosts {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Hosts, Problem> {
        let mut hosts: Named<Vec<String>> = Named::new();
        match &node.value {
            Tree::Map(map) => {
                for (host, entry) in map.iter() {
                    let addresses = match &entry.node.value {
                        Tree::Null => vec![String::new()],
                        Tree::List(list) => list.iter().map(go::sprint).collect(),
                        _ => vec![go::sprint(&entry.node)],
                    };
                    hosts.insert(host.to_owned(), addresses);
                }
            }
            Tree::List(list) => {
                for item in list {
                    let text = go::sprint(item);
                    let Some((host, addresses)) = text.split_once('=').or_else(|| text.split_once(':')) else {
                        return Err(invalid(item, path, format!("invalid additional host, missing IP: {text}")));
                    };
                    hosts.entry(host.to_owned()).or_default().extend(addresses.split(',').map(str::to_owned));
                }
            }
            _ => return Err(mismatch(node, path, "a list or a mapping")),
        }
        if let Some(host) = hosts.keys().find(|host| host.is_empty() || host.contains([':', '='])) {
            return Err(invalid(node, path, format!("bad host name '{host}'")));
        }
        for address in hosts.values_mut().flatten() {
            if let Some(bare) =
                address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|bare| !bare.is_empty())
            {
                *address = bare.to_owned();
            }
        }
        Ok(Hosts(hosts))
    }
}

impl Encode for Hosts {
    fn encode(&self, _: Form) -> Value {
        let pairs = self.0.iter().flat_map(|(host, all)| all.iter().map(move |address| format!("{host}={address}")));
        let mut lines: Vec<String> = pairs.collect();
        lines.sort();
        lines.into()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Decode for SshKeys {
    fn decode(node: &Node, path: &Path<'_>) -> Result<SshKeys, Problem> {
        Ok(SshKeys(pairs(node, path)?.into_iter().collect()))
    }
}

impl Encode for SshKeys {
    fn encode(&self, _: Form) -> Value {
        let key = |(id, path): (&String, &Option<String>)| match path {
            Some(path) if !path.is_empty() => format!("{id}={path}"),
            _ => id.clone(),
        };
        self.0.iter().map(key).collect::<Vec<_>>().into()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Decode for FileMode {
    fn decode(node: &Node, path: &Path<'_>) -> Result<FileMode, Problem> {
        match &node.value {
            Tree::Int(number) => Ok(FileMode(*number)),
            Tree::Text(text) => i64::from_str_radix(text, 8).map(FileMode).map_err(|_| {
                invalid(node, path, format!("`{text}` is not a mode")).help("modes are octal digits: 0440")
            }),
            _ => Err(mismatch(node, path, "an integer or a string")),
        }
    }
}

impl Encode for FileMode {
    fn encode(&self, _: Form) -> Value {
        format!("0{:o}", self.0).into()
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl Decode for DeviceCount {
    fn decode(node: &Node, path: &Path<'_>) -> Result<DeviceCount, Problem> {
        match &node.value {
            Tree::Int(number) => Ok(DeviceCount(*number)),
            Tree::Text(text) if text.eq_ignore_ascii_case("all") => Ok(DeviceCount(-1)),
            Tree::Text(text) => text.parse().map(DeviceCount).map_err(|_| {
                invalid(node, path, format!("invalid value {text:?}, the only value allowed is 'all' or a number"))
            }),
            _ => Err(mismatch(node, path, "an integer or `all`")),
        }
    }
}

impl Decode for OptOut {
    fn decode(node: &Node, path: &Path<'_>) -> Result<OptOut, Problem> {
        bool::decode(node, path).map(OptOut)
    }
}

impl Encode for OptOut {
    fn encode(&self, _: Form) -> Value {
        self.0.into()
    }

    fn is_empty(&self) -> bool {
        self.0
    }
}

impl Decode for Ulimit {
    fn decode(node: &Node, path: &Path<'_>) -> Result<Ulimit, Problem> {
        let Some(map) = node.as_map() else { return i64::decode(node, path).map(Ulimit::Single) };
        let limit = |key: &str| map.get(key).map_or(Ok(0), |node| i64::decode(node, &path.key(key)));
        Ok(Ulimit::Pair(limit("soft")?, limit("hard")?))
    }
}

impl Encode for Ulimit {
    fn encode(&self, form: Form) -> Value {
        let pair = match *self {
            Ulimit::Single(0) => (0, 0),
            Ulimit::Single(limit) => return limit.into(),
            Ulimit::Pair(soft, hard) => (soft, hard),
        };
        let mut out = serde_json::Map::new();
        for (key, limit) in [("soft", pair.0), ("hard", pair.1)] {
            if limit != 0 || form == Form::Yaml {
                out.insert(key.to_owned(), limit.into());
            }
        }
        Value::Object(out)
    }

    fn is_empty(&self) -> bool {
        false
    }
}

macro_rules! encode_inner {
    ($($name:ident)*) => {$(
        impl Encode for $name {
            fn encode(&self, form: Form) -> Value {
                self.0.encode(form)
            }

            fn is_empty(&self) -> bool {
                Encode::is_empty(&self.0)
            }
        }
    )*};
}

encode_inner!(HealthTest Mapping Variables MultiOptions Texts DeviceCount);
