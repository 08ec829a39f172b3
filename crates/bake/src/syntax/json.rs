//! JSON as HCL reads it: properties are attributes or, by their names, blocks; strings are templates.

use super::json_text::{Member, Node, NodeKind, read};
use super::template;
use crate::ast::{Attribute, Block, Body, Expr, Key, Kind};
use crate::problem::{Problem, Span};
use crate::value::{Type, Value};
use std::ops::Range;
use std::rc::Rc;

/// Properties of the file that are blocks with one label.
const LABELED: &[&str] = &["group", "target", "variable", "function"];

/// Reads a file.
pub fn parse(file: usize, text: &str) -> Result<Body, Problem> {
    let node = read(file, text)?;
    let reader = Reader { file };
    let mut body = Body::default();
    for member in reader.members(&node)? {
        if LABELED.contains(&member.name.as_str()) {
            for labeled in reader.members(&member.value)? {
                reader.blocks(member, Some(labeled), &labeled.value, &mut body)?;
            }
        } else {
            reader.attribute(member, &mut body)?;
        }
    }
    Ok(body)
}

struct Reader {
    file: usize,
}

impl Reader {
    fn span(&self, bytes: &Range<usize>) -> Span {
        Span::new(self.file, bytes.clone())
    }

    /// The members of an object, or of all objects of an array.
    fn members<'a>(&self, node: &'a Node) -> Result<Vec<&'a Member>, Problem> {
        match &node.kind {
            NodeKind::Null => Ok(Vec::new()),
            NodeKind::Object(members) => Ok(members.iter().collect()),
            NodeKind::Array(values) => {
                let mut all = Vec::new();
                for value in values {
                    match &value.kind {
                        NodeKind::Object(members) => all.extend(members),
                        _ => return Err(self.no_object(value)),
                    }
                }
                Ok(all)
            }
            _ => Err(self.no_object(node)),
        }
    }

    fn no_object(&self, node: &Node) -> Problem {
        let detail =
            "Either a JSON object or JSON array of objects is required here, to define arguments and child blocks.";
        Problem::at(self.span(&node.bytes), "Incorrect JSON value type", detail)
    }

    /// One block, or several where the value is an array.
    fn blocks(&self, kind: &Member, label: Option<&Member>, node: &Node, body: &mut Body) -> Result<(), Problem> {
        let nodes: Vec<&Node> = match &node.kind {
            NodeKind::Null => Vec::new(),
            NodeKind::Array(values) => values.iter().collect(),
            NodeKind::Object(_) => vec![node],
            _ => return Err(self.no_object(node)),
        };
        for node in nodes {
            let mut inner = Body::default();
            for member in self.members(node)? {
                if kind.name == "variable" && member.name == "validation" {
                    self.blocks(member, None, &member.value, &mut inner)?;
                } else {
                    self.attribute(member, &mut inner)?;
                }
            }
            body.blocks.push(Rc::new(Block {
                kind: kind.name.clone(),
                span: self.span(&kind.bytes),
                labels: label.map(|label| (label.name.clone(), self.inside(&label.bytes))).into_iter().collect(),
                body: inner,
            }));
        }
        Ok(())
    }

    fn inside(&self, bytes: &Range<usize>) -> Span {
        Span::new(self.file, bytes.start + 1..bytes.end - 1)
    }

    fn attribute(&self, member: &Member, body: &mut Body) -> Result<(), Problem> {
        if member.name == "//" {
            return Ok(());
        }
        let span = self.inside(&member.bytes);
        if body.attribute(&member.name).is_some() {
            let detail = format!("The argument {:?} was already set.", member.name);
            return Err(Problem::at(span, "Duplicate argument", detail));
        }
        let value = Rc::new(self.expr(&member.value));
        body.attributes.push(Attribute { name: member.name.clone(), span, value });
        Ok(())
    }

    fn expr(&self, node: &Node) -> Expr {
        let kind = match &node.kind {
            NodeKind::Null => Kind::Literal(Value::Null(Type::Dynamic)),
            NodeKind::Bool(truth) => Kind::Literal(Value::Bool(*truth)),
            NodeKind::Number(number) => Kind::Literal(Value::Number(number.clone())),
            NodeKind::String(text) => return self.string(text, &node.bytes),
            NodeKind::Array(values) => Kind::Tuple(values.iter().map(|value| self.expr(value)).collect()),
            NodeKind::Object(members) => {
                let item =
                    |member: &Member| (Key::Expr(self.string(&member.name, &member.bytes)), self.expr(&member.value));
                Kind::Object(members.iter().map(item).collect())
            }
        };
        Expr::new(kind, self.span(&node.bytes))
    }

    fn string(&self, text: &str, bytes: &Range<usize>) -> Expr {
        let span = self.span(bytes);
        let template = template::bare(self.file, text, bytes.start + 1, span).map(Box::new).map_err(Box::new);
        Expr::new(Kind::JsonString(text.to_owned(), template), span)
    }
}
