//! Entries of a target's lists: given as text, as on the command line, or as objects.

mod attest;
mod cache;
mod export;
mod policy;
mod resources;
mod secret;
mod ssh;

pub use attest::{Attest, canonical as canonical_attest};
pub use cache::{Cache, parse as parse_caches};
pub use export::Export;
pub use policy::Policy;
pub use resources::Resources;
pub use secret::Secret;
pub use ssh::Ssh;

use crate::value::{Text, Type, Value, convert, mismatch};
use std::collections::BTreeMap;

/// Attributes of an entry.
pub type Attributes = BTreeMap<String, String>;

/// An entry of a list.
pub trait Entry: Sized {
    /// Reads text. Some text stands for several entries.
    fn parse(text: &str) -> Result<Vec<Self>, String>;
    /// Reads an object.
    fn from_value(value: &Value) -> Result<Self, String>;
    /// The value that a reference sees.
    fn to_value(&self) -> Value;
    /// The type of that value.
    fn kind() -> Type;
}

/// Reads a list of entries.
pub fn read<E: Entry>(value: &Value) -> Result<Vec<E>, String> {
    let (Value::Tuple(items) | Value::List(_, items)) = value else {
        return Err(mismatch(&value.kind(), &Type::list(E::kind())));
    };
    let mut entries = Vec::new();
    for item in &items.values {
        match item {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => entries.extend(E::parse(text)?),
            Value::Null(_) => return Err("an entry must not be null".into()),
            other => entries.push(E::from_value(other)?),
        }
    }
    Ok(entries)
}

/// Reads entries from the command line, all that are not empty.
pub fn parse_all<E: Entry>(texts: &[String]) -> Result<Vec<E>, String> {
    let mut entries = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        entries.extend(E::parse(text)?);
    }
    Ok(entries)
}

/// The list that a reference sees.
pub fn show<E: Entry>(entries: Option<&[E]>) -> Value {
    Value::list(E::kind(), entries.unwrap_or_default().iter().map(Entry::to_value).collect())
}

/// An object whose attributes are all text.
fn texts(value: &Value) -> Result<Attributes, String> {
    let converted = convert(value, &Type::map(Type::String))?;
    let entries = converted.entries().ok_or("a map is required")?;
    let text = |(name, value): (&Text, &Value)| match value.as_str() {
        Some(text) => Ok((name.to_string(), text.to_owned())),
        None => Err(format!("attribute {name:?} must not be null")),
    };
    entries.iter().map(text).collect()
}

fn map_value<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let entries = entries.into_iter().map(|(name, value)| (Text::from(name), Value::string(value)));
    Value::map(Type::String, entries.collect())
}

/// The optional text of an attribute of an object.
fn attribute(value: &Value, name: &str) -> Option<String> {
    value.entries()?.get(name)?.as_str().map(str::to_owned)
}

/// Drops entries that equal a later one; the gap is filled with the last, as buildx does.
pub fn without_duplicates<E: PartialEq>(entries: &mut Vec<E>) {
    for at in (0..entries.len().saturating_sub(1)).rev() {
        let Some((one, later)) = entries[at..].split_first() else { continue };
        if let Some(same) = later.iter().position(|other| other == one) {
            entries.swap_remove(at + 1 + same);
        }
    }
}

/// Keeps one entry of a key: the later one, at the place of the earlier.
pub fn later_wins<E>(entries: &mut Vec<E>, key: impl Fn(&E) -> &str) {
    let mut kept: Vec<E> = Vec::with_capacity(entries.len());
    for entry in entries.drain(..) {
        match kept.iter_mut().find(|known| key(known) == key(&entry)) {
            Some(known) => *known = entry,
            None => kept.push(entry),
        }
    }
    *entries = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_is_replaced_by_the_last() {
        let mut entries = vec!["a", "b", "a", "c"];
        without_duplicates(&mut entries);
        assert_eq!(entries, ["a", "b", "c"]);
    }

    #[test]
    fn the_later_entry_of_a_key_wins_where_the_first_was() {
        let mut entries = vec![("a", 1), ("b", 2), ("a", 3)];
        later_wins(&mut entries, |entry| entry.0);
        assert_eq!(entries, [("a", 3), ("b", 2)]);
    }
}
