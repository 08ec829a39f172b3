//! Makes nodes of tokens: Go's grammar of templates.

use crate::error::Error;
use crate::functions;
use crate::lex::{Placed, Token, lex};
use crate::node::{Command, Node, Operand, Pipe, Trees};
use serde_json::Value;
use std::collections::BTreeMap;

/// How deep actions and parentheses may stand inside each other.
const DEEPEST: usize = 200;

/// Parses a template.
pub(crate) fn parse(text: &str) -> Result<Trees, Error> {
    let tokens = lex(text)?;
    let mut parser =
        Parser { tokens: &tokens, at: 0, depth: 0, loops: 0, variables: vec![String::new()], named: BTreeMap::new() };
    let (main, end) = parser.list(&[])?;
    match end {
        End::Text => Ok(Trees { main, named: parser.named }),
        end => Err(parser.error(format!("unexpected {{{{{}}}}}", end.word()))),
    }
}

/// The end of a list of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Text,
    Close,
    Else,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            End::Text => "EOF",
            End::Close => "end",
            End::Else => "else",
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Placed],
    at: usize,
    depth: usize,
    /// How many `range` actions stand around this place.
    loops: usize,
    /// The variables that are known here; `$` is the first.
    variables: Vec<String>,
    named: BTreeMap<String, Vec<Node>>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    fn line(&self) -> usize {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.at.min(last)).map_or(1, |(line, _)| *line)
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::new(self.line(), message)
    }

    /// Calls `inner` one level deeper, and forgets the variables that it declared.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEEPEST {
            return Err(self.error("the template is nested too deeply"));
        }
        self.depth += 1;
        let known = self.variables.len();
        let result = inner(self);
        self.variables.truncate(known);
        self.depth -= 1;
        result
    }

    /// Nodes up to `end`, `else` or the end of the text; `else` stays to be read if it is expected.
    fn list(&mut self, expected: &[End]) -> Result<(Vec<Node>, End), Error> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, End::Text)),
                Some(Token::Text(text)) => nodes.push(Node::Text(text)),
                Some(Token::Open) => {
                    let end = match self.peek() {
                        Some(Token::Word(word)) if word == "end" => Some(End::Close),
                        Some(Token::Word(word)) if word == "else" => Some(End::Else),
                        _ => None,
                    };
                    match end {
                        Some(end) if expected.contains(&end) => {
                            self.at += 1;
                            return Ok((nodes, end));
                        }
                        Some(end) => return Err(self.error(format!("unexpected {{{{{}}}}}", end.word()))),
                        None => nodes.extend(self.action()?),
                    }
                }
                Some(_) => return Err(self.error("unexpected token")),
            }
        }
    }

    fn action(&mut self) -> Result<Option<Node>, Error> {
        let Some(Token::Word(word)) = self.peek().cloned() else { return self.print().map(Some) };
        let begin = self.at;
        self.at += 1;
        match word.as_str() {
            "if" => self.nested(Parser::conditional).map(Some),
            "with" => self.nested(Parser::with).map(Some),
            "range" => self.nested(Parser::range).map(Some),
            "define" => self.nested(Parser::define).map(|()| None),
            "block" => self.nested(Parser::block).map(Some),
            "template" => self.template().map(Some),
            "break" | "continue" if self.loops == 0 => Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}"))),
            "break" => self.close().map(|()| Some(Node::Break)),
            "continue" => self.close().map(|()| Some(Node::Continue)),
            _ => {
                self.at = begin;
                self.print().map(Some)
            }
        }
    }

    fn print(&mut self) -> Result<Node, Error> {
        let pipe = self.pipe("command")?;
        self.close()?;
        Ok(Node::Print(pipe))
    }

    fn close(&mut self) -> Result<(), Error> {
        self.skip_space();
        match self.next() {
            Some(Token::Close) => Ok(()),
            _ => {
                self.at -= 1;
                Err(self.error("unexpected token in an action, `}}` is missing"))
            }
        }
    }

    fn conditional(&mut self) -> Result<Node, Error> {
        let pipe = self.pipe("if")?;
        self.close()?;
        let (then, end) = self.nested(|parser| parser.list(&[End::Close, End::Else]))?;
        let otherwise = self.otherwise(end, "if", Parser::conditional)?;
        Ok(Node::If { pipe, then, otherwise })
    }

    fn with(&mut self) -> Result<Node, Error> {
        let pipe = self.pipe("with")?;
        self.close()?;
        let (then, end) = self.nested(|parser| parser.list(&[End::Close, End::Else]))?;
        let otherwise = self.otherwise(end, "with", Parser::with)?;
        Ok(Node::With { pipe, then, otherwise })
    }

    /// The branch after the first: none, `else`, or `else if`.
    fn otherwise(
        &mut self,
        end: End,
        word: &str,
        again: impl Fn(&mut Self) -> Result<Node, Error>,
    ) -> Result<Vec<Node>, Error> {
        match end {
            End::Text => Err(self.error("unexpected EOF, {{end}} is missing")),
            End::Close => self.close().map(|()| Vec::new()),
            End::Else => {
                self.skip_space();
                if matches!(self.peek(), Some(Token::Word(next)) if next == word) {
                    self.at += 1;
                    return self.nested(again).map(|node| vec![node]);
                }
                self.close()?;
                self.last_branch()
            }
        }
    }

    fn last_branch(&mut self) -> Result<Vec<Node>, Error> {
        let (nodes, end) = self.nested(|parser| parser.list(&[End::Close]))?;
        match end {
            End::Close => self.close().map(|()| nodes),
            _ => Err(self.error("unexpected EOF, {{end}} is missing")),
        }
    }

    fn range(&mut self) -> Result<Node, Error> {
        let pipe = self.pipe("range")?;
        self.close()?;
        self.loops += 1;
        let body = self.nested(|parser| parser.list(&[End::Close, End::Else]));
        self.loops -= 1;
        let (body, end) = body?;
        let otherwise = match end {
            End::Else => {
                self.close()?;
                self.last_branch()?
            }
            End::Close => self.close().map(|()| Vec::new())?,
            End::Text => return Err(self.error("unexpected EOF, {{end}} is missing")),
        };
        Ok(Node::Range { pipe, body, otherwise })
    }

    fn named_body(&mut self, name: String) -> Result<(), Error> {
        let outer = std::mem::replace(&mut self.variables, vec![String::new()]);
        let loops = std::mem::take(&mut self.loops);
        let body = self.last_branch();
        self.variables = outer;
        self.loops = loops;
        self.named.insert(name, body?);
        Ok(())
    }

    fn define(&mut self) -> Result<(), Error> {
        let name = self.quoted("define")?;
        self.close()?;
        self.named_body(name)
    }

    fn block(&mut self) -> Result<Node, Error> {
        let line = self.line();
        let name = self.quoted("block")?;
        let pipe = self.pipe("block")?;
        self.close()?;
        self.named_body(name.clone())?;
        Ok(Node::Template { line, name, pipe: Some(pipe) })
    }

    fn template(&mut self) -> Result<Node, Error> {
        let line = self.line();
        let name = self.quoted("template")?;
        self.skip_space();
        let pipe = if self.peek() == Some(&Token::Close) { None } else { Some(self.pipe("template")?) };
        self.close()?;
        Ok(Node::Template { line, name, pipe })
    }

    fn quoted(&mut self, context: &str) -> Result<String, Error> {
        self.skip_space();
        match self.next() {
            Some(Token::Quoted(name)) => Ok(name),
            _ => Err(self.error(format!("{context} needs a name in quotes"))),
        }
    }

    /// Commands between bars, up to `}}` or a closing parenthesis, which stay to be read.
    fn pipe(&mut self, context: &str) -> Result<Pipe, Error> {
        self.skip_space();
        let line = self.line();
        let (variables, declares) = self.declaration(context)?;
        let mut commands = vec![self.command(context)?];
        while self.peek() == Some(&Token::Sign("|")) {
            self.at += 1;
            let command = self.command(context)?;
            // The value before the bar becomes the last argument, so there must be a function.
            if !matches!(command.words.first(), Some(Operand::Function(_))) {
                return Err(self.error("a non-function command follows a bar"));
            }
            commands.push(command);
        }
        Ok(Pipe { line, variables, declares, commands })
    }

    /// `$x :=`, `$x =` or, in a range, `$i, $x :=`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), Error> {
        let begin = self.at;
        let mut names = Vec::new();
        while let Some(Token::Variable(name)) = self.peek().cloned() {
            self.at += 1;
            self.skip_space();
            names.push(name);
            match self.next() {
                Some(Token::Sign(":=")) => {
                    self.variables.extend(names.iter().cloned());
                    return Ok((names, true));
                }
                Some(Token::Sign("=")) => {
                    for name in &names {
                        self.known(name)?;
                    }
                    return Ok((names, false));
                }
                Some(Token::Sign(",")) if context == "range" && names.len() == 1 => self.skip_space(),
                _ => break,
            }
        }
        self.at = begin;
        Ok((Vec::new(), false))
    }

    fn known(&self, name: &String) -> Result<(), Error> {
        match self.variables.contains(name) {
            true => Ok(()),
            false => Err(self.error(format!("undefined variable \"${name}\""))),
        }
    }

    fn command(&mut self, context: &str) -> Result<Command, Error> {
        let mut words = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Token::Close | Token::Sign("|" | ")")) | None => break,
                Some(_) => words.push(self.operand()?),
            }
        }
        match words.first() {
            None => Err(self.error(format!("missing value for {context}"))),
            Some(Operand::Constant(_) | Operand::Nil) if words.len() > 1 => {
                Err(self.error("a constant takes no arguments"))
            }
            Some(_) => Ok(Command { words }),
        }
    }

    fn operand(&mut self) -> Result<Operand, Error> {
        let operand = match self.next() {
            Some(Token::Field(name)) => {
                let mut path: Vec<String> = if name.is_empty() { Vec::new() } else { vec![name] };
                path.extend(self.path());
                Operand::Dot(path)
            }
            Some(Token::Variable(name)) => {
                self.known(&name)?;
                let path = self.path();
                Operand::Variable(name, path)
            }
            Some(Token::Sign("(")) => {
                let pipe = self.nested(|parser| parser.pipe("parenthesized pipeline"))?;
                if self.next() != Some(Token::Sign(")")) {
                    return Err(self.error("unclosed left paren"));
                }
                let path = self.path();
                Operand::Pipe(Box::new(pipe), path)
            }
            Some(Token::Quoted(text)) => Operand::Constant(Value::String(text)),
            Some(Token::Int(number)) => Operand::Constant(Value::from(number)),
            Some(Token::Float(number)) => Operand::Constant(Value::from(number)),
            Some(Token::Word(word)) => match word.as_str() {
                "true" | "false" => Operand::Constant(Value::Bool(word == "true")),
                "nil" => Operand::Nil,
                _ if functions::is_known(&word) => Operand::Function(word),
                _ => return Err(self.error(format!("function \"{word}\" not defined"))),
            },
            _ => {
                self.at -= 1;
                return Err(self.error("unexpected token in operand"));
            }
        };
        match self.peek() {
            Some(Token::Space | Token::Close | Token::Sign("|" | ")")) | None => Ok(operand),
            Some(_) => Err(self.error("unexpected token after an operand")),
        }
    }

    /// Fields that follow without white space.
    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token::Field(name)) = self.peek().cloned() {
            if name.is_empty() {
                break;
            }
            self.at += 1;
            path.push(name);
        }
        path
    }
}
