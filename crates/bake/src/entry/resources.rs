//! Limits of the resources of build steps.

use crate::value::{Type, Value, convert};

/// Limits; none where nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// `memory`
    pub memory: Option<String>,
    /// `memory-swap`
    pub memory_swap: Option<String>,
    /// `cpu-shares`
    pub cpu_shares: Option<i64>,
    /// `cpu-period`
    pub cpu_period: Option<i64>,
    /// `cpu-quota`
    pub cpu_quota: Option<i64>,
    /// `cpuset-cpus`
    pub cpuset_cpus: Option<String>,
    /// `cpuset-mems`
    pub cpuset_mems: Option<String>,
}

impl Resources {
    /// The type of the object.
    pub fn kind() -> Type {
        Type::optional_object(&[
            ("memory", Type::String),
            ("memory-swap", Type::String),
            ("cpu-shares", Type::Number),
            ("cpu-period", Type::Number),
            ("cpu-quota", Type::Number),
            ("cpuset-cpus", Type::String),
            ("cpuset-mems", Type::String),
        ])
    }

    /// Reads an object.
    pub fn from_value(value: &Value) -> Result<Resources, String> {
        let converted = convert(value, &Resources::kind())?;
        let entries = converted.entries().ok_or("an object is required")?;
        let text = |name: &str| entries.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| match entries.get(name).and_then(Value::as_number) {
            None => Ok(None),
            Some(number) => number.to_i64().map(Some).ok_or("value must be a whole number"),
        };
        Ok(Resources {
            memory: text("memory"),
            memory_swap: text("memory-swap"),
            cpu_shares: number("cpu-shares")?,
            cpu_period: number("cpu-period")?,
            cpu_quota: number("cpu-quota")?,
            cpuset_cpus: text("cpuset-cpus"),
            cpuset_mems: text("cpuset-mems"),
        })
    }

    /// Sets one limit from the command line.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || {
            let parsed = value.parse::<i64>();
            parsed.map(Some).map_err(|_| format!("invalid value {value} for int64 key resources.{name}"))
        };
        match name {
            "memory" => self.memory = Some(value.into()),
            "memory-swap" => self.memory_swap = Some(value.into()),
            "cpu-shares" => self.cpu_shares = number()?,
            "cpu-period" => self.cpu_period = number()?,
            "cpu-quota" => self.cpu_quota = number()?,
            "cpuset-cpus" => self.cpuset_cpus = Some(value.into()),
            "cpuset-mems" => self.cpuset_mems = Some(value.into()),
            _ => return Err(format!("unknown resources key {name}")),
        }
        Ok(())
    }

    /// Takes over what another sets.
    pub fn merge(&mut self, other: &Resources) {
        fn over<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
            if other.is_some() {
                own.clone_from(other);
            }
        }
        over(&mut self.memory, &other.memory);
        over(&mut self.memory_swap, &other.memory_swap);
        over(&mut self.cpu_shares, &other.cpu_shares);
        over(&mut self.cpu_period, &other.cpu_period);
        over(&mut self.cpu_quota, &other.cpu_quota);
        over(&mut self.cpuset_cpus, &other.cpuset_cpus);
        over(&mut self.cpuset_mems, &other.cpuset_mems);
    }

    /// The value that a reference sees.
    pub fn to_value(&self) -> Value {
        let text = |value: &Option<String>| value.as_ref().map_or(Value::Null(Type::String), Value::string);
        let number = |value: Option<i64>| value.map_or(Value::Null(Type::Number), Value::integer);
        Value::object(
            [
                ("memory".into(), text(&self.memory)),
                ("memory-swap".into(), text(&self.memory_swap)),
                ("cpu-shares".into(), number(self.cpu_shares)),
                ("cpu-period".into(), number(self.cpu_period)),
                ("cpu-quota".into(), number(self.cpu_quota)),
                ("cpuset-cpus".into(), text(&self.cpuset_cpus)),
                ("cpuset-mems".into(), text(&self.cpuset_mems)),
            ]
            .into(),
        )
    }
}
