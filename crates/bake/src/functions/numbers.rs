//! Functions on numbers.

use super::{Builtin, Failure, any, number, row, variadic, whole};
use crate::ast::Operator;
use crate::eval::operators::apply;
use crate::number::Number;
use crate::value::Value;
use num_bigint::BigUint;
use std::cmp::Ordering;

pub const TABLE: &[Builtin] = &[
    row("absolute", &[number("num")], |_, a| one(a, Number::absolute)),
    row("add", &[number("a"), number("b")], |_, a| two(a, Operator::Add)),
    row("ceil", &[number("num")], |_, a| one(a, |number| number.whole(true))),
    row("divide", &[number("a"), number("b")], |_, a| two(a, Operator::Divide)),
    row("floor", &[number("num")], |_, a| one(a, |number| number.whole(false))),
    row("greaterthan", &[number("a"), number("b")], |_, a| two(a, Operator::Greater)),
    row("greaterthanorequalto", &[number("a"), number("b")], |_, a| two(a, Operator::GreaterOrEqual)),
    row("int", &[number("num")], |_, a| one(a, Number::truncate)),
    row("lessthan", &[number("a"), number("b")], |_, a| two(a, Operator::Less)),
    row("lessthanorequalto", &[number("a"), number("b")], |_, a| two(a, Operator::LessOrEqual)),
    row("log", &[number("num"), number("base")], |_, a| float(a, |num, base| num.ln() / base.ln())),
    variadic("max", &[], number("numbers"), |_, a| extreme(a, Ordering::Greater)),
    variadic("min", &[], number("numbers"), |_, a| extreme(a, Ordering::Less)),
    row("modulo", &[number("a"), number("b")], |_, a| two(a, Operator::Modulo)),
    row("multiply", &[number("a"), number("b")], |_, a| two(a, Operator::Multiply)),
    row("negate", &[number("num")], |_, a| one(a, Number::negate)),
    row("parseint", &[any("number"), number("base")], |_, a| parse_int(a)),
    row("pow", &[number("num"), number("power")], |_, a| float(a, f64::powf)),
    row("signum", &[number("num")], |_, a| Ok(Value::integer(whole(a, 0)?.signum()))),
    row("subtract", &[number("a"), number("b")], |_, a| two(a, Operator::Subtract)),
];

fn get(arguments: &[Value], at: usize) -> Result<&Number, Failure> {
    arguments.get(at).and_then(Value::as_number).ok_or_else(|| "a number is required".into())
}

fn one(arguments: &[Value], run: impl Fn(&Number) -> Number) -> Result<Value, Failure> {
    Ok(Value::Number(run(get(arguments, 0)?)))
}

fn two(arguments: &[Value], operator: Operator) -> Result<Value, Failure> {
    match arguments {
        [left, right] => Ok(apply(operator, left, right)?),
        _ => Err("two numbers are required".into()),
    }
}

fn float(arguments: &[Value], run: impl Fn(f64, f64) -> f64) -> Result<Value, Failure> {
    let result = run(get(arguments, 0)?.to_f64(), get(arguments, 1)?.to_f64());
    let number = Number::from_f64(result).ok_or("the result is not a number")?;
    Ok(Value::Number(number))
}

fn extreme(arguments: &[Value], wanted: Ordering) -> Result<Value, Failure> {
    let mut best = Number::infinity(wanted == Ordering::Greater);
    if arguments.is_empty() {
        return Err("must pass at least one number".into());
    }
    for number in arguments.iter().filter_map(Value::as_number) {
        if number.cmp(&best) == wanted {
            best = number.clone();
        }
    }
    Ok(Value::Number(best))
}

fn parse_int(arguments: &[Value]) -> Result<Value, Failure> {
    const LONGEST: usize = 4096;
    let Some(text) = arguments.first().and_then(Value::as_str) else {
        let name = arguments.first().map(|value| value.kind().name()).unwrap_or_default();
        return Err(Failure::Argument(0, format!("first argument must be a string, not {name}")));
    };
    let base = whole(arguments, 1).map_err(|why| Failure::Argument(1, why))?;
    let bad = || Failure::Argument(0, format!("cannot parse {text:?} as a base {base} integer"));
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=62).contains(base))
        .ok_or_else(|| Failure::Argument(1, "base must be a whole number between 2 and 62 inclusive".into()))?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || digits.len() > LONGEST {
        return Err(bad());
    }
    let mut value = BigUint::ZERO;
    for c in digits.chars() {
        // Up to base 36 case does not count; above it, lower case comes first.
        let digit = match c {
            '0'..='9' => u32::from(c) - u32::from('0'),
            'a'..='z' => u32::from(c) - u32::from('a') + 10,
            'A'..='Z' if base <= 36 => u32::from(c) - u32::from('A') + 10,
            'A'..='Z' => u32::from(c) - u32::from('A') + 36,
            _ => return Err(bad()),
        };
        if digit >= base {
            return Err(bad());
        }
        value = value * base + digit;
    }
    Ok(Value::Number(Number::from_integer(negative, value)))
}
