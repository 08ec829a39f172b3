//! The functions that every definition may call, one row each.
//!
//! `try`, `can` and `convert` take expressions rather than values: `eval::call` has them.

mod encoding;
mod format;
mod hashes;
mod lists;
mod logic;
mod maps;
mod network;
mod numbers;
mod patterns;
mod rsa;
mod sets;
mod strings;
mod time;
mod versions;

use crate::host::Host;
use crate::value::{Type, Value};

/// A function.
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// The parameter of all further arguments.
    pub variadic: Option<Parameter>,
    /// The work, on converted arguments.
    pub run: Run,
}

/// The work of a function.
pub type Run = fn(&dyn Host, &[Value]) -> Result<Value, Failure>;

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name, in messages.
    pub name: &'static str,
    /// Its type.
    kind: Kind,
    /// An argument may be null.
    pub null: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Any,
    String,
    Number,
    Bool,
    Bytes,
    Strings,
    List,
    Set,
}

impl Parameter {
    /// Anything.
    pub const ANY: Parameter = any("value");

    /// The type that an argument is converted to.
    pub fn kind(&self) -> Type {
        match self.kind {
            Kind::Any => Type::Dynamic,
            Kind::String => Type::String,
            Kind::Number => Type::Number,
            Kind::Bool => Type::Bool,
            Kind::Bytes => Type::Bytes,
            Kind::Strings => Type::list(Type::String),
            Kind::List => Type::list(Type::Dynamic),
            Kind::Set => Type::set(Type::Dynamic),
        }
    }
}

const fn parameter(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, null: false }
}

const fn any(name: &'static str) -> Parameter {
    parameter(name, Kind::Any)
}

const fn nullable(name: &'static str) -> Parameter {
    Parameter { null: true, ..any(name) }
}

const fn string(name: &'static str) -> Parameter {
    parameter(name, Kind::String)
}

const fn number(name: &'static str) -> Parameter {
    parameter(name, Kind::Number)
}

const fn boolean(name: &'static str) -> Parameter {
    parameter(name, Kind::Bool)
}

const fn row(name: &'static str, parameters: &'static [Parameter], run: Run) -> Builtin {
    Builtin { name, parameters, variadic: None, run }
}

const fn variadic(name: &'static str, parameters: &'static [Parameter], rest: Parameter, run: Run) -> Builtin {
    Builtin { name, parameters, variadic: Some(rest), run }
}

/// A call that fails.
#[derive(Debug)]
pub enum Failure {
    /// Because of an argument, counted from 0.
    Argument(usize, String),
    /// As a whole.
    Whole(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Whole(why)
    }
}

impl From<&str> for Failure {
    fn from(why: &str) -> Failure {
        Failure::Whole(why.into())
    }
}

const TABLES: &[&[Builtin]] = &[
    encoding::TABLE,
    format::TABLE,
    hashes::TABLE,
    lists::TABLE,
    logic::TABLE,
    maps::TABLE,
    network::TABLE,
    numbers::TABLE,
    patterns::TABLE,
    sets::TABLE,
    strings::TABLE,
    time::TABLE,
    versions::TABLE,
];

/// Functions of expressions.
const SPECIAL: &[&str] = &["can", "convert", "try"];

/// The function of a name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    TABLES.iter().flat_map(|table| table.iter()).find(|builtin| builtin.name == name)
}

/// True of the name of a function.
pub fn exists(name: &str) -> bool {
    SPECIAL.contains(&name) || find(name).is_some()
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().flat_map(|table| table.iter()).map(|builtin| builtin.name).chain(SPECIAL.iter().copied())
}

/// Text that a function makes may have so many bytes.
const LONGEST: usize = 16 << 20;

/// Fails before text is made that would be too long.
fn affordable(length: Option<usize>) -> Result<(), Failure> {
    match length {
        Some(length) if length <= LONGEST => Ok(()),
        _ => Err(format!("the result would be longer than {} MiB", LONGEST >> 20).into()),
    }
}

/// The text of an argument that is a string.
fn text(arguments: &[Value], at: usize) -> &str {
    arguments.get(at).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of an argument that is a sequence.
fn items(arguments: &[Value], at: usize) -> &[Value] {
    arguments.get(at).and_then(Value::elements).unwrap_or_default()
}

/// An argument that must be a whole number.
fn whole(arguments: &[Value], at: usize) -> Result<i64, String> {
    let number = arguments.get(at).and_then(Value::as_number).ok_or("a number is required")?;
    if !number.is_integer() {
        return Err("value must be a whole number".into());
    }
    number
        .to_i64()
        .ok_or_else(|| format!("value must be a whole number, between {} and {} inclusive", i64::MIN, i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_106_functions_and_each_has_one_row() {
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 106, "{all:?}");
        assert_eq!(names().count(), 106);
    }
}
