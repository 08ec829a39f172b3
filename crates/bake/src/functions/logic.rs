//! Functions on truth values, and those that choose.

use super::{Builtin, Failure, Kind, any, boolean, nullable, number, parameter, row, variadic};
use crate::ast::Operator;
use crate::eval::operators::apply;
use crate::value::{Type, Value, convert, unify};

pub const TABLE: &[Builtin] = &[
    row("and", &[boolean("a"), boolean("b")], |_, a| Ok(apply(Operator::And, &a[0], &a[1])?)),
    row("byteslen", &[parameter("buf", Kind::Bytes)], |_, _| Err("bytes required".into())),
    row("bytesslice", &[parameter("buf", Kind::Bytes), number("offset"), number("length")], |_, _| {
        Err("bytes required".into())
    }),
    variadic("coalesce", &[], nullable("vals"), |_, a| coalesce(a)),
    variadic("coalescelist", &[], nullable("vals"), |_, a| coalesce_list(a)),
    row("equal", &[nullable("a"), nullable("b")], |_, a| Ok(Value::Bool(a[0].equals(&a[1])))),
    row("hasindex", &[any("collection"), any("key")], |_, a| has_index(a)),
    row("not", &[boolean("val")], |_, a| Ok(Value::Bool(!matches!(a[0], Value::Bool(true))))),
    row("notequal", &[nullable("a"), nullable("b")], |_, a| Ok(Value::Bool(!a[0].equals(&a[1])))),
    row("or", &[boolean("a"), boolean("b")], |_, a| Ok(apply(Operator::Or, &a[0], &a[1])?)),
];

fn coalesce(arguments: &[Value]) -> Result<Value, Failure> {
    let kinds: Vec<Type> = arguments.iter().map(Value::kind).collect();
    let common = unify(&kinds, true).ok_or("all arguments must have the same type")?;
    let first = arguments.iter().find(|value| !value.is_null()).ok_or("no non-null arguments")?;
    Ok(convert(first, &common)?)
}

fn coalesce_list(arguments: &[Value]) -> Result<Value, Failure> {
    if arguments.is_empty() {
        return Err("at least one argument is required".into());
    }
    if !arguments.iter().all(|value| matches!(value.kind(), Type::List(_) | Type::Tuple(_))) {
        return Err("coalescelist arguments must be lists or tuples".into());
    }
    let first = arguments.iter().find(|value| value.elements().is_some_and(|elements| !elements.is_empty()));
    first.cloned().ok_or_else(|| "no non-null arguments".into())
}

/// True where a list, map or tuple has an element of a key.
pub fn has_index(arguments: &[Value]) -> Result<Value, Failure> {
    let (collection, key) = (&arguments[0], &arguments[1]);
    Ok(Value::Bool(match collection {
        Value::List(_, items) | Value::Tuple(items) => {
            let at = key.as_number().and_then(|number| usize::try_from(number.to_i64()?).ok());
            at.is_some_and(|at| at < items.values.len())
        }
        Value::Map(_, entries) => key.as_str().is_some_and(|key| entries.values.contains_key(key)),
        _ => return Err("collection must be a list, a map or a tuple".into()),
    }))
}
