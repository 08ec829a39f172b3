//! Operators.

use super::{Evaluator, Scope};
use crate::ast::{Expr, Operator};
use crate::number::Number;
use crate::problem::{Problem, Span};
use crate::value::{Type, Value, convert};

const NULL: &str = "argument must not be null";

impl Evaluator<'_> {
    pub(super) fn binary(
        &self,
        operator: Operator,
        left: &Expr,
        right: &Expr,
        span: Span,
        scope: &Scope<'_>,
    ) -> Result<Value, Problem> {
        let want = operand(operator);
        let side = |name: &str, expr: &Expr| match self.eval(expr, scope) {
            Err(problem) => Err((false, problem)),
            Ok(value) => convert(&value, &want).map_err(|why| {
                let detail = format!("Unsuitable value for {name} operand: {why}.");
                (true, Problem::at(expr.span, "Invalid operand", detail))
            }),
        };
        let (left, right) = (side("left", left), side("right", right));
        for side in [&left, &right] {
            if let Err((true, problem)) = side {
                return Err(problem.clone());
            }
        }
        // The side that decides alone hides an error on the other.
        let decides = match operator {
            Operator::Or => Some(true),
            Operator::And => Some(false),
            _ => None,
        };
        if let Some(truth) = decides
            && [&left, &right].into_iter().any(|side| matches!(side, Ok(Value::Bool(found)) if *found == truth))
        {
            return Ok(Value::Bool(truth));
        }
        let left = left.map_err(|(_, problem)| problem)?;
        let right = right.map_err(|(_, problem)| problem)?;
        apply(operator, &left, &right)
            .map_err(|why| Problem::at(span, "Operation failed", format!("Error during operation: {why}.")))
    }

    pub(super) fn not(&self, inner: &Expr, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        match self.unary(inner, &Type::Bool, span, scope)? {
            Value::Bool(truth) => Ok(Value::Bool(!truth)),
            other => Ok(other),
        }
    }

    pub(super) fn negate(&self, inner: &Expr, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        match self.unary(inner, &Type::Number, span, scope)? {
            Value::Number(number) => Ok(Value::Number(number.negate())),
            other => Ok(other),
        }
    }

    fn unary(&self, inner: &Expr, want: &Type, span: Span, scope: &Scope<'_>) -> Result<Value, Problem> {
        let value = self.eval(inner, scope)?;
        let value = convert(&value, want).map_err(|why| {
            let detail = format!("Unsuitable value for unary operand: {why}.");
            Problem::at(inner.span, "Invalid operand", detail)
        })?;
        if value.is_null() {
            return Err(Problem::at(span, "Operation failed", format!("Error during operation: {NULL}.")));
        }
        Ok(value)
    }
}

fn operand(operator: Operator) -> Type {
    match operator {
        Operator::Or | Operator::And => Type::Bool,
        Operator::Equal | Operator::NotEqual => Type::Dynamic,
        _ => Type::Number,
    }
}

/// The result of an operator on converted operands.
pub fn apply(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    match operator {
        Operator::Equal => return Ok(Value::Bool(left.equals(right))),
        Operator::NotEqual => return Ok(Value::Bool(!left.equals(right))),
        _ => {}
    }
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Ok(Value::Bool(match operator {
            Operator::Or => *left || *right,
            _ => *left && *right,
        })),
        (Value::Number(left), Value::Number(right)) => numbers(operator, left, right),
        _ => Err(NULL.into()),
    }
}

fn numbers(operator: Operator, left: &Number, right: &Number) -> Result<Value, String> {
    let (result, why) = match operator {
        Operator::Greater => return Ok(Value::Bool(left > right)),
        Operator::GreaterOrEqual => return Ok(Value::Bool(left >= right)),
        Operator::Less => return Ok(Value::Bool(left < right)),
        Operator::LessOrEqual => return Ok(Value::Bool(left <= right)),
        Operator::Add => (left.add(right), "can't compute sum of opposing infinities"),
        Operator::Subtract => (left.subtract(right), "can't subtract infinity from itself"),
        Operator::Multiply => (left.multiply(right), "can't multiply zero by infinity"),
        Operator::Divide => (left.divide(right), "can't divide zero by zero or infinity by infinity"),
        _ => (left.modulo(right), "can't use modulo with zero and infinity"),
    };
    result.map(Value::Number).ok_or_else(|| why.into())
}
