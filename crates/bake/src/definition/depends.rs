//! All that an expression names is evaluated before it.

use super::{Definition, Place, Trouble, keyword};
use crate::ast::{Body, Expr, Kind};
use crate::eval::{Scope, UserFunction};
use crate::functions;
use crate::problem::Problem;
use crate::value::Value;
use std::rc::Rc;

/// Values that depend on each other, one after the other.
const DEEPEST: usize = 200;

/// A variable in an expression and the steps behind it.
struct Reference {
    name: String,
    steps: Vec<Step>,
}

enum Step {
    Attribute(String),
    Index,
}

/// Names in an expression: of functions, and of variables that no `for` within it defines.
#[derive(Default)]
struct Names {
    functions: Vec<String>,
    variables: Vec<Reference>,
}

impl Names {
    fn of(expr: &Expr) -> Names {
        let mut names = Names::default();
        names.visit(expr, &mut Vec::new());
        names
    }

    fn visit<'e>(&mut self, expr: &'e Expr, locals: &mut Vec<&'e str>) {
        if let Some((name, steps)) = chain(expr) {
            if !locals.contains(&name) {
                self.variables.push(Reference { name: name.to_owned(), steps });
            }
            return;
        }
        if let Kind::Call(call) = &expr.kind {
            self.functions.push(call.name.clone());
        }
        expr.children(&mut |child, defined| {
            let before = locals.len();
            locals.extend(defined);
            self.visit(child, locals);
            locals.truncate(before);
        });
    }
}

/// A variable with attributes and constant indexes behind it.
fn chain(expr: &Expr) -> Option<(&str, Vec<Step>)> {
    match &expr.kind {
        Kind::Variable(name) => Some((name, Vec::new())),
        Kind::Attribute(source, name) => {
            let (root, mut steps) = chain(source)?;
            steps.push(Step::Attribute(name.clone()));
            Some((root, steps))
        }
        Kind::Index(source, key) if matches!(key.kind, Kind::Literal(_)) => {
            let (root, mut steps) = chain(source)?;
            steps.push(Step::Index);
            Some((root, steps))
        }
        _ => None,
    }
}

/// True where an expression of a body names groups or targets.
pub(super) fn refers_to_blocks(body: &Body) -> bool {
    let refers = |expr: &Expr| {
        let names = Names::of(expr).variables;
        names.iter().any(|reference| matches!(reference.name.as_str(), "group" | "target"))
    };
    body.attributes.iter().any(|attribute| refers(&attribute.value))
        || body.blocks.iter().any(|block| refers_to_blocks(&block.body))
}

impl Definition<'_> {
    /// The value of an expression, after all that it names was evaluated.
    pub(super) fn evaluate_at(&mut self, place: &Place, expr: &Expr) -> Result<Value, Trouble> {
        self.load(place, expr, &[], true)?;
        Ok(self.value_at(place, expr)?)
    }

    /// The value of an expression whose names were evaluated.
    pub(super) fn value_at(&self, place: &Place, expr: &Expr) -> Result<Value, Problem> {
        let variables: Vec<(&str, Value)> =
            place.variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        self.eval.eval(expr, &Scope::new(None, &variables))
    }

    /// Evaluates all that an expression names, but `except`. What does not exist is left to the evaluation, where
    /// `missing` allows it.
    pub(super) fn load(&mut self, place: &Place, expr: &Expr, except: &[&str], missing: bool) -> Result<(), Problem> {
        if self.depth >= DEEPEST {
            let detail = format!("More than {DEEPEST} values depend on each other.");
            return Err(Problem::at(expr.span, "Too deeply nested", detail));
        }
        self.depth += 1;
        let loaded = self.load_names(place, expr, except, missing);
        self.depth -= 1;
        loaded
    }

    fn load_names(&mut self, place: &Place, expr: &Expr, except: &[&str], missing: bool) -> Result<(), Problem> {
        const INVALID: &str = "Invalid expression";
        let names = Names::of(expr);
        let check = |result: Result<(), Trouble>| match result {
            Err(Trouble::Missing(_)) if missing => Ok(()),
            result => result.map_err(|trouble| trouble.at(INVALID, expr.span)),
        };
        for name in names.functions {
            check(self.resolve_function(&name))?;
        }
        for Reference { name, steps } in names.variables {
            if except.contains(&name.as_str()) {
                continue;
            }
            if !self.named.is_empty() && matches!(name.as_str(), "group" | "target") {
                let wrong = |detail: String| Err(Problem::at(expr.span, INVALID, detail));
                let block = match steps.first() {
                    None => return wrong(format!("cannot access {name} as a variable")),
                    Some(Step::Index) => return wrong(format!("cannot traverse {name} without attribute")),
                    Some(Step::Attribute(block)) => block.clone(),
                };
                let only = match steps.get(1) {
                    Some(Step::Attribute(attribute)) => Some(attribute.as_str()),
                    _ => None,
                };
                for at in self.named.get(&(name, block)).cloned().unwrap_or_default() {
                    check(self.resolve_block(at, only))?;
                }
            } else {
                check(self.resolve_value(place, &name))?;
            }
        }
        Ok(())
    }

    pub(super) fn resolve_function(&mut self, name: &str) -> Result<(), Trouble> {
        if functions::exists(name) || self.eval.functions.borrow().contains_key(name) {
            return Ok(());
        }
        let Some(block) = self.functions.get(name).cloned() else {
            return Err(Trouble::Missing(format!("function {name:?} does not exist")));
        };
        if !self.progress.insert((0, format!("function {name}"))) {
            return Err(Problem::plain(format!("function cycle not allowed for {name}")).into());
        }
        let attribute = |attribute: &str| block.body.attribute(attribute).map(|found| found.value.clone());
        let result = attribute("result");
        let result = result.ok_or_else(|| Problem::plain(format!("empty result not allowed for {name}")))?;
        let params = attribute("params");
        let params = params.ok_or_else(|| Problem::plain(format!("empty params not allowed for {name}")))?;
        let Kind::Tuple(items) = &params.kind else {
            return Err(Problem::at(params.span, "Invalid expression", "A static list expression is required.").into());
        };
        let word = |expr: &Expr| match keyword(expr) {
            Some(word) => Ok(word.to_owned()),
            None => Err(Problem::at(expr.span, "Invalid param element", "Each parameter name must be an identifier.")),
        };
        let parameters: Vec<String> = items.iter().map(word).collect::<Result<_, _>>()?;
        let variadic = attribute("variadic_params").map(|expr| word(&expr)).transpose()?;
        let own: Vec<&str> = parameters.iter().chain(&variadic).map(String::as_str).collect();
        self.load(&Place::default(), &result, &own, false)?;
        let function = UserFunction { parameters, variadic, result };
        self.eval.functions.borrow_mut().insert(name.to_owned(), Rc::new(function));
        Ok(())
    }
}
