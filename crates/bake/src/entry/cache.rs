//! Caches to read from and write to.

use super::{Attributes, Entry, map_value, texts};
use crate::csv;
use crate::value::{Type, Value, to_json};

/// `type=registry,ref=…`, or a reference alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// `registry`, `local`, …
    pub kind: String,
    /// All else.
    pub attributes: Attributes,
}

impl Cache {
    fn one(text: &str) -> Result<Cache, String> {
        let fields = csv::fields(text, ',')?;
        if let [reference] = fields.as_slice()
            && !reference.contains('=')
        {
            let attributes = [("ref".into(), reference.clone())].into();
            return Ok(Cache { kind: "registry".into(), attributes });
        }
        let mut made = Cache::default();
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.to_lowercase() {
                key if key == "type" => made.kind = value.into(),
                key => drop(made.attributes.insert(key, value.into())),
            }
        }
        if made.kind.is_empty() {
            return Err(format!("type required for {text:?}"));
        }
        Ok(made)
    }
}

/// Reads caches from the command line.
pub fn parse(texts: &[String]) -> Result<Vec<Cache>, String> {
    super::parse_all(texts)
}

impl Entry for Cache {
    fn parse(text: &str) -> Result<Vec<Cache>, String> {
        if text.contains('=') {
            return Ok(vec![Cache::one(text)?]);
        }
        csv::fields(text, ',')?.iter().map(|field| Cache::one(field)).collect()
    }

    fn from_value(value: &Value) -> Result<Cache, String> {
        let mut attributes = texts(value)?;
        let kind = attributes.remove("type").unwrap_or_default();
        if kind.is_empty() {
            return Err(format!("type required for {:?}", to_json(value)));
        }
        Ok(Cache { kind, attributes })
    }

    fn to_value(&self) -> Value {
        let own = self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        map_value(own.chain([("type", self.kind.as_str())]))
    }

    fn kind() -> Type {
        Type::map(Type::String)
    }
}
