//! The syntax tree that HCL and JSON definitions have in common.

use crate::problem::{Problem, Span};
use crate::value::Value;
use std::rc::Rc;

/// The content of a file or block.
#[derive(Debug, Default)]
pub struct Body {
    /// Attributes in the order of the file.
    pub attributes: Vec<Attribute>,
    /// Blocks in the order of the file.
    pub blocks: Vec<Rc<Block>>,
}

/// `name = value`
#[derive(Clone, Debug)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The name's place.
    pub span: Span,
    /// The value.
    pub value: Rc<Expr>,
}

/// `kind "label" { … }`
#[derive(Debug)]
pub struct Block {
    /// The kind.
    pub kind: String,
    /// The kind's place.
    pub span: Span,
    /// Labels with their places.
    pub labels: Vec<(String, Span)>,
    /// The content.
    pub body: Body,
}

impl Body {
    /// The attribute of a name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

impl Block {
    /// The place of the first label, or that of the kind.
    pub fn name_span(&self) -> Span {
        self.labels.first().map_or(self.span, |(_, span)| *span)
    }

    /// The first label.
    pub fn label(&self) -> &str {
        self.labels.first().map_or("", |(label, _)| label)
    }
}

/// An expression with its place.
#[derive(Debug)]
pub struct Expr {
    /// The expression.
    pub kind: Kind,
    /// The place.
    pub span: Span,
}

/// The forms of an expression.
#[derive(Debug)]
pub enum Kind {
    /// A value.
    Literal(Value),
    /// Parts that are joined as text.
    Template(Vec<Expr>),
    /// The one interpolation of a template: its value is not made text. Also an expression in parentheses.
    Wrapped(Box<Expr>),
    /// The text of a JSON string: a template where expressions are evaluated, else as it is.
    JsonString(String, Result<Box<Expr>, Box<Problem>>),
    /// A variable.
    Variable(String),
    /// `source.name`
    Attribute(Box<Expr>, String),
    /// `source[key]`
    Index(Box<Expr>, Box<Expr>),
    /// `source[*]…`: what follows is evaluated for each element, which `Item` stands for.
    Splat(Box<Expr>, Box<Expr>),
    /// The element of the innermost splat.
    Item,
    /// `[a, b]`
    Tuple(Vec<Expr>),
    /// `{ key = value }`
    Object(Vec<(Key, Expr)>),
    /// `name(arguments)`
    Call(Call),
    /// `condition ? yes : no`
    Conditional(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `left op right`
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `!x`
    Not(Box<Expr>),
    /// `-x`
    Negate(Box<Expr>),
    /// `[for …]`, `{for …}` or a template's `%{for}`.
    For(Box<For>),
}

/// The key of an object's element.
#[derive(Debug)]
pub enum Key {
    /// A bare word.
    Name(String, Span),
    /// An expression.
    Expr(Expr),
}

/// A call.
#[derive(Debug)]
pub struct Call {
    /// The function's name.
    pub name: String,
    /// The name's place.
    pub name_span: Span,
    /// The arguments.
    pub arguments: Vec<Expr>,
    /// The last argument is a sequence of arguments.
    pub expand: bool,
}

/// A `for`.
#[derive(Debug)]
pub struct For {
    /// The variable of the key.
    pub key: Option<String>,
    /// The variable of the element.
    pub value: String,
    /// The collection.
    pub collection: Expr,
    /// The key of the result: it makes an object.
    pub result_key: Option<Expr>,
    /// The element of the result.
    pub result: Expr,
    /// The elements of one key are grouped.
    pub group: bool,
    /// The condition.
    pub condition: Option<Expr>,
    /// The results are joined as text.
    pub join: bool,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

impl Expr {
    /// An expression.
    pub fn new(kind: Kind, span: Span) -> Expr {
        Expr { kind, span }
    }

    /// Goes over the expressions directly within this one. `locals` are the variables that a `for` defines there.
    pub fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr, &[&'a str])) {
        match &self.kind {
            Kind::Literal(_) | Kind::Variable(_) | Kind::Item => {}
            Kind::JsonString(_, Err(_)) => {}
            Kind::Wrapped(one) | Kind::JsonString(_, Ok(one)) => visit(one, &[]),
            Kind::Attribute(one, _) | Kind::Not(one) | Kind::Negate(one) => visit(one, &[]),
            Kind::Index(one, two) | Kind::Splat(one, two) | Kind::Binary(_, one, two) => {
                visit(one, &[]);
                visit(two, &[]);
            }
            Kind::Conditional(one, two, three) => [one, two, three].into_iter().for_each(|one| visit(one, &[])),
            Kind::Template(parts) | Kind::Tuple(parts) => parts.iter().for_each(|one| visit(one, &[])),
            Kind::Call(call) => call.arguments.iter().for_each(|one| visit(one, &[])),
            Kind::Object(items) => {
                for (key, value) in items {
                    if let Key::Expr(key) = key {
                        visit(key, &[]);
                    }
                    visit(value, &[]);
                }
            }
            Kind::For(inner) => {
                visit(&inner.collection, &[]);
                let mut locals: Vec<&str> = inner.key.as_deref().into_iter().collect();
                locals.push(&inner.value);
                let inner = [inner.result_key.as_ref(), Some(&inner.result), inner.condition.as_ref()];
                inner.into_iter().flatten().for_each(|one| visit(one, &locals));
            }
        }
    }
}
