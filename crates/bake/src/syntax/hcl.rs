//! HCL, read by `hcl-edit`, as the tree that both syntaxes have in common.
//!
//! `hcl-edit` bounds nesting and chains of operators, so everything here may recurse.

use super::template;
use crate::ast::{Attribute, Block, Body, Call, Expr, For, Key, Kind, Operator};
use crate::number::Number;
use crate::problem::{Problem, Span};
use crate::value::{Type, Value};
use hcl_edit::Span as _;
use hcl_edit::expr::{self, BinaryOperator, Expression, ObjectKey, TraversalOperator, UnaryOperator};
use hcl_edit::structure::{Body as HclBody, Structure};
use std::ops::Range;
use std::rc::Rc;

/// A text that is read, and its place in the file.
pub(super) struct Text<'a> {
    pub file: usize,
    pub text: &'a str,
    /// Bytes before it in the file.
    pub offset: usize,
}

impl Text<'_> {
    pub fn span(&self, bytes: Option<Range<usize>>) -> Span {
        let bytes = bytes.unwrap_or(0..0);
        Span::new(self.file, self.offset + bytes.start..self.offset + bytes.end)
    }

    pub fn raw(&self, bytes: Option<Range<usize>>) -> &str {
        bytes.and_then(|bytes| self.text.get(bytes)).unwrap_or("")
    }
}

/// Reads a file.
pub fn parse(file: usize, text: &str) -> Result<Body, Problem> {
    let source = Text { file, text, offset: 0 };
    let parsed: HclBody = text.parse().map_err(|error| syntax_error(&source, &error, true))?;
    body(&source, &parsed)
}

/// Reads one expression that stands at a place of a file.
pub fn expression(file: usize, text: &str, offset: usize) -> Result<Expr, Problem> {
    let source = Text { file, text, offset };
    let parsed: Expression = text.parse().map_err(|error| syntax_error(&source, &error, false))?;
    lower(&source, &parsed)
}

/// The error of `hcl-edit`, in HCL's words where it has some for it.
pub(super) fn syntax_error(source: &Text<'_>, error: &hcl_edit::parser::Error, whole: bool) -> Problem {
    // The parser counts bytes, and may stop within a character.
    let at = error.location().offset().min(source.text.len());
    let at = (0..=at).rev().find(|&at| source.text.is_char_boundary(at)).unwrap_or(0);
    let width = source.text[at..].chars().next().map_or(0, char::len_utf8);
    let span = source.span(Some(at..at + width));
    let rest = source.text[at..].trim();
    let message = error.message();
    if message.contains("redefined attribute") {
        let name: String = source.text[at..].chars().take_while(|c| c.is_alphanumeric() || "_-".contains(*c)).collect();
        let span = source.span(Some(at..at + name.len()));
        let detail = format!("The argument {name:?} was already set. Each argument may be set only once.");
        return Problem::at(span, "Attribute redefined", detail);
    }
    if whole && rest.len() <= width && message.contains("`}`") {
        let detail = "There is no closing brace for this block before the end of the file.";
        return Problem::at(open_brace(source).unwrap_or(span), "Unclosed configuration block", detail);
    }
    Problem::at(span, "Invalid syntax", message)
}

/// The last brace that is not closed, counted without regard to strings: good enough for a caret.
fn open_brace(source: &Text<'_>) -> Option<Span> {
    let mut open = Vec::new();
    for (at, c) in source.text.char_indices() {
        match c {
            '{' => open.push(at),
            '}' => drop(open.pop()),
            _ => {}
        }
    }
    open.last().map(|&at| source.span(Some(at..at + 1)))
}

