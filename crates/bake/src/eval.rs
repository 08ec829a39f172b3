//! The value of an expression.

mod access;
mod call;
pub mod operators;

pub use call::UserFunction;

use crate::ast::{Expr, For, Key, Kind};
use crate::host::Host;
use crate::problem::{Problem, Span};
use crate::value::{Text, Type, Value, convert, mismatch, unify};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Expressions that are evaluated at most, all definitions of a run together.
const STEPS: u64 = 4_000_000;
/// Heaviest value, see `Value::weight`.
const WEIGHT: u64 = 32 << 20;
/// Weight of all values that are made.
const TOTAL: u64 = 8 << 30;
/// Values within each other.
const DEPTH: u32 = 100;
/// Calls of functions of the definition within each other.
const CALLS: u32 = 64;

/// Variables that are seen in a part of an expression.
#[derive(Clone, Copy, Default)]
pub struct Scope<'a> {
    parent: Option<&'a Scope<'a>>,
    names: &'a [(&'a str, Value)],
}

impl<'a> Scope<'a> {
    /// Variables over those of an outer scope.
    pub fn new(parent: Option<&'a Scope<'a>>, names: &'a [(&'a str, Value)]) -> Scope<'a> {
        Scope { parent, names }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let own = self.names.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        own.or_else(|| self.parent?.get(name))
    }
}

/// The name in a scope of the element of the innermost splat.
const ITEM: &str = "*";

/// Variables and functions that every expression sees, and what may still be spent.
pub struct Evaluator<'h> {
    /// The world outside.
    pub host: &'h dyn Host,
    /// Variables.
    pub globals: RefCell<HashMap<String, Value>>,
    /// Values of blocks by kind and name: variables that are made into objects only where one is used as a whole.
    pub blocks: RefCell<HashMap<String, BTreeMap<Text, Value>>>,
    /// Functions of the definition.
    pub functions: RefCell<HashMap<String, Rc<UserFunction>>>,
    steps: Cell<u64>,
    made: Cell<u64>,
    calls: Cell<u32>,
}

impl<'h> Evaluator<'h> {
    /// An evaluator that knows no variables yet.
    pub fn new(host: &'h dyn Host) -> Evaluator<'h> {
        Evaluator {
            host,
            globals: RefCell::default(),
            blocks: RefCell::default(),
            functions: RefCell::default(),
            steps: Cell::new(0),
            made: Cell::new(0),
            calls: Cell::new(0),
        }
    }

    /// The value of an expression.
    pub fn eval(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Value, Problem> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS {
            let detail = format!("More than {STEPS} expressions would have to be evaluated.");
            return Err(Problem::at(expr.span, "Too much to evaluate", detail));
        }
        let value = self.value(expr, scope)?;
        self.affordable(&value, expr.span)?;
        Ok(value)
    }

    fn affordable(&self, value: &Value, span: Span) -> Result<(), Problem> {
        let weight = value.weight();
        if weight <= 64 {
            return Ok(());
        }
        self.made.set(self.made.get().saturating_add(weight));
        if weight > WEIGHT || self.made.get() > TOTAL || value.depth() > DEPTH {
            return Err(Problem::at(span, "Value too large", "The value would take too much memory."));
        }
        self.steps.set(self.steps.get() + weight / 4096);
        Ok(())
    }

    /// The value of an expression where neither variables nor functions may be used.
    pub fn constant(expr: &Expr, host: &'h dyn Host) -> Result<Value, Problem> {
        match &expr.kind {
            Kind::JsonString(text, _) => Ok(Value::string(text)),
            Kind::Variable(_) => {
                Err(Problem::at(expr.span, "Variables not allowed", "Variables may not be used here."))
            }
            Kind::Call(_) => {
                Err(Problem::at(expr.span, "Function calls not allowed", "Functions may not be called here."))
            }
            _ => Evaluator::new(host).eval(expr, &Scope::default()),
        }
    }

    fn value(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Value, Problem> {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Template(parts) => self.template(parts, scope),
            Kind::Wrapped(inner) => self.eval(inner, scope),
            Kind::JsonString(_, Ok(template)) => self.eval(template, scope),
            Kind::JsonString(_, Err(problem)) => Err((**problem).clone()),
            Kind::Variable(name) => self.variable(name, expr.span, scope),
            Kind::Attribute(source, name) if self.is_block(source, scope) => self.block(source, name, expr.span),
            Kind::Attribute(source, name) => access::attribute(&self.eval(source, scope)?, name, expr.span),
            Kind::Index(source, key) => {
                let source = self.eval(source, scope)?;
                access::index(&source, &self.eval(key, scope)?, key.span)
            }
            Kind::Splat(source, each) => self.splat(source, each, expr.span, scope),
            Kind::Item => Ok(scope.get(ITEM).cloned().unwrap_or(Value::Null(Type::Dynamic))),
            Kind::Tuple(parts) => {
                let values = parts.iter().map(|part| self.eval(part, scope));
                Ok(Value::tuple(values.collect::<Result<_, _>>()?))
            }
            Kind::Object(items) => self.object(items, scope),
            Kind::Call(call) => self.call(call, expr.span, scope),
            Kind::Conditional(condition, yes, no) => self.conditional(condition, yes, no, scope),
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right, expr.span, scope),
            Kind::Not(inner) => self.not(inner, expr.span, scope),
            Kind::Negate(inner) => self.negate(inner, expr.span, scope),
            Kind::For(inner) => self.for_each(inner, expr.span, scope),
        }
    }

