//! Outputs.

use super::{Attributes, Entry, map_value, texts};
use crate::csv;
use crate::value::{Type, Value};

/// `type=local,dest=out`, or a destination alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// `image`, `local`, …
    pub kind: String,
    /// All else.
    pub attributes: Attributes,
    /// A path; empty for none.
    pub destination: String,
}

impl Export {
    fn checked(self) -> Result<Export, String> {
        if self.kind.is_empty() { Err("type is required for output".into()) } else { Ok(self) }
    }
}

impl Entry for Export {
    fn parse(text: &str) -> Result<Vec<Export>, String> {
        let fields = csv::fields(text, ',')?;
        let mut made = Export::default();
        if let [only] = fields.as_slice()
            && only == text
            && !text.starts_with("type=")
        {
            let kind = if text == "-" { "tar" } else { "local" };
            return Ok(vec![Export { kind: kind.into(), destination: text.into(), ..made }]);
        }
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.to_lowercase().trim() {
                "type" => made.kind = value.into(),
                "dest" => made.destination = value.into(),
                key => drop(made.attributes.insert(key.into(), value.into())),
            }
        }
        Ok(vec![made.checked()?])
    }

    fn from_value(value: &Value) -> Result<Export, String> {
        let mut attributes = texts(value)?;
        let kind = attributes.remove("type").unwrap_or_default();
        let destination = attributes.remove("dest").unwrap_or_default();
        Export { kind, attributes, destination }.checked()
    }

    fn to_value(&self) -> Value {
        let own = self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        map_value(own.chain([("type", self.kind.as_str()), ("dest", self.destination.as_str())]))
    }

    fn kind() -> Type {
        Type::map(Type::String)
    }
}