fn body(source: &Text<'_>, parsed: &HclBody) -> Result<Body, Problem> {
    let mut made = Body::default();
    for structure in parsed {
        match structure {
            Structure::Attribute(attribute) => made.attributes.push(Attribute {
                name: attribute.key.as_str().into(),
                span: source.span(attribute.key.span()),
                value: Rc::new(lower(source, &attribute.value)?),
            }),
            Structure::Block(block) => {
                let label = |label: &hcl_edit::structure::BlockLabel| {
                    let mut span = source.span(label.span());
                    if label.is_string() && span.end > span.start + 1 {
                        (span.start, span.end) = (span.start + 1, span.end - 1);
                    }
                    (label.as_str().to_owned(), span)
                };
                made.blocks.push(Rc::new(Block {
                    kind: block.ident.as_str().into(),
                    span: source.span(block.ident.span()),
                    labels: block.labels.iter().map(label).collect(),
                    body: body(source, &block.body)?,
                }));
            }
        }
    }
    Ok(made)
}

/// An expression.
pub(super) fn lower(source: &Text<'_>, parsed: &Expression) -> Result<Expr, Problem> {
    let span = source.span(parsed.span());
    let boxed = |parsed: &Expression| lower(source, parsed).map(Box::new);
    let all = |parsed: &mut dyn Iterator<Item = &Expression>| -> Result<Vec<Expr>, Problem> {
        parsed.map(|one| lower(source, one)).collect()
    };
    let kind = match parsed {
        Expression::Null(_) => Kind::Literal(Value::Null(Type::Dynamic)),
        Expression::Bool(truth) => Kind::Literal(Value::Bool(*truth.value())),
        Expression::Number(_) => {
            let raw: String = source.raw(parsed.span()).chars().filter(|c| !c.is_whitespace()).collect();
            let number = Number::parse(&raw).ok_or_else(|| Problem::at(span, "Invalid number", raw.as_str()))?;
            Kind::Literal(Value::Number(number))
        }
        Expression::String(text) => Kind::Literal(Value::string(text.value())),
        Expression::StringTemplate(parsed) => return template::quoted(source, parsed, span),
        Expression::HeredocTemplate(parsed) => return template::heredoc(source, parsed, span),
        Expression::Array(array) => Kind::Tuple(all(&mut array.iter())?),
        Expression::Object(object) => object_items(source, object)?,
        Expression::Parenthesis(inner) => Kind::Wrapped(boxed(inner.inner())?),
        Expression::Variable(name) => Kind::Variable(name.as_str().into()),
        Expression::Conditional(inner) => {
            Kind::Conditional(boxed(&inner.cond_expr)?, boxed(&inner.true_expr)?, boxed(&inner.false_expr)?)
        }
        Expression::FuncCall(call) => {
            let names = call.name.namespace.iter().chain([&call.name.name]);
            let name = names.map(|name| name.as_str()).collect::<Vec<_>>().join("::");
            Kind::Call(Call {
                name,
                name_span: source.span(call.name.name.span()),
                arguments: all(&mut call.args.iter())?,
                expand: call.args.expand_final(),
            })
        }
        Expression::Traversal(inner) => return traversal(source, inner, span),
        Expression::UnaryOp(inner) => match inner.operator.value() {
            UnaryOperator::Neg => Kind::Negate(boxed(&inner.expr)?),
            UnaryOperator::Not => Kind::Not(boxed(&inner.expr)?),
        },
        Expression::BinaryOp(inner) => {
            Kind::Binary(operator(*inner.operator.value()), boxed(&inner.lhs_expr)?, boxed(&inner.rhs_expr)?)
        }
        Expression::ForExpr(inner) => for_expr(source, inner)?,
    };
    Ok(Expr::new(kind, span))
}

fn object_items(source: &Text<'_>, object: &expr::Object) -> Result<Kind, Problem> {
    let mut items = Vec::with_capacity(object.len());
    for (key, value) in object.iter() {
        let key = match key {
            ObjectKey::Ident(name) => Key::Name(name.as_str().into(), source.span(name.span())),
            ObjectKey::Expression(Expression::Null(null)) => Key::Name("null".into(), source.span(null.span())),
            ObjectKey::Expression(Expression::Bool(truth)) => {
                Key::Name(truth.value().to_string(), source.span(truth.span()))
            }
            ObjectKey::Expression(key @ Expression::Traversal(_)) => {
                let detail = "If this expression is intended to be a reference, wrap it in parentheses. If it's \
                              instead intended as a literal name containing periods, wrap it in quotes.";
                return Err(Problem::at(source.span(key.span()), "Ambiguous attribute key", detail));
            }
            ObjectKey::Expression(key) => Key::Expr(lower(source, key)?),
        };
        items.push((key, lower(source, value.expr())?));
    }
    Ok(Kind::Object(items))
}

