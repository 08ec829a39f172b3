//! Attributes of a target's block, one row each: how a value is read, and what a reference sees.

use super::{Options, Target};
use crate::entry::{self, Entry, Resources};
use crate::value::{Text, Type, Value, convert};
use std::collections::BTreeMap;

type Read = fn(&mut Target, &Value) -> Result<(), String>;
type Show = fn(&Target) -> Value;

struct Row {
    name: &'static str,
    read: Read,
    show: Show,
}

const ROWS: &[Row] = &[
    row("description", |t, v| put(&mut t.description, required(v)), |t| Value::string(&t.description)),
    row(
        "inherits",
        |t, v| put(&mut t.inherits, strings(v).map(Option::unwrap_or_default)),
        |t| Value::strings(&t.inherits),
    ),
    row("annotations", |t, v| put(&mut t.annotations, strings(v)), |t| list(&t.annotations)),
    row("attest", |t, v| put(&mut t.attest, entries(v)), |t| entry::show(t.attest.as_deref())),
    row("context", |t, v| put(&mut t.context, text(v)), |t| optional(&t.context)),
    row("contexts", |t, v| put(&mut t.contexts, contexts(v)), show_contexts),
    row("dockerfile", |t, v| put(&mut t.dockerfile, text(v)), |t| optional(&t.dockerfile)),
    row("dockerfile-inline", |t, v| put(&mut t.dockerfile_inline, text(v)), |t| optional(&t.dockerfile_inline)),
    row("args", |t, v| put(&mut t.args, options(v)), |t| show_options(&t.args)),
    row("labels", |t, v| put(&mut t.labels, options(v)), |t| show_options(&t.labels)),
    row("tags", |t, v| put(&mut t.tags, strings(v)), |t| list(&t.tags)),
    row("cache-from", |t, v| put(&mut t.cache_from, entries(v)), |t| entry::show(t.cache_from.as_deref())),
    row("cache-to", |t, v| put(&mut t.cache_to, entries(v)), |t| entry::show(t.cache_to.as_deref())),
    row("target", |t, v| put(&mut t.target, text(v)), |t| optional(&t.target)),
    row("secret", |t, v| put(&mut t.secrets, entries(v)), |t| entry::show(t.secrets.as_deref())),
    row("ssh", |t, v| put(&mut t.ssh, entries(v)), |t| entry::show(t.ssh.as_deref())),
    row("platforms", |t, v| put(&mut t.platforms, strings(v)), |t| list(&t.platforms)),
    row("output", |t, v| put(&mut t.outputs, entries(v)), |t| entry::show(t.outputs.as_deref())),
    row("pull", |t, v| put(&mut t.pull, switch(v)), |t| show_switch(t.pull)),
    row("no-cache", |t, v| put(&mut t.no_cache, switch(v)), |t| show_switch(t.no_cache)),
    row("network", |t, v| put(&mut t.network, text(v)), |t| optional(&t.network)),
    row("no-cache-filter", |t, v| put(&mut t.no_cache_filter, strings(v)), |t| list(&t.no_cache_filter)),
    row("shm-size", |t, v| put(&mut t.shm_size, text(v)), |t| optional(&t.shm_size)),
    row("ulimits", |t, v| put(&mut t.ulimits, strings(v)), |t| list(&t.ulimits)),
    row("resources", |t, v| put(&mut t.resources, resources(v)), show_resources),
    row("call", |t, v| put(&mut t.call, text(v)), |t| optional(&t.call)),
    row("entitlements", |t, v| put(&mut t.entitlements, strings(v)), |t| list(&t.entitlements)),
    row("extra-hosts", |t, v| put(&mut t.extra_hosts, options(v)), |t| show_options(&t.extra_hosts)),
    row("policy", |t, v| put(&mut t.policy, entries(v)), |t| entry::show(t.policy.as_deref())),
];

/// Attributes that are not a target's own: they make several of it.
const SPECIAL: &[&str] = &["matrix", "name"];

