//! Functions on lists and tuples.

use super::logic::has_index;
use super::{Builtin, Failure, Kind, any, items, nullable, number, parameter, row, variadic, whole};
use crate::number::Number;
use crate::value::{Type, Value, convert, unify};

const STRINGS: super::Parameter = parameter("list", Kind::Strings);
const LIST: super::Parameter = parameter("list", Kind::List);

pub const TABLE: &[Builtin] = &[
    row("chunklist", &[LIST, number("size")], |_, a| chunk(a)),
    row("compact", &[STRINGS], |_, a| {
        let kept = items(a, 0).iter().filter(|value| value.as_str().is_some_and(|text| !text.is_empty()));
        Ok(Value::list(Type::String, kept.cloned().collect()))
    }),
    variadic("concat", &[], any("seqs"), |_, a| concat(a)),
    row("contains", &[any("list"), nullable("value")], |_, a| contains(a)),
    row("distinct", &[LIST], |_, a| distinct(a)),
    row("element", &[any("list"), number("index")], |_, a| element(a)),
    row("flatten", &[any("list")], |_, a| {
        let elements = a[0].elements().ok_or("can only flatten lists, sets and tuples")?;
        let mut flat = Vec::new();
        flatten(elements, &mut flat);
        Ok(Value::tuple(flat))
    }),
    row("index", &[any("collection"), any("key")], |_, a| index(a)),
    row("indexof", &[any("list"), any("value")], |_, a| index_of(a)),
    row("length", &[any("collection")], |_, a| length(a)),
    variadic("range", &[], number("params"), |_, a| range(a)),
    row("reverselist", &[any("list")], |_, a| reverse(a)),
    row("slice", &[any("list"), number("start_index"), number("end_index")], |_, a| slice(a)),
    row("sort", &[STRINGS], |_, a| sort(a)),
];

/// A value like one of a sequence with other elements: a list of the same type, or a tuple.
fn like(value: &Value, elements: Vec<Value>) -> Value {
    match value {
        Value::List(element, _) | Value::Set(element, _) => Value::list(element.clone(), elements),
        _ => Value::tuple(elements),
    }
}

fn chunk(arguments: &[Value]) -> Result<Value, Failure> {
    let size = whole(arguments, 1).map_err(|why| format!("invalid size: {why}"))?;
    let size = usize::try_from(size).map_err(|_| "the size argument must be positive")?;
    let all = items(arguments, 0);
    let chunks = all.chunks(if size == 0 { all.len().max(1) } else { size });
    let chunks = chunks.map(|chunk| like(&arguments[0], chunk.to_vec())).collect();
    Ok(Value::list(arguments[0].kind(), chunks))
}

fn concat(arguments: &[Value]) -> Result<Value, Failure> {
    if arguments.is_empty() {
        return Err("at least one argument is required".into());
    }
    let kinds: Vec<Type> = arguments.iter().map(Value::kind).collect();
    if kinds.iter().all(|kind| matches!(kind, Type::List(_)))
        && let Some(common @ Type::List(_)) = unify(&kinds, true)
    {
        let mut all = Vec::new();
        for (at, list) in arguments.iter().enumerate() {
            let list = convert(list, &common).map_err(|why| Failure::Argument(at, why))?;
            all.extend_from_slice(list.elements().unwrap_or_default());
        }
        return Ok(Value::list(common.element().cloned().unwrap_or(Type::Dynamic), all));
    }
    let mut all = Vec::new();
    for (at, value) in arguments.iter().enumerate() {
        match value {
            Value::List(_, items) | Value::Tuple(items) => all.extend_from_slice(&items.values),
            other => {
                let why = format!("all arguments must be lists or tuples; got {}", other.kind().name());
                return Err(Failure::Argument(at, why));
            }
        }
    }
    Ok(Value::tuple(all))
}

fn contains(arguments: &[Value]) -> Result<Value, Failure> {
    let elements = arguments[0].elements().ok_or("argument must be list, tuple, or set")?;
    Ok(Value::Bool(elements.iter().any(|value| value.equals(&arguments[1]))))
}

fn distinct(arguments: &[Value]) -> Result<Value, Failure> {
    const MOST: usize = 4096;
    let all = items(arguments, 0);
    if all.len() > MOST {
        return Err(format!("more than {MOST} elements").into());
    }
    let mut kept: Vec<Value> = Vec::new();
    for value in all {
        if !kept.iter().any(|known| known.equals(value)) {
            kept.push(value.clone());
        }
    }
    Ok(like(&arguments[0], kept))
}

fn element(arguments: &[Value]) -> Result<Value, Failure> {
    let (Value::List(_, items) | Value::Tuple(items)) = &arguments[0] else {
        return Err(format!("cannot read elements from {}", arguments[0].kind().name()).into());
    };
    let index = whole(arguments, 1).map_err(|why| format!("invalid index: {why}"))?;
    let count = i64::try_from(items.values.len()).unwrap_or(i64::MAX);
    if count == 0 {
        return Err("cannot use element function with an empty list".into());
    }
    let at = usize::try_from(index.rem_euclid(count)).unwrap_or(0);
    Ok(items.values[at].clone())
}

fn flatten(elements: &[Value], flat: &mut Vec<Value>) {
    for value in elements {
        match value.elements() {
            Some(inner) => flatten(inner, flat),
            None => flat.push(value.clone()),
        }
    }
}