    fn variable(&self, name: &str, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        if let Some(value) = scope.get(name) {
            return Ok(value.clone());
        }
        if let Some(blocks) = self.blocks.borrow().get(name) {
            return Ok(whole(blocks));
        }
        let globals = self.globals.borrow();
        globals.get(name).cloned().ok_or_else(|| {
            let mut detail = format!("There is no variable named {name:?}.");
            if let Some(near) = base::words::closest(name, globals.keys().map(String::as_str)) {
                detail.push_str(&format!(" Did you mean {near:?}?"));
            }
            Problem::at(span, "Unknown variable", detail)
        })
    }

    fn is_block(&self, source: &Expr, scope: &Scope<'_>) -> bool {
        let Kind::Variable(kind) = &source.kind else { return false };
        scope.get(kind).is_none() && self.blocks.borrow().contains_key(kind)
    }

    fn block(&self, source: &Expr, name: &str, span: Span) -> Result<Value, Problem> {
        let Kind::Variable(kind) = &source.kind else { return Ok(Value::Null(Type::Dynamic)) };
        let all = self.blocks.borrow();
        let blocks = all.get(kind);
        if let Some(found) = blocks.and_then(|blocks| blocks.get(name)) {
            return Ok(found.clone());
        }
        access::attribute(&blocks.map_or(Value::Null(Type::Dynamic), whole), name, span)
    }

    fn template(&self, parts: &[Expr], scope: &Scope<'_>) -> Result<Value, Problem> {
        const INVALID: &str = "Invalid template interpolation value";
        let mut text = String::new();
        for part in parts {
            let value = self.eval(part, scope)?;
            if value.is_null() {
                let detail = "The expression result is null. Cannot include a null value in a string template.";
                return Err(Problem::at(part.span, INVALID, detail));
            }
            let value = convert(&value, &Type::String).map_err(|why| {
                let detail = format!("Cannot include the given value in a string template: {why}.");
                Problem::at(part.span, INVALID, detail)
            })?;
            text.push_str(value.as_str().unwrap_or_default());
        }
        Ok(Value::string(text))
    }

