//! The sentence that says why a value is of the wrong type.

use super::Type;
use super::convert::possible;

/// The sentence, in go-cty's words.
pub fn mismatch(got: &Type, want: &Type) -> String {
    let required = || format!("{} required", want.constraint_name());
    match (got, want) {
        (Type::Object(_), Type::Object(_)) => objects(got, want),
        (Type::Tuple(_), Type::List(element)) if **element == Type::Dynamic => {
            "all list elements must have the same type".into()
        }
        (Type::Tuple(_), Type::Set(element)) if **element == Type::Dynamic => {
            "all set elements must have the same type".into()
        }
        (Type::Object(_), Type::Map(element)) if **element == Type::Dynamic => {
            "all map elements must have the same type".into()
        }
        (Type::Tuple(elements), Type::List(want) | Type::Set(want)) => elements
            .iter()
            .enumerate()
            .find(|(_, got)| *got != &**want && !possible(got, want))
            .map(|(at, got)| format!("element {at}: {}", mismatch(got, want)))
            .unwrap_or_else(|| format!("all elements must be {}", want.constraint_name())),
        (Type::Object(fields), Type::Map(want)) => fields
            .types
            .iter()
            .find(|(_, got)| *got != &**want && !possible(got, want))
            .map(|(name, got)| format!("element {name:?}: {}", mismatch(got, want)))
            .unwrap_or_else(|| format!("all elements must be {}", want.constraint_name())),
        (Type::Tuple(_) | Type::Object(_), want) if want.is_collection() => required(),
        (Type::List(got) | Type::Set(got), Type::List(want)) => {
            format!("incorrect list element type: {}", mismatch(got, want))
        }
        (Type::List(got) | Type::Set(got), Type::Set(want)) => {
            format!("incorrect set element type: {}", mismatch(got, want))
        }
        (Type::Map(got), Type::Map(want)) => format!("incorrect map element type: {}", mismatch(got, want)),
        (got, want) if got.is_collection() && want.is_collection() => required(),
        (got, want) if confusing(got, want) => required(),
        _ => format!("{} required, but have {}", want.name(), got.name()),
    }
}

/// True where naming both types would confuse: their names say too little.
fn confusing(got: &Type, want: &Type) -> bool {
    if got.is_primitive() != want.is_primitive() || *want == Type::String {
        return false;
    }
    !matches!((got, want), (Type::Number, Type::Bool) | (Type::Bool, Type::Number))
        && !matches!((got, want), (Type::Tuple(_), Type::Object(_)))
}

fn objects(got: &Type, want: &Type) -> String {
    let (Type::Object(got), Type::Object(want)) = (got, want) else { return String::new() };
    let missing: Vec<String> = want
        .types
        .keys()
        .filter(|name| !got.types.contains_key(*name) && !want.optional.contains(*name))
        .map(|name| format!("{name:?}"))
        .collect();
    match missing.as_slice() {
        [] => {}
        [one] => return format!("attribute {one} is required"),
        [one, two] => return format!("attributes {one} and {two} are required"),
        [some @ .., last] => return format!("attributes {}, and {last} are required", some.join(", ")),
    }
    for (name, want) in &want.types {
        if let Some(got) = got.types.get(name)
            && got != want
            && !possible(got, want)
        {
            return format!("attribute {name:?}: {}", mismatch(got, want));
        }
    }
    "incorrect object attributes".into()
}
