//! Calls: of built-in functions, and of those that the definition makes.

use super::{CALLS, Evaluator, Scope};
use crate::ast::{Call, Expr};
use crate::functions::{self, Builtin, Failure, Parameter};
use crate::problem::{Problem, Span};
use crate::types::type_of;
use crate::value::{Value, convert};
use std::rc::Rc;

/// A function of the definition.
pub struct UserFunction {
    /// Names of its parameters.
    pub parameters: Vec<String>,
    /// The name of the parameter that takes all further arguments.
    pub variadic: Option<String>,
    /// The result.
    pub result: Rc<Expr>,
}

/// An argument: one that is written, or one of a sequence that was written.
enum Argument<'a> {
    Expr(&'a Expr),
    Value(Value, Span),
}

impl Argument<'_> {
    fn span(&self) -> Span {
        match self {
            Argument::Expr(expr) => expr.span,
            Argument::Value(_, span) => *span,
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn call(&self, call: &Call, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        match call.name.as_str() {
            "try" => return self.attempt(call, span, scope),
            "can" => {
                self.count(call, span, &["expression"], false, call.arguments.len(), None)?;
                return Ok(Value::Bool(self.eval(&call.arguments[0], scope).is_ok()));
            }
            "convert" => return self.convert(call, span, scope),
            _ => {}
        }
        let user = self.functions.borrow().get(&call.name).cloned();
        match (functions::find(&call.name), user) {
            (_, Some(user)) => self.user(call, &user, span, scope),
            (Some(builtin), None) => self.builtin(call, builtin, span, scope),
            (None, None) => Err(self.unknown(call)),
        }
    }

    fn unknown(&self, call: &Call) -> Problem {
        let mut detail = format!("There is no function named {:?}.", call.name);
        let user: Vec<String> = self.functions.borrow().keys().cloned().collect();
        let mut names: Vec<&str> = user.iter().map(String::as_str).collect();
        for name in functions::names() {
            names.push(name);
        }
        if let Some(near) = base::words::closest(&call.name, names) {
            detail.push_str(&format!(" Did you mean {near:?}?"));
        }
        Problem::at(call.name_span, "Call to unknown function", detail)
    }

    fn arguments<'a>(&self, call: &'a Call, scope: &Scope<'_>) -> Result<Vec<Argument<'a>>, Problem> {
        let mut arguments: Vec<Argument<'a>> = call.arguments.iter().map(Argument::Expr).collect();
        if call.expand
            && let Some(last) = call.arguments.last()
        {
            let value = self.eval(last, scope)?;
            let elements = value.elements().ok_or_else(|| {
                let detail = if value.is_null() {
                    "The expanding argument (indicated by ...) must not be null."
                } else {
                    "The expanding argument (indicated by ...) must be of a tuple, list, or set type."
                };
                Problem::at(last.span, "Invalid expanding argument value", detail)
            })?;
            arguments.pop();
            arguments.extend(elements.iter().map(|value| Argument::Value(value.clone(), last.span)));
        }
        Ok(arguments)
    }

    fn count(
        &self,
        call: &Call,
        span: Span,
        names: &[&str],
        variadic: bool,
        given: usize,
        extra: Option<Span>,
    ) -> Result<(), Problem> {
        let (name, wanted) = (&call.name, names.len());
        if given < wanted {
            let least = if variadic { " at least" } else { "" };
            let missing = names[given];
            let detail =
                format!("Function {name:?} expects{least} {wanted} argument(s). Missing value for {missing:?}.");
            return Err(Problem::at(span, "Not enough function arguments", detail));
        }
        if given > wanted && !variadic {
            let detail = format!("Function {name:?} expects only {wanted} argument(s).");
            return Err(Problem::at(extra.unwrap_or(span), "Too many function arguments", detail));
        }
        Ok(())
    }

    fn builtin(&self, call: &Call, builtin: &Builtin, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        let arguments = self.arguments(call, scope)?;
        let names: Vec<&str> = builtin.parameters.iter().map(|parameter| parameter.name).collect();
        let extra = arguments.get(names.len()).map(Argument::span);
        self.count(call, span, &names, builtin.variadic.is_some(), arguments.len(), extra)?;
        let parameter = |at: usize| builtin.parameters.get(at).or(builtin.variadic.as_ref());
        let invalid = |at: usize, why: &str| {
            let name = parameter(at).map_or("", |parameter| parameter.name);
            let place = arguments.get(at).map_or(span, Argument::span);
            let detail = format!("Invalid value for {name:?} parameter: {why}.");
            Problem::at(place, "Invalid function argument", detail).help(format!(
                "this is argument {} of {}()",
                at + 1,
                call.name
            ))
        };
        let mut values = Vec::with_capacity(arguments.len());
        for (at, argument) in arguments.iter().enumerate() {
            let value = match argument {
                Argument::Expr(expr) => self.eval(expr, scope)?,
                Argument::Value(value, _) => value.clone(),
            };
            let parameter = parameter(at).unwrap_or(&Parameter::ANY);
            let value = convert(&value, &parameter.kind()).map_err(|why| invalid(at, &why))?;
            values.push(value);
        }
        for (at, value) in values.iter().enumerate() {
            if value.is_null() && !parameter(at).is_some_and(|parameter| parameter.null) {
                return Err(invalid(at, "argument must not be null"));
            }
        }
        let result = (builtin.run)(self.host, &values).map_err(|failure| match failure {
            Failure::Argument(at, why) => invalid(at, &why),
            Failure::Whole(why) => {
                let detail = format!("Call to function {:?} failed: {why}.", call.name);
                Problem::at(span, "Error in function call", detail)
            }
        })?;
        Ok(result)
    }

    fn user(&self, call: &Call, user: &UserFunction, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        let arguments = self.arguments(call, scope)?;
        let names: Vec<&str> = user.parameters.iter().map(String::as_str).collect();
        let extra = arguments.get(names.len()).map(Argument::span);
        self.count(call, span, &names, user.variadic.is_some(), arguments.len(), extra)?;
        let mut values = Vec::with_capacity(arguments.len());
        for (at, argument) in arguments.iter().enumerate() {
            let value = match argument {
                Argument::Expr(expr) => self.eval(expr, scope)?,
                Argument::Value(value, _) => value.clone(),
            };
            if value.is_null() {
                let name = names.get(at).copied().or(user.variadic.as_deref()).unwrap_or_default();
                let detail = format!("Invalid value for {name:?} parameter: argument must not be null.");
                return Err(Problem::at(argument.span(), "Invalid function argument", detail));
            }
            values.push(value);
        }
        if self.calls.get() >= CALLS {
            return Err(Problem::at(span, "Too deeply nested", format!("At most {CALLS} calls within each other.")));
        }
        let rest = values.split_off(names.len());
        let mut variables: Vec<(&str, Value)> = names.into_iter().zip(values).collect();
        if let Some(name) = &user.variadic {
            variables.push((name, Value::tuple(rest)));
        }
        self.calls.set(self.calls.get() + 1);
        let result = self.eval(&user.result, &Scope::new(None, &variables));
        self.calls.set(self.calls.get() - 1);
        result
    }

    fn attempt(&self, call: &Call, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        let failed = |why: &str| {
            let detail = format!("Call to function \"try\" failed: {why}.");
            Problem::at(span, "Error in function call", detail)
        };
        if call.arguments.is_empty() {
            return Err(failed("at least one argument is required"));
        }
        let mut reasons = String::new();
        for argument in &call.arguments {
            match self.eval(argument, scope) {
                Ok(value) => return Ok(value),
                Err(problem) => reasons.push_str(&format!("\n- {problem}")),
            }
        }
        Err(failed(&format!(
            "no expression succeeded:{reasons}\n\nAt least one expression must produce a successful result"
        )))
    }

    fn convert(&self, call: &Call, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        self.count(call, span, &["value", "type"], false, call.arguments.len(), None)?;
        let [value, kind] = call.arguments.as_slice() else { return Err(self.unknown(call)) };
        let kind = type_of(kind)?;
        let place = value.span;
        convert(&self.eval(value, scope)?, &kind).map_err(|why| {
            let detail = format!("Invalid value for \"value\" parameter: {why}.");
            Problem::at(place, "Invalid function argument", detail)
        })
    }
}
