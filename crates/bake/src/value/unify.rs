//! The one type that several can be converted to.

use super::convert::{possible, safe};
use super::{Fields, Text, Type};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The common type; none where there is none. `lossy` allows conversions that may fail for some values.
pub fn unify(types: &[Type], lossy: bool) -> Option<Type> {
    let first = types.first()?;
    if types.iter().all(|kind| kind == first) {
        return Some(first.clone());
    }
    let count = |test: fn(&Type) -> bool| types.iter().filter(|kind| test(kind)).count();
    let maps = count(|kind| matches!(kind, Type::Map(_)));
    let lists = count(|kind| matches!(kind, Type::List(_)));
    let sets = count(|kind| matches!(kind, Type::Set(_)));
    let objects = count(|kind| matches!(kind, Type::Object(_)));
    let tuples = count(|kind| matches!(kind, Type::Tuple(_)));
    let dynamic = count(|kind| *kind == Type::Dynamic);
    let all = |some: usize| some > 0 && some + dynamic == types.len();
    if dynamic > 0 && [maps, lists, sets, objects, tuples].into_iter().any(all) {
        return Some(Type::Dynamic);
    }
    if maps == types.len() {
        return collection(types, lossy, Type::map);
    }
    if lists == types.len() {
        return collection(types, lossy, Type::list);
    }
    if sets == types.len() {
        return collection(types, lossy, Type::set);
    }
    if objects == types.len() {
        return unify_objects(types, lossy);
    }
    if tuples == types.len() {
        return unify_tuples(types, lossy);
    }
    if maps > 0 && maps + objects + dynamic == types.len() {
        if let Some(kind) = replaced(types, lossy, |kind| matches!(kind, Type::Object(_)), to_map) {
            return Some(kind);
        }
    } else if lists > 0 && lists + tuples + dynamic == types.len() {
        if let Some(kind) = replaced(types, lossy, |kind| matches!(kind, Type::Tuple(_)), to_list) {
            return Some(kind);
        }
    } else if objects > 0 && tuples > 0 {
        return None;
    }
    preferred(types, lossy)
}

fn convertible(from: &Type, to: &Type, lossy: bool) -> bool {
    from == to || if lossy { possible(from, to) } else { safe(from, to) }
}

fn preferred(types: &[Type], lossy: bool) -> Option<Type> {
    // A type that others convert to without loss comes first: text before numbers and truth values.
    let mut order: Vec<usize> = (0..types.len()).collect();
    order.sort_by_key(|&at| {
        let safely = types.iter().filter(|other| **other != types[at] && safe(other, &types[at])).count();
        std::cmp::Reverse(safely)
    });
    let wanted = order.into_iter().find(|&at| types.iter().all(|kind| convertible(kind, &types[at], lossy)));
    wanted.map(|at| types[at].clone())
}

fn collection(types: &[Type], lossy: bool, make: fn(Type) -> Type) -> Option<Type> {
    let elements: Vec<Type> = types.iter().filter_map(Type::element).cloned().collect();
    let kind = make(unify(&elements, lossy)?);
    types.iter().all(|from| convertible(from, &kind, lossy)).then_some(kind)
}

fn replaced(types: &[Type], lossy: bool, is: fn(&Type) -> bool, to: fn(&[Type], bool) -> Option<Type>) -> Option<Type> {
    let some: Vec<Type> = types.iter().filter(|kind| is(kind)).cloned().collect();
    let common = to(&some, lossy)?;
    let types: Vec<Type> = types.iter().map(|kind| if is(kind) { common.clone() } else { kind.clone() }).collect();
    unify(&types, lossy).filter(Type::is_collection)
}

fn unify_objects(types: &[Type], lossy: bool) -> Option<Type> {
    let all: Vec<&Rc<Fields>> =
        types.iter().filter_map(|kind| if let Type::Object(fields) = kind { Some(fields) } else { None }).collect();
    let first = all.first()?;
    if all.iter().any(|fields| !fields.types.keys().eq(first.types.keys())) {
        return to_map(types, lossy);
    }
    let mut common: BTreeMap<Text, Type> = BTreeMap::new();
    for name in first.types.keys() {
        let across: Vec<Type> = all.iter().map(|fields| fields.types[name].clone()).collect();
        common.insert(name.clone(), unify(&across, lossy)?);
    }
    let kind = Type::object(common);
    if types.iter().all(|from| convertible(from, &kind, lossy)) { Some(kind) } else { to_map(types, lossy) }
}

fn unify_tuples(types: &[Type], lossy: bool) -> Option<Type> {
    let all: Vec<&Rc<[Type]>> =
        types.iter().filter_map(|kind| if let Type::Tuple(elements) = kind { Some(elements) } else { None }).collect();
    let first = all.first()?;
    if all.iter().any(|elements| elements.len() != first.len()) {
        return to_list(types, lossy);
    }
    let across = |at: usize| -> Vec<Type> { all.iter().map(|elements| elements[at].clone()).collect() };
    let common: Option<Vec<Type>> = (0..first.len()).map(|at| unify(&across(at), lossy)).collect();
    let kind = Type::Tuple(common?.into());
    if types.iter().all(|from| convertible(from, &kind, lossy)) { Some(kind) } else { to_list(types, lossy) }
}

fn to_map(types: &[Type], lossy: bool) -> Option<Type> {
    let mut attributes = Vec::new();
    for kind in types {
        if let Type::Object(fields) = kind {
            attributes.extend(fields.types.values().cloned());
        }
    }
    let kind = Type::map(unify(&attributes, lossy)?);
    types.iter().all(|from| convertible(from, &kind, lossy)).then_some(kind)
}

fn to_list(types: &[Type], lossy: bool) -> Option<Type> {
    let mut elements = Vec::new();
    for kind in types {
        if let Type::Tuple(some) = kind {
            elements.extend(some.iter().cloned());
        }
    }
    let kind = Type::list(unify(&elements, lossy)?);
    types.iter().all(|from| convertible(from, &kind, lossy)).then_some(kind)
}
