//! `type=x,key=value,...`: the syntax of options such as `--output` and `--cache-to`. Knows no type
//! and no key.

use crate::error::{Error, Kind, Result};
use crate::words::bool_of;
use std::collections::BTreeMap;

/// The attributes of an option. Of a repeated key the last value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The value of `type=`. Empty if it was not given.
    pub kind: String,
    others: BTreeMap<String, String>,
}

impl Attributes {
    /// Makes attributes of a type with these keys and values.
    pub fn new<'a>(kind: &str, others: impl IntoIterator<Item = (&'a str, &'a str)>) -> Attributes {
        let others = others.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Attributes { kind: kind.to_owned(), others }
    }

    /// Reads `type=x,key=value`; a key alone is `key=true`.
    pub fn parse(text: &str) -> Attributes {
        let mut all = Attributes::default();
        for field in fields(text) {
            let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
            match key.trim() {
                "type" => all.kind = value.to_owned(),
                key => all.set(key, value),
            }
        }
        all
    }

    /// Sets a key, replacing its value.
    pub fn set(&mut self, key: &str, value: &str) {
        self.others.insert(key.to_owned(), value.to_owned());
    }

    /// True if the key was given, even with an empty value.
    pub fn has(&self, key: &str) -> bool {
        self.others.contains_key(key)
    }

    /// The keys that were given, except `type`.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.others.keys().map(String::as_str)
    }

    /// The value of a key. None if it was not given or is empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.others.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The value of a boolean key. `key=` means true.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.others.get(key).map(String::as_str) {
            None => Ok(default),
            Some("") => Ok(true),
            Some(text) => {
                bool_of(text).ok_or_else(|| Error::new(Kind::Usage, format!("{key}={text} is neither true nor false")))
            }
        }
    }
}

/// Splits at commas. Quotes keep a field together, as in `"name=a,b"`. After `name=`, a field that
/// is no `key=value` is another name.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    let mut joined: Vec<String> = Vec::new();
    for field in fields {
        match joined.last_mut().filter(|last| last.starts_with("name=") && is_name(&field)) {
            Some(last) => *last = format!("{last},{field}"),
            None => joined.push(field),
        }
    }
    joined
}

/// True if a field looks like a further name. Flags such as `push` may have no value, so they must
/// not be taken for one.
fn is_name(field: &str) -> bool {
    !field.contains('=') && field.contains(['/', ':', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_names_hold_commas_and_a_key_alone_is_a_yes() {
        let all = Attributes::parse("type=image,\"note=a,b\",name=a,r.io/b,push, x =1,x=2,empty=");
        let wanted = [("note", "a,b"), ("name", "a,r.io/b"), ("push", "true"), ("x", "2"), ("empty", "")];
        assert_eq!(all, Attributes::new("image", wanted));
        assert_eq!((all.text("x"), all.text("empty"), all.text("other")), (Some("2"), None, None));
        assert!(all.has("empty") && !all.has("other"));
        let flag = |key: &str| all.flag(key, false).ok();
        assert_eq!(
            (flag("push"), flag("empty"), flag("other"), flag("x")),
            (Some(true), Some(true), Some(false), None)
        );
        assert_eq!(Attributes::parse("dest=x").kind, "");
    }
}
