//! Type expressions: `string`, `list(number)`, `object({a = bool})`.

use crate::ast::{Call, Expr, Key, Kind};
use crate::problem::Problem;
use crate::syntax;
use crate::value::{Fields, Text, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const INVALID: &str = "Invalid type specification";

/// The type that an expression names.
pub fn type_of(expr: &Expr) -> Result<Type, Problem> {
    let wrong = |detail: String| Err(Problem::at(expr.span, INVALID, detail));
    if let Kind::JsonString(text, _) = &expr.kind {
        return match syntax::expression(expr.span.file, text, expr.span.start + 1) {
            Ok(inner) => type_of(&inner),
            Err(_) => wrong(FORMS.into()),
        };
    }
    match &expr.kind {
        Kind::Variable(word) => match word.as_str() {
            "bool" => Ok(Type::Bool),
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            "any" => Ok(Type::Dynamic),
            "list" | "map" | "set" | "object" | "tuple" => wrong(arguments(word)),
            word => {
                let known = ["bool", "string", "number", "any", "list", "set", "map", "object", "tuple"];
                let near = base::words::closest(word, known);
                let hint = near.map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
                wrong(format!("The keyword {word:?} is not a valid type specification.{hint}"))
            }
        },
        Kind::Call(call) => constructed(expr, call),
        _ => wrong(FORMS.into()),
    }
}

const FORMS: &str = "A type specification is either a primitive type keyword (bool, number, string) or a complex type \
                     constructor call, like list(string).";

fn arguments(word: &str) -> String {
    match word {
        "object" => {
            "The object type constructor requires one argument specifying the attribute types and values as a map."
                .into()
        }
        "tuple" => "The tuple type constructor requires one argument specifying the element types as a list.".into(),
        word => format!("The {word} type constructor requires one argument specifying the element type."),
    }
}

fn constructed(expr: &Expr, call: &Call) -> Result<Type, Problem> {
    let wrong = |detail: String| Err(Problem::at(expr.span, INVALID, detail));
    let argument = match (call.name.as_str(), call.arguments.as_slice()) {
        (word @ ("bool" | "string" | "number"), _) => {
            return wrong(format!("Primitive type keyword {word:?} does not expect arguments."));
        }
        (word @ "any", _) => return wrong(format!("Type constraint keyword {word:?} does not expect arguments.")),
        (word @ "optional", _) => {
            return wrong(format!("Keyword {word:?} is valid only as a modifier for object type attributes."));
        }
        ("list" | "set" | "map" | "object" | "tuple", [argument]) => argument,
        (word @ ("list" | "set" | "map" | "object" | "tuple"), _) => return wrong(arguments(word)),
        (word, _) => return wrong(format!("Keyword {word:?} is not a valid type constructor.")),
    };
    match call.name.as_str() {
        "list" => Ok(Type::list(type_of(argument)?)),
        "set" => Ok(Type::set(type_of(argument)?)),
        "map" => Ok(Type::map(type_of(argument)?)),
        "tuple" => match &argument.kind {
            Kind::Tuple(elements) => {
                Ok(Type::Tuple(elements.iter().map(type_of).collect::<Result<Vec<_>, _>>()?.into()))
            }
            _ => wrong("Tuple type constructor requires a list of element types.".into()),
        },
        _ => object(argument),
    }
}

fn object(argument: &Expr) -> Result<Type, Problem> {
    let wrong = |span, detail: &str| Err(Problem::at(span, INVALID, detail));
    let Kind::Object(items) = &argument.kind else {
        let detail = "Object type constructor requires a map whose keys are attribute names and whose values are the \
                      corresponding attribute types.";
        return wrong(argument.span, detail);
    };
    let (mut types, mut optional) = (BTreeMap::<Text, Type>::new(), BTreeSet::new());
    for (key, value) in items {
        let (name, span): (Text, _) = match key {
            Key::Name(name, span) => (name.as_str().into(), *span),
            Key::Expr(key) => return wrong(key.span, "Object constructor map keys must be attribute names."),
        };
        let kind = match &value.kind {
            Kind::Call(call) if call.name == "optional" => {
                optional.insert(name.clone());
                match call.arguments.as_slice() {
                    [] => {
                        return wrong(
                            value.span,
                            "Optional attribute modifier requires the attribute type as its argument.",
                        );
                    }
                    [kind] => kind,
                    _ => {
                        return wrong(
                            value.span,
                            "Optional attribute modifier expects only one argument: the attribute type.",
                        );
                    }
                }
            }
            _ => value,
        };
        if types.insert(name, type_of(kind)?).is_some() {
            return wrong(span, "Object constructor map keys must be unique.");
        }
    }
    Ok(Type::Object(Rc::new(Fields { types, optional })))
}
