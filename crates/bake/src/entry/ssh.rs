//! SSH agents and keys.

use super::{Entry, attribute};
use crate::value::{Type, Value, convert};

/// `default`, `id=key1,key2`
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ssh {
    /// Its name.
    pub id: String,
    /// A socket, or keys; none stands for the agent of the environment.
    pub paths: Vec<String>,
}

impl Entry for Ssh {
    fn parse(text: &str) -> Result<Vec<Ssh>, String> {
        let (id, paths) = match text.split_once('=') {
            Some((id, paths)) => (id, paths.split(',').map(str::to_owned).collect()),
            None => (text, Vec::new()),
        };
        Ok(vec![Ssh { id: id.into(), paths }])
    }

    fn from_value(value: &Value) -> Result<Ssh, String> {
        let converted = convert(value, &Ssh::kind())?;
        let id = attribute(&converted, "id").unwrap_or_default();
        let paths = converted.entries().and_then(|entries| entries.get("paths"));
        let paths = paths.and_then(Value::elements).unwrap_or_default();
        Ok(Ssh { id, paths: paths.iter().filter_map(Value::as_str).map(str::to_owned).collect() })
    }

    fn to_value(&self) -> Value {
        Value::object([("id".into(), Value::string(&self.id)), ("paths".into(), Value::strings(&self.paths))].into())
    }

    fn kind() -> Type {
        Type::optional_object(&[("id", Type::String), ("paths", Type::list(Type::String))])
    }
}
