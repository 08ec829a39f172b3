//! Secrets.

use super::{Entry, attribute};
use crate::csv;
use crate::value::{Type, Value, convert};

/// `id=token,src=file` or `id=token,env=NAME`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// Its name.
    pub id: String,
    /// Its file; empty for none.
    pub path: String,
    /// Its environment variable; empty for none.
    pub env: String,
}

impl Entry for Secret {
    fn parse(text: &str) -> Result<Vec<Secret>, String> {
        let fields = csv::fields(text, ',').map_err(|why| format!("failed to parse csv secret: {why}"))?;
        let (mut made, mut from_env) = (Secret::default(), false);
        for field in fields {
            let pair = field.split_once('=');
            let (key, value) = pair.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
            let key = key.to_lowercase();
            match key.as_str() {
                "type" if value == "file" || value == "env" => from_env = value == "env",
                "type" => return Err(format!("unsupported secret type {value:?}")),
                "id" => made.id = value.into(),
                "source" | "src" => made.path = value.into(),
                "env" => made.env = value.into(),
                _ => return Err(format!("unexpected key '{key}' in '{field}'")),
            }
        }
        if from_env && made.env.is_empty() {
            made.env = std::mem::take(&mut made.path);
        }
        Ok(vec![made])
    }

    fn from_value(value: &Value) -> Result<Secret, String> {
        let converted = convert(value, &Secret::kind())?;
        let text = |name| attribute(&converted, name).unwrap_or_default();
        Ok(Secret { id: text("id"), path: text("src"), env: text("env") })
    }

    fn to_value(&self) -> Value {
        let text = |text: &String| Value::string(text);
        Value::object(
            [("id".into(), text(&self.id)), ("src".into(), text(&self.path)), ("env".into(), text(&self.env))].into(),
        )
    }

    fn kind() -> Type {
        Type::optional_object(&[("id", Type::String), ("src", Type::String), ("env", Type::String)])
    }
}
