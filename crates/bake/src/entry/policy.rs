//! Source policies. kiln evaluates none; they are read and printed.

use super::{Entry, map_value};
use crate::csv;
use crate::value::{Type, Value, convert};
use base::words::bool_of;

/// `filename=policy.rego,strict=true`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Files.
    pub files: Vec<String>,
    /// Earlier ones do not count.
    pub reset: bool,
    /// None is evaluated.
    pub disabled: bool,
    /// Sources that no policy knows are refused.
    pub strict: Option<bool>,
    /// How much is said.
    pub log_level: Option<&'static str>,
}

/// Names of levels; the second name of a level is read, the first is printed.
const LEVELS: &[(&str, &str)] = &[
    ("panic", "panic"),
    ("fatal", "fatal"),
    ("error", "error"),
    ("warning", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

impl Policy {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let invalid = || format!("invalid value {key}={value}");
        let switch = || {
            let why = format!("strconv.ParseBool: parsing {value:?}: invalid syntax");
            bool_of(value).ok_or_else(|| format!("{}: {why}", invalid()))
        };
        match key.to_lowercase().trim() {
            "filename" if !value.is_empty() => self.files.push(value.into()),
            "reset" => self.reset = switch()?,
            "disabled" => self.disabled = switch()?,
            "strict" => self.strict = Some(switch()?),
            "log-level" => {
                let lower = value.to_lowercase();
                let level = LEVELS.iter().find(|(name, other)| *name == lower || *other == lower);
                let (name, _) = level.ok_or_else(|| format!("{}: not a valid logrus Level: {value:?}", invalid()))?;
                self.log_level = Some(name);
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

impl Entry for Policy {
    fn parse(text: &str) -> Result<Vec<Policy>, String> {
        let mut made = Policy::default();
        for field in csv::fields(text, ',')? {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            made.set(key, value)?;
        }
        Ok(vec![made])
    }

    fn from_value(value: &Value) -> Result<Policy, String> {
        let mut made = Policy::default();
        let entries = value.entries().ok_or_else(|| super::mismatch(&value.kind(), &Policy::kind()))?;
        for (name, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            let text = convert(value, &Type::String)?;
            match text.as_str() {
                Some("") | None => {}
                Some(text) => made.set(name, text)?,
            }
        }
        Ok(made)
    }

    fn to_value(&self) -> Value {
        let file = self.files.first().map(|file| ("filename", file.as_str()));
        let flag = |name, set: bool| set.then_some((name, "true"));
        let strict = self.strict.map(|strict| ("strict", if strict { "true" } else { "false" }));
        let level = self.log_level.map(|level| ("log-level", level));
        let all = [file, flag("reset", self.reset), flag("disabled", self.disabled), strict, level];
        map_value(all.into_iter().flatten())
    }

    fn kind() -> Type {
        Type::map(Type::String)
    }
}
