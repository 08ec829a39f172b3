//! Attributes and indexes.

use crate::problem::{Problem, Span};
use crate::value::{Type, Value, convert};

/// `value.name`
pub fn attribute(value: &Value, name: &str, span: Span) -> Result<Value, Problem> {
    const UNSUPPORTED: &str = "Unsupported attribute";
    if value.is_null() {
        let detail = "This value is null, so it does not have any attributes.";
        return Err(Problem::at(span, "Attempt to get attribute from null value", detail));
    }
    match value {
        Value::Object(entries) => entries.values.get(name).cloned().ok_or_else(|| {
            let mut detail = format!("This object does not have an attribute named {name:?}.");
            if let Some(near) = base::words::closest(name, entries.values.keys().map(|known| &**known)) {
                detail.push_str(&format!(" Did you mean {near:?}?"));
            }
            Problem::at(span, UNSUPPORTED, detail)
        }),
        Value::Map(_, entries) => entries.values.get(name).cloned().ok_or_else(|| {
            let detail = format!("This map does not have an element with the key {name:?}.");
            Problem::at(span, "Missing map element", detail)
        }),
        Value::List(Type::Object(_), _) => {
            let detail = "Can't access attributes on a list of objects. Did you mean to access an attribute for a \
                          specific element of the list, or across all elements of the list?";
            Err(Problem::at(span, UNSUPPORTED, detail))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            let name = value.kind().name();
            let detail = format!("Can't access attributes on a primitive-typed value ({name}).");
            Err(Problem::at(span, UNSUPPORTED, detail))
        }
        _ => Err(Problem::at(span, UNSUPPORTED, "This value does not have any attributes.")),
    }
}

/// `value[key]`
pub fn index(value: &Value, key: &Value, span: Span) -> Result<Value, Problem> {
    const NOT_THERE: &str = "The given key does not identify an element in this collection value";
    let wrong = |detail: String| Problem::at(span, "Invalid index", detail);
    if value.is_null() {
        let detail = "This value is null, so it does not have any indices.";
        return Err(Problem::at(span, "Attempt to index null value", detail));
    }
    if key.is_null() {
        return Err(wrong("Can't use a null value as an indexing key.".into()));
    }
    let converted = |want: &Type| convert(key, want).map_err(|why| wrong(format!("{NOT_THERE}: {why}.")));
    match value {
        Value::List(_, items) | Value::Tuple(items) => {
            let key = converted(&Type::Number)?;
            let number = key.as_number().ok_or_else(|| wrong(format!("{NOT_THERE}.")))?;
            let why = if !number.is_integer() {
                "indexing a sequence requires a whole number, but the given index has a fractional part"
            } else if number.is_negative() {
                "a negative number is not a valid index for a sequence"
            } else if items.values.is_empty() {
                "the collection has no elements"
            } else {
                "the given index is greater than or equal to the length of the collection"
            };
            let at = number.to_i64().and_then(|at| usize::try_from(at).ok());
            let found = at.and_then(|at| items.values.get(at)).cloned();
            found.ok_or_else(|| wrong(format!("{NOT_THERE}: {why}.")))
        }
        Value::Map(_, entries) | Value::Object(entries) => {
            let key = converted(&Type::String)?;
            let found = key.as_str().and_then(|key| entries.values.get(key)).cloned();
            found.ok_or_else(|| wrong(format!("{NOT_THERE}.")))
        }
        Value::Set(..) => Err(wrong(
            "Elements of a set are identified only by their value and don't have any separate index or key to select \
             with, so it's only possible to perform operations across all elements of the set."
                .into(),
        )),
        _ => Err(wrong("This value does not have any indices.".into())),
    }
}