/// All names of attributes.
pub const NAMES: fn() -> Vec<&'static str> =
    || ROWS.iter().map(|row| row.name).chain(SPECIAL.iter().copied()).collect();

const fn row(name: &'static str, read: Read, show: Show) -> Row {
    Row { name, read, show }
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// Sets an attribute from its value. An unknown name is none: `Ok(None)`.
pub fn set(target: &mut Target, name: &str, value: &Value) -> Result<Option<&'static str>, String> {
    let Some(row) = ROWS.iter().find(|row| row.name == name) else { return Ok(None) };
    (row.read)(target, value)?;
    Ok(Some(row.name))
}

impl Target {
    /// True of an attribute that a target has.
    pub fn knows(name: &str) -> bool {
        ROWS.iter().any(|row| row.name == name)
    }

    /// The value that a reference to the target sees.
    pub fn to_value(&self) -> Value {
        let mut values: BTreeMap<Text, Value> = ROWS.iter().map(|row| (row.name.into(), (row.show)(self))).collect();
        values.insert("name".into(), Value::string(&self.name));
        Value::object(values)
    }
}

fn required(value: &Value) -> Result<String, String> {
    text(value)?.ok_or_else(|| "null value is not allowed".into())
}

fn text(value: &Value) -> Result<Option<String>, String> {
    Ok(convert(value, &Type::String)?.as_str().map(str::to_owned))
}

fn switch(value: &Value) -> Result<Option<bool>, String> {
    match convert(value, &Type::Bool)? {
        Value::Bool(truth) => Ok(Some(truth)),
        _ => Ok(None),
    }
}

/// A list of text; none for null.
pub(super) fn strings(value: &Value) -> Result<Option<Vec<String>>, String> {
    let value = convert(value, &Type::list(Type::String))?;
    let Some(elements) = value.elements() else { return Ok(None) };
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("null value is not allowed".to_owned());
    elements.iter().map(text).collect::<Result<_, _>>().map(Some)
}

fn options(value: &Value) -> Result<Options, String> {
    let value = convert(value, &Type::map(Type::String))?;
    let text = |(name, value): (&Text, &Value)| (name.to_string(), value.as_str().map(str::to_owned));
    Ok(value.entries().map(|entries| entries.iter().map(text).collect()).unwrap_or_default())
}

fn contexts(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let required = |(name, value): (String, Option<String>)| match value {
        Some(value) => Ok((name, value)),
        None => Err("null value is not allowed".to_owned()),
    };
    options(value)?.into_iter().map(required).collect()
}

fn entries<E: Entry>(value: &Value) -> Result<Option<Vec<E>>, String> {
    if value.is_null() { Ok(None) } else { entry::read(value).map(Some) }
}

fn resources(value: &Value) -> Result<Option<Resources>, String> {
    if value.is_null() { Ok(None) } else { Resources::from_value(value).map(Some) }
}

fn optional(text: &Option<String>) -> Value {
    text.as_ref().map_or(Value::Null(Type::String), Value::string)
}

fn list(texts: &Option<Vec<String>>) -> Value {
    texts.as_ref().map_or(Value::Null(Type::list(Type::String)), Value::strings)
}

fn show_switch(truth: Option<bool>) -> Value {
    truth.map_or(Value::Null(Type::Bool), Value::Bool)
}

fn show_options(options: &Options) -> Value {
    if options.is_empty() {
        return Value::Null(Type::map(Type::String));
    }
    let entries = options.iter().map(|(name, value)| (Text::from(name.as_str()), optional(value)));
    Value::map(Type::String, entries.collect())
}

fn show_contexts(target: &Target) -> Value {
    let options: Options = target.contexts.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    show_options(&options)
}

fn show_resources(target: &Target) -> Value {
    target.resources.as_ref().map_or_else(|| Value::Null(Resources::kind()), Resources::to_value)
}