fn index(arguments: &[Value]) -> Result<Value, Failure> {
    let (collection, key) = (&arguments[0], &arguments[1]);
    match (collection, key) {
        (Value::Tuple(_), Value::Number(_)) | (Value::List(..), Value::Number(_)) => {}
        (Value::Map(..), Value::String(_)) => {}
        (Value::Tuple(_), _) => return Err("key for tuple must be number".into()),
        (Value::List(..), _) => return Err("key for list must be number".into()),
        (Value::Map(..), _) => return Err("key for map must be string".into()),
        _ => return Err("collection must be a list, a map or a tuple".into()),
    }
    if matches!(has_index(arguments)?, Value::Bool(false)) {
        let why = match collection {
            Value::Tuple(items) => format!("key must be between 0 and {} inclusive", items.values.len()),
            _ => "invalid index".into(),
        };
        return Err(why.into());
    }
    let found = match (collection.elements(), collection.entries()) {
        (Some(elements), _) => elements.get(usize::try_from(whole(arguments, 1)?).unwrap_or(0)),
        (_, Some(entries)) => key.as_str().and_then(|key| entries.get(key)),
        _ => None,
    };
    found.cloned().ok_or_else(|| "invalid index".into())
}

fn index_of(arguments: &[Value]) -> Result<Value, Failure> {
    let (Value::List(_, items) | Value::Tuple(items)) = &arguments[0] else {
        return Err("argument must be a list or tuple".into());
    };
    if items.values.is_empty() {
        return Err("cannot search an empty list".into());
    }
    let at = items.values.iter().position(|value| value.equals(&arguments[1])).ok_or("item not found")?;
    Ok(Value::Number(Number::from(at)))
}

fn length(arguments: &[Value]) -> Result<Value, Failure> {
    let count = match &arguments[0] {
        Value::Map(_, entries) => entries.values.len(),
        Value::Object(_) => return Err("collection must be a list, a map or a tuple".into()),
        other => other.elements().ok_or("collection must be a list, a map or a tuple")?.len(),
    };
    Ok(Value::Number(Number::from(count)))
}

fn range(arguments: &[Value]) -> Result<Value, Failure> {
    const MOST: usize = 1024;
    let numbers: Vec<Number> = arguments.iter().filter_map(Value::as_number).cloned().collect();
    let zero = Number::zero();
    let step = |down: bool| Number::from(if down { -1i64 } else { 1i64 });
    let (start, end, step) = match numbers.as_slice() {
        [end] => (zero.clone(), end.clone(), step(*end < zero)),
        [start, end] => (start.clone(), end.clone(), step(end < start)),
        [start, end, step] => (start.clone(), end.clone(), step.clone()),
        _ => return Err("must have one, two, or three arguments".into()),
    };
    let down = step < zero;
    if step.is_zero() {
        return Err(Failure::Argument(2, "step must not be zero".into()));
    }
    if down && end > start {
        return Err(Failure::Argument(1, "end must be less than start when step is negative".into()));
    }
    if !down && end < start {
        return Err(Failure::Argument(1, "end must be greater than start when step is positive".into()));
    }
    let (mut values, mut next) = (Vec::new(), start);
    while if down { next > end } else { next < end } {
        if values.len() >= MOST {
            let why = "more than 1024 values were generated; either decrease the difference between start and end or \
                       use a smaller step";
            return Err(why.into());
        }
        values.push(Value::Number(next.clone()));
        next = next.add(&step).ok_or("can't compute sum of opposing infinities")?;
    }
    Ok(Value::list(Type::Number, values))
}

fn reverse(arguments: &[Value]) -> Result<Value, Failure> {
    let elements = arguments[0].elements().ok_or_else(|| {
        let name = arguments[0].kind().name();
        Failure::Argument(0, format!("can only reverse list or tuple values, not {name}"))
    })?;
    Ok(like(&arguments[0], elements.iter().rev().cloned().collect()))
}

fn slice(arguments: &[Value]) -> Result<Value, Failure> {
    let wrong = |at: usize, why: &str| Failure::Argument(at, why.into());
    let items = match &arguments[0] {
        Value::List(_, items) | Value::Tuple(items) => items,
        Value::Set(..) => {
            let why = "cannot slice a set, because its elements do not have indices; explicitly convert to a list if \
                       the ordering of the result is not important";
            return Err(wrong(0, why));
        }
        _ => return Err(wrong(0, "must be a list or tuple value")),
    };
    let bound = |at: usize, name: &str| {
        let index = whole(arguments, at).map_err(|why| wrong(at, &format!("invalid {name} index: {why}")))?;
        let index =
            usize::try_from(index).map_err(|_| wrong(at, &format!("{name} index must not be less than zero")))?;
        if index > items.values.len() {
            return Err(wrong(at, &format!("{name} index must not be greater than the length of the list")));
        }
        Ok(index)
    };
    let (start, end) = (bound(1, "start")?, bound(2, "end")?);
    if start > end {
        return Err(wrong(1, "start index must not be greater than end index"));
    }
    Ok(like(&arguments[0], items.values[start..end].to_vec()))
}

fn sort(arguments: &[Value]) -> Result<Value, Failure> {
    let mut texts = Vec::new();
    for (at, value) in items(arguments, 0).iter().enumerate() {
        texts.push(value.as_str().ok_or_else(|| {
            Failure::from(format!("given list element {at} is null; a null string cannot be sorted"))
        })?);
    }
    texts.sort_unstable();
    Ok(Value::strings(texts))
}