    fn object(&self, items: &[(Key, Expr)], scope: &Scope<'_>) -> Result<Value, Problem> {
        let mut values: BTreeMap<Text, Value> = BTreeMap::new();
        for (key, value) in items {
            let name: Text = match key {
                Key::Name(name, _) => name.as_str().into(),
                Key::Expr(key) => {
                    let name = self.eval(key, scope)?;
                    if name.is_null() {
                        return Err(Problem::at(key.span, "Null value as key", "Can't use a null value as a key."));
                    }
                    let name = convert(&name, &Type::String).map_err(|why| {
                        Problem::at(key.span, "Incorrect key type", format!("Can't use this value as a key: {why}."))
                    })?;
                    name.as_str().unwrap_or_default().into()
                }
            };
            values.insert(name, self.eval(value, scope)?);
        }
        Ok(Value::object(values))
    }

    /// Both results are evaluated, since the type of the one depends on the other; an error in the one that is not
    /// taken is no error.
    fn conditional(&self, condition: &Expr, yes: &Expr, no: &Expr, scope: &Scope<'_>) -> Result<Value, Problem> {
        const INCONSISTENT: &str = "Inconsistent conditional result types";
        let (first, second) = (self.eval(yes, scope), self.eval(no, scope));
        let common = match (&first, &second) {
            (Ok(first), Ok(second)) if first.is_untyped_null() => Some(second.kind()),
            (Ok(first), Ok(second)) if second.is_untyped_null() => Some(first.kind()),
            (Ok(first), Ok(second)) => {
                let kinds = [first.kind(), second.kind()];
                let common = unify(&kinds, true).ok_or_else(|| {
                    let [first, second] = &kinds;
                    let detail = format!(
                        "The true and false result expressions must have consistent types. The 'true' value is {}, \
                         but the 'false' value is {}.",
                        first.name(),
                        second.name()
                    );
                    Problem::at(yes.span.to(no.span), INCONSISTENT, detail)
                })?;
                Some(common)
            }
            _ => None,
        };
        let truth = self.eval(condition, scope)?;
        if truth.is_null() {
            let detail = "The condition value is null. Conditions must either be true or false.";
            return Err(Problem::at(condition.span, "Null condition", detail));
        }
        let truth = convert(&truth, &Type::Bool).map_err(|_| {
            Problem::at(condition.span, "Incorrect condition type", "The condition expression must be of type bool.")
        })?;
        let (taken, expr) = if matches!(truth, Value::Bool(true)) { (first?, yes) } else { (second?, no) };
        match common {
            Some(Type::Dynamic) | None => Ok(taken),
            Some(common) => convert(&taken, &common).map_err(|why| {
                Problem::at(expr.span, INCONSISTENT, format!("The result value has the wrong type: {why}."))
            }),
        }
    }

