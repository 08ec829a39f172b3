//! Attestations.

use super::{Attributes, Entry, map_value, texts};
use crate::csv;
use crate::value::{Type, Value};
use base::words::bool_of;

/// `type=provenance,mode=max`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attest {
    /// `provenance` or `sbom`.
    pub kind: String,
    /// None is made.
    pub disabled: bool,
    /// All else.
    pub attributes: Attributes,
}

/// The entry that `--sbom` and `--provenance` stand for.
pub fn canonical(kind: &str, text: &str) -> String {
    match bool_of(text) {
        Some(truth) => format!("type={kind},disabled={}", !truth),
        None => format!("type={kind},{text}"),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    bool_of(text).ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}

impl Entry for Attest {
    fn parse(text: &str) -> Result<Vec<Attest>, String> {
        let mut made = Attest::default();
        for field in csv::fields(text, ',')? {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.to_lowercase().trim() {
                "type" => made.kind = value.into(),
                "disabled" => made.disabled = switch(value).map_err(|why| format!("invalid value {field}: {why}"))?,
                _ => drop(made.attributes.insert(key.into(), value.into())),
            }
        }
        if made.kind.is_empty() {
            return Err("attestation type not specified".into());
        }
        Ok(vec![made])
    }

    fn from_value(value: &Value) -> Result<Attest, String> {
        let mut attributes = texts(value)?;
        let kind = attributes.remove("type").unwrap_or_default();
        let disabled = attributes.remove("disabled").map_or(Ok(false), |text| switch(&text))?;
        Ok(Attest { kind, disabled, attributes })
    }

    fn to_value(&self) -> Value {
        let own = self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let disabled = self.disabled.then_some(("disabled", "true"));
        map_value(own.chain([("type", self.kind.as_str())]).chain(disabled))
    }

    fn kind() -> Type {
        Type::map(Type::String)
    }
}
