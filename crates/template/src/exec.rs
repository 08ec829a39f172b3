//! Walks a template with a value.

use crate::error::Error;
use crate::functions;
use crate::node::{Command, Node, Operand, Pipe, Trees};
use crate::print::{is_true, printed};
use serde_json::Value;
use std::borrow::Cow;

/// The limits of one execution.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of output, and of any single value that a function makes.
    pub output: usize,
    /// Nodes that are executed.
    pub nodes: u64,
    /// Templates that call each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { output: 64 << 20, nodes: 50_000_000, depth: 200 }
    }
}

/// The result of a field that the value does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// An error, as for a field of a Go struct.
    Error,
    /// `<no value>`, as for a key of a Go map.
    NoValue,
}

/// Executes a template.
pub(crate) fn execute(trees: &Trees, data: &Value, missing: Missing, limits: Limits) -> Result<String, Error> {
    let mut state = State {
        trees,
        missing,
        limits,
        out: String::new(),
        steps: 0,
        depth: 0,
        variables: vec![(String::new(), Cow::Borrowed(data))],
    };
    state.list(&trees.main, data)?;
    Ok(state.out)
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// A value that is borrowed from the data, or made by a function. None if there is none.
type Operated<'a> = Option<Cow<'a, Value>>;

struct State<'a> {
    trees: &'a Trees,
    missing: Missing,
    limits: Limits,
    out: String,
    steps: u64,
    depth: usize,
    variables: Vec<(String, Cow<'a, Value>)>,
}

impl<'a> State<'a> {
    fn list(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, Error> {
        for node in nodes {
            self.steps += 1;
            if self.steps > self.limits.nodes {
                return Err(Error::new(1, "the template runs too long"));
            }
            match self.node(node, dot)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => self.write(1, text)?,
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    let text = value.map_or_else(|| "<no value>".to_owned(), |value| printed(&value));
                    self.write(pipe.line, &text)?;
                }
            }
            Node::If { pipe, then, otherwise } => {
                let known = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let branch = if value.is_some_and(|value| is_true(&value)) { then } else { otherwise };
                let flow = self.list(branch, dot);
                self.variables.truncate(known);
                return flow;
            }
            Node::With { pipe, then, otherwise } => {
                let known = self.variables.len();
                let value = self.pipe(pipe, dot)?.map(Cow::into_owned);
                let flow = match value.filter(is_true) {
                    Some(value) => self.list(then, &value),
                    None => self.list(otherwise, dot),
                };
                self.variables.truncate(known);
                return flow;
            }
            Node::Range { pipe, body, otherwise } => return self.range(pipe, body, otherwise, dot),
            Node::Template { line, name, pipe } => self.template(*line, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, line: usize, text: &str) -> Result<(), Error> {
        if self.out.len() + text.len() > self.limits.output {
            return Err(Error::new(line, "the output is too large"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn range(&mut self, pipe: &'a Pipe, body: &'a [Node], otherwise: &'a [Node], dot: &Value) -> Result<Flow, Error> {
        let known = self.variables.len();
        // The variables of a range are those of its turns.
        let items = items_of(self.commands(pipe, dot)?.map(Cow::into_owned), pipe.line)?;
        let flow = match items.is_empty() {
            true => self.list(otherwise, dot),
            false => self.turns(pipe, body, items),
        };
        self.variables.truncate(known);
        flow
    }

    fn turns(&mut self, pipe: &'a Pipe, body: &'a [Node], items: Vec<(Value, Value)>) -> Result<Flow, Error> {
        let known = self.variables.len();
        for (key, item) in items {
            self.variables.truncate(known);
            let values = match pipe.variables.len() {
                2 => vec![key, item.clone()],
                1 => vec![item.clone()],
                _ => Vec::new(),
            };
            for (name, value) in pipe.variables.iter().zip(values) {
                self.set(name, Cow::Owned(value), pipe.declares);
            }
            if self.list(body, &item)? == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn template(&mut self, line: usize, name: &str, pipe: Option<&'a Pipe>, dot: &Value) -> Result<(), Error> {
        let trees = self.trees;
        let body = trees.named.get(name);
        let body = body.ok_or_else(|| Error::new(line, format!("template \"{name}\" not defined")))?;
        if self.depth == self.limits.depth {
            return Err(Error::new(line, "exceeded maximum template depth"));
        }
        let value = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?.map_or(Value::Null, Cow::into_owned),
            None => Value::Null,
        };
        self.depth += 1;
        let outer = std::mem::replace(&mut self.variables, vec![(String::new(), Cow::Owned(value.clone()))]);
        let result = self.list(body, &value);
        self.variables = outer;
        self.depth -= 1;
        result.map(|_| ())
    }

    /// The value of a pipeline; its variables are set.
    fn pipe<'v>(&mut self, pipe: &'a Pipe, dot: &'v Value) -> Result<Operated<'v>, Error> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            let value = value.as_deref().cloned().unwrap_or(Value::Null);
            self.set(name, Cow::Owned(value), pipe.declares);
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, value: Cow<'a, Value>, declares: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, old)) if !declares => *old = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn commands<'v>(&mut self, pipe: &'a Pipe, dot: &'v Value) -> Result<Operated<'v>, Error> {
        let mut last: Option<Operated<'v>> = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last, pipe.line)?);
        }
        Ok(last.flatten())
    }

    fn command<'v>(
        &mut self,
        command: &'a Command,
        dot: &'v Value,
        piped: Option<Operated<'v>>,
        line: usize,
    ) -> Result<Operated<'v>, Error> {
        let Some((first, rest)) = command.words.split_first() else { return Ok(None) };
        let Operand::Function(name) = first else {
            if rest.is_empty() && piped.is_none() {
                return self.operand(first, dot, line);
            }
            return Err(Error::new(line, "can't give argument to non-function"));
        };
        // These two evaluate no more arguments than they need.
        let stops: Option<bool> = match name.as_str() {
            "and" => Some(false),
            "or" => Some(true),
            _ => None,
        };
        let mut arguments = Vec::new();
        for operand in rest {
            let value = self.operand(operand, dot, line)?.map_or(Value::Null, Cow::into_owned);
            if stops == Some(is_true(&value)) {
                return Ok(Some(Cow::Owned(value)));
            }
            arguments.push(value);
        }
        if let Some(piped) = piped {
            arguments.push(piped.map_or(Value::Null, Cow::into_owned));
        }
        let result = functions::call(name, &arguments, self.limits.output);
        result
            .map(|value| Some(Cow::Owned(value)))
            .map_err(|why| Error::new(line, format!("error calling {name}: {why}")))
    }

    fn operand<'v>(&mut self, operand: &'a Operand, dot: &'v Value, line: usize) -> Result<Operated<'v>, Error> {
        match operand {
            Operand::Dot(path) => self.fields(Some(Cow::Borrowed(dot)), path, line),
            Operand::Variable(name, path) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = known.map(|(_, value)| Cow::Owned(value.as_ref().clone()));
                self.fields(value, path, line)
            }
            Operand::Pipe(pipe, path) => {
                let value = self.pipe(pipe, dot)?;
                self.fields(value, path, line)
            }
            Operand::Constant(value) => Ok(Some(Cow::Owned(value.clone()))),
            Operand::Nil => Err(Error::new(line, "nil is not a command")),
            Operand::Function(name) => functions::call(name, &[], self.limits.output)
                .map(|value| Some(Cow::Owned(value)))
                .map_err(|why| Error::new(line, format!("error calling {name}: {why}"))),
        }
    }

    fn fields<'v>(&self, mut value: Operated<'v>, path: &[String], line: usize) -> Result<Operated<'v>, Error> {
        for name in path {
            let found = match value {
                Some(Cow::Borrowed(Value::Object(fields))) => fields.get(name).map(Cow::Borrowed),
                Some(Cow::Owned(Value::Object(mut fields))) => fields.remove(name).map(Cow::Owned),
                Some(other) if !other.is_null() => {
                    return Err(Error::new(line, format!("can't evaluate field {name} in a value that has no fields")));
                }
                _ => return Err(Error::new(line, format!("nil data; no entry for key \"{name}\""))),
            };
            if found.is_none() && self.missing == Missing::Error {
                return Err(Error::new(line, format!("can't evaluate field {name}")));
            }
            value = found;
        }
        Ok(value)
    }
}

/// The items of a range, each with its key.
fn items_of(value: Option<Value>, line: usize) -> Result<Vec<(Value, Value)>, Error> {
    Ok(match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.into_iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect(),
        Some(Value::Object(fields)) => {
            let mut items: Vec<_> = fields.into_iter().collect();
            items.sort_by(|(one, _), (two, _)| one.cmp(two));
            items.into_iter().map(|(name, item)| (Value::String(name), item)).collect()
        }
        Some(Value::Number(number)) if number.is_u64() => {
            let count = number.as_u64().unwrap_or(0);
            if count > 1_000_000 {
                return Err(Error::new(line, "range over too large a number"));
            }
            (0..count).map(|at| (Value::from(at), Value::from(at))).collect()
        }
        Some(other) => return Err(Error::new(line, format!("range can't iterate over {}", printed(&other)))),
    })
}