fn for_expr(source: &Text<'_>, parsed: &expr::ForExpr) -> Result<Kind, Problem> {
    Ok(Kind::For(Box::new(For {
        key: parsed.intro.key_var.as_ref().map(|name| name.as_str().to_owned()),
        value: parsed.intro.value_var.as_str().into(),
        collection: lower(source, &parsed.intro.collection_expr)?,
        result_key: parsed.key_expr.as_ref().map(|key| lower(source, key)).transpose()?,
        result: lower(source, &parsed.value_expr)?,
        group: parsed.grouping,
        condition: parsed.cond.as_ref().map(|condition| lower(source, &condition.expr)).transpose()?,
        join: false,
    })))
}

/// Operators of a traversal, outermost last. After a splat they belong to the splat's element: `.*` takes attributes
/// alone, `[*]` all.
fn traversal(source: &Text<'_>, parsed: &expr::Traversal, span: Span) -> Result<Expr, Problem> {
    let start = lower(source, &parsed.expr)?;
    let operators: Vec<_> = parsed.operators.iter().map(|operator| (operator.value(), operator.span())).collect();
    apply(source, start, &operators, span)
}

type Steps<'a> = [(&'a TraversalOperator, Option<Range<usize>>)];

fn apply(source: &Text<'_>, start: Expr, steps: &Steps<'_>, span: Span) -> Result<Expr, Problem> {
    let mut made = start;
    let mut at = 0;
    while let Some((step, bytes)) = steps.get(at) {
        at += 1;
        let place = if bytes.is_some() { source.span(bytes.clone()) } else { span };
        let here = made.span.to(place);
        let inner = Box::new(made);
        let kind = match step {
            TraversalOperator::GetAttr(name) => Kind::Attribute(inner, name.as_str().into()),
            TraversalOperator::Index(key) => Kind::Index(inner, Box::new(lower(source, key)?)),
            TraversalOperator::LegacyIndex(index) => {
                let number = Number::from(i64::try_from(*index.value()).unwrap_or(i64::MAX));
                Kind::Index(inner, Box::new(Expr::new(Kind::Literal(Value::Number(number)), here)))
            }
            TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                let full = matches!(step, TraversalOperator::FullSplat(_));
                let mut own = steps.len() - at;
                if !full {
                    let attribute = |(step, _): &(&TraversalOperator, _)| matches!(step, TraversalOperator::GetAttr(_));
                    own = steps[at..].iter().take_while(|step| attribute(step)).count();
                }
                let item = Expr::new(Kind::Item, here);
                let each = apply(source, item, &steps[at..at + own], span)?;
                at += own;
                Kind::Splat(inner, Box::new(each))
            }
        };
        made = Expr::new(kind, here);
    }
    Ok(made)
}

fn operator(operator: BinaryOperator) -> Operator {
    match operator {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::NotEq => Operator::NotEqual,
        BinaryOperator::LessEq => Operator::LessOrEqual,
        BinaryOperator::GreaterEq => Operator::GreaterOrEqual,
        BinaryOperator::Less => Operator::Less,
        BinaryOperator::Greater => Operator::Greater,
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Mul => Operator::Multiply,
        BinaryOperator::Div => Operator::Divide,
        BinaryOperator::Mod => Operator::Modulo,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parser's offset lies within the letter.
    #[test]
    fn an_error_within_a_character_has_a_place() {
        assert!(parse(0, "b \u{768}").is_err());
    }
}
