//! Functions on sets.

use super::{Builtin, Failure, Kind, any, items, parameter, row, variadic};
use crate::value::{Type, Value, convert, unify};

const FIRST: super::Parameter = parameter("first_set", Kind::Set);
const OTHERS: super::Parameter = parameter("other_sets", Kind::Set);
/// Elements of a product.
const MOST: usize = 100_000;

pub const TABLE: &[Builtin] = &[
    row("sethaselement", &[parameter("set", Kind::Set), any("elem")], |_, a| {
        Ok(Value::Bool(items(a, 0).iter().any(|value| value.equals(&a[1]))))
    }),
    variadic("setintersection", &[FIRST], OTHERS, |_, a| {
        operate(a, |one, two| one.iter().filter(|value| has(two, value)).cloned().collect())
    }),
    variadic("setproduct", &[], any("sets"), |_, a| product(a)),
    row("setsubtract", &[parameter("a", Kind::Set), parameter("b", Kind::Set)], |_, a| operate(a, without)),
    variadic("setsymmetricdifference", &[FIRST], OTHERS, |_, a| {
        operate(a, |one, two| [without(one, two), without(two, one)].concat())
    }),
    variadic("setunion", &[FIRST], OTHERS, |_, a| operate(a, |one, two| [one, two].concat())),
];

fn has(values: &[Value], wanted: &Value) -> bool {
    values.iter().any(|value| value.equals(wanted))
}

fn without(one: &[Value], two: &[Value]) -> Vec<Value> {
    one.iter().filter(|value| !has(two, value)).cloned().collect()
}

fn operate(arguments: &[Value], run: impl Fn(&[Value], &[Value]) -> Vec<Value>) -> Result<Value, Failure> {
    const LARGEST: usize = 10_000;
    if arguments.iter().any(|set| set.elements().is_some_and(|all| all.len() > LARGEST)) {
        return Err(format!("a set has more than {LARGEST} elements").into());
    }
    let mut elements = Vec::new();
    for set in arguments {
        if let Value::Set(element, items) = set
            && !(items.values.is_empty() && *element == Type::Dynamic)
        {
            elements.push(element.clone());
        }
    }
    let element = match elements.is_empty() {
        true => Type::Dynamic,
        false => unify(&elements, true).ok_or("given sets must all have compatible element types")?,
    };
    let mut all = None;
    for (at, set) in arguments.iter().enumerate() {
        let set = convert(set, &Type::set(element.clone())).map_err(|why| Failure::Argument(at, why))?;
        let values = set.elements().unwrap_or_default();
        all = Some(match all {
            None => set.clone(),
            Some(before) => {
                let before: Value = before;
                Value::set(element.clone(), run(before.elements().unwrap_or_default(), values))
            }
        });
    }
    all.ok_or_else(|| "at least one set is required".into())
}

fn product(arguments: &[Value]) -> Result<Value, Failure> {
    if arguments.len() < 2 {
        return Err("at least two arguments are required".into());
    }
    let (mut elements, mut axes, mut sets) = (Vec::new(), Vec::new(), false);
    let mut total = 1usize;
    for (at, value) in arguments.iter().enumerate() {
        let values = value.elements().ok_or_else(|| Failure::Argument(at, "a set or a list is required".into()))?;
        let element = match value {
            Value::List(element, _) | Value::Set(element, _) => element.clone(),
            _ if values.is_empty() => Type::Dynamic,
            _ => {
                let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
                unify(&kinds, true)
                    .ok_or_else(|| Failure::Argument(at, "all elements must be of the same type".into()))?
            }
        };
        sets |= matches!(value, Value::Set(..));
        total = total.saturating_mul(values.len());
        axes.push(values.iter().map(|value| convert(value, &element)).collect::<Result<Vec<_>, _>>()?);
        elements.push(element);
    }
    if total > MOST {
        return Err(format!("the product would have more than {MOST} elements").into());
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for axis in &axes {
        let longer = |row: &Vec<Value>, value: &Value| row.iter().chain([value]).cloned().collect();
        rows = rows.iter().flat_map(|row| axis.iter().map(move |value| longer(row, value))).collect();
    }
    let values = rows.into_iter().map(Value::tuple).collect();
    let element = Type::Tuple(elements.into());
    Ok(if sets { Value::set(element, values) } else { Value::list(element, values) })
}
