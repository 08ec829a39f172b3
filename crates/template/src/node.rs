//! The nodes of a parsed template.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A template and the templates that it defines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trees {
    /// The text itself.
    pub(crate) main: Vec<Node>,
    /// The templates that `define` and `block` name.
    pub(crate) named: BTreeMap<String, Vec<Node>>,
}

/// One part of a template.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    /// A pipeline whose value is printed, unless it sets a variable.
    Print(Pipe),
    If {
        pipe: Pipe,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        pipe: Pipe,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Template {
        line: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// Commands whose results are handed on, and the variables that get the last one.
#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    pub(crate) line: usize,
    pub(crate) variables: Vec<String>,
    /// `:=` makes variables, `=` sets existing ones.
    pub(crate) declares: bool,
    pub(crate) commands: Vec<Command>,
}

/// An operand with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) words: Vec<Operand>,
}

/// Something that has a value.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    /// The dot and fields of it.
    Dot(Vec<String>),
    /// A variable and fields of it.
    Variable(String, Vec<String>),
    /// A pipeline in parentheses and fields of its value.
    Pipe(Box<Pipe>, Vec<String>),
    Constant(Value),
    Nil,
    Function(String),
}

impl Trees {
    /// The fields of the top-level value that are used, in order.
    pub(crate) fn fields(&self) -> Vec<String> {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        fields_of(&self.main, &mut |name| {
            if seen.insert(name.to_owned()) {
                found.push(name.to_owned());
            }
        });
        found
    }
}

fn fields_of(nodes: &[Node], found: &mut dyn FnMut(&str)) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Print(pipe) => fields_of_pipe(pipe, found),
            Node::If { pipe, then, otherwise } => {
                fields_of_pipe(pipe, found);
                fields_of(then, found);
                fields_of(otherwise, found);
            }
            // Inside of these the dot is another value.
            Node::With { pipe, otherwise, .. } | Node::Range { pipe, otherwise, .. } => {
                fields_of_pipe(pipe, found);
                fields_of(otherwise, found);
            }
            Node::Template { pipe, .. } => pipe.iter().for_each(|pipe| fields_of_pipe(pipe, found)),
        }
    }
}

fn fields_of_pipe(pipe: &Pipe, found: &mut dyn FnMut(&str)) {
    for operand in pipe.commands.iter().flat_map(|command| &command.words) {
        match operand {
            Operand::Dot(path) => path.first().into_iter().for_each(|name| found(name)),
            Operand::Variable(name, path) if name.is_empty() => {
                path.first().into_iter().for_each(|name| found(name));
            }
            Operand::Pipe(pipe, _) => fields_of_pipe(pipe, found),
            _ => {}
        }
    }
}