    fn splat(&self, source: &Expr, each: &Expr, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        let value = self.eval(source, scope)?;
        let sequence = matches!(value.kind(), Type::Tuple(_) | Type::List(_) | Type::Set(_));
        if value.is_null() && !sequence {
            return Ok(Value::tuple(Vec::new()));
        }
        if value.is_null() {
            let detail = "Splat expressions (with the * symbol) cannot be applied to null sequences.";
            return Err(Problem::at(source.span, "Splat of null value", detail));
        }
        let items = value.elements().map_or_else(|| vec![value.clone()], <[Value]>::to_vec);
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let names = [(ITEM, item)];
            values.push(self.eval(each, &Scope::new(Some(scope), &names))?);
        }
        if !matches!(value, Value::List(..) | Value::Set(..)) {
            return Ok(Value::tuple(values));
        }
        let Some(first) = values.first().map(Value::kind) else {
            return Ok(Value::list(Type::Dynamic, values));
        };
        if values.iter().any(|value| value.kind() != first) {
            let detail = "The second level of splat expression produced elements of different types.";
            return Err(Problem::at(span, "Invalid nested splat expressions", detail));
        }
        Ok(Value::list(first, values))
    }

    fn for_each(&self, inner: &For, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        let collection = self.eval(&inner.collection, scope)?;
        let place = inner.collection.span;
        if collection.is_null() {
            let detail = "A null value cannot be used as the collection in a 'for' expression.";
            return Err(Problem::at(place, "Iteration over null value", detail));
        }
        let pairs = collection.pairs().ok_or_else(|| {
            let name = collection.kind().name();
            let detail = format!("A value of type {name} cannot be used as the collection in a 'for' expression.");
            Problem::at(place, "Iteration over non-iterable value", detail)
        })?;
        let (mut values, mut named) = (Vec::new(), BTreeMap::<Text, Vec<Value>>::new());
        for (key, value) in pairs {
            let mut names = vec![(inner.value.as_str(), value)];
            if let Some(name) = &inner.key {
                names.insert(0, (name, key));
            }
            let scope = Scope::new(Some(scope), &names);
            if let Some(condition) = &inner.condition
                && !self.holds(condition, &scope)?
            {
                continue;
            }
            let Some(key) = &inner.result_key else {
                values.push(self.eval(&inner.result, &scope)?);
                continue;
            };
            let name = self.result_key(key, &scope)?;
            let value = self.eval(&inner.result, &scope)?;
            let group = named.entry(name.clone()).or_default();
            if !group.is_empty() && !inner.group {
                let detail = format!(
                    "Two different items produced the key {:?} in this 'for' expression. If duplicates are expected, \
                     use the ellipsis (...) after the value expression to enable grouping by key.",
                    &*name
                );
                return Err(Problem::at(key.span, "Duplicate object key", detail));
            }
            group.push(value);
        }
        if inner.join {
            let parts = values.iter().map(|value| value.as_str().unwrap_or_default());
            return Ok(Value::string(parts.collect::<String>()));
        }
        if inner.result_key.is_none() {
            return Ok(Value::tuple(values));
        }
        let one = |mut group: Vec<Value>| group.pop().unwrap_or(Value::Null(Type::Dynamic));
        let value = |group: Vec<Value>| if inner.group { Value::tuple(group) } else { one(group) };
        let made = Value::object(named.into_iter().map(|(name, group)| (name, value(group))).collect());
        self.affordable(&made, span)?;
        Ok(made)
    }

    fn holds(&self, condition: &Expr, scope: &Scope<'_>) -> Result<bool, Problem> {
        const INVALID: &str = "Invalid 'for' condition";
        let value = self.eval(condition, scope)?;
        if value.is_null() {
            return Err(Problem::at(condition.span, INVALID, "The value of the 'if' clause must not be null."));
        }
        let value = convert(&value, &Type::Bool)
            .map_err(|why| Problem::at(condition.span, INVALID, format!("The 'if' clause value is invalid: {why}.")))?;
        Ok(matches!(value, Value::Bool(true)))
    }

    fn result_key(&self, key: &Expr, scope: &Scope<'_>) -> Result<Text, Problem> {
        const INVALID: &str = "Invalid object key";
        let value = self.eval(key, scope)?;
        if value.is_null() {
            let detail = "Key expression in 'for' expression must not produce a null value.";
            return Err(Problem::at(key.span, INVALID, detail));
        }
        match convert(&value, &Type::String) {
            Ok(Value::String(text)) => Ok(text),
            Ok(other) => Err(Problem::at(key.span, INVALID, mismatch(&other.kind(), &Type::String))),
            Err(why) => {
                Err(Problem::at(key.span, INVALID, format!("The key expression produced an invalid result: {why}.")))
            }
        }
    }
}

/// All blocks of a kind as one value. Until the first is evaluated it is an empty map, as in buildx.
fn whole(blocks: &BTreeMap<Text, Value>) -> Value {
    match blocks.is_empty() {
        true => Value::map(Type::map(Type::String), BTreeMap::new()),
        false => Value::object(blocks.clone()),
    }
}
