//! Text with `${…}` and `%{…}` in it.
//!
//! HCL trims at `~` and takes the indentation of `<<-` off before it knows how directives nest, on tokens: a quoted
//! literal is one token, each line of a heredoc another. So the nested form is laid out flat first.

use super::hcl::{Text, lower, syntax_error};
use crate::ast::{Expr, For, Kind};
use crate::problem::{Problem, Span};
use crate::value::Value;
use hcl_edit::Span as _;
use hcl_edit::template::{Directive, Element, HeredocTemplate, StringTemplate, Strip, Template};
use std::iter::Peekable;
use unicode_segmentation::UnicodeSegmentation;

enum Token {
    Literal(String, Span),
    Value(Expr),
    If(Expr, Span),
    For(Option<String>, String, Expr, Span),
    Else,
    End,
}

struct Piece {
    token: Token,
    /// `~` at its beginning, and at its end.
    trim: (bool, bool),
}

/// A template in quotes.
pub(super) fn quoted(source: &Text<'_>, parsed: &StringTemplate, span: Span) -> Result<Expr, Problem> {
    make(source, parsed, false, false, span)
}

/// A heredoc.
pub(super) fn heredoc(source: &Text<'_>, parsed: &HeredocTemplate, span: Span) -> Result<Expr, Problem> {
    let flush = source.raw(parsed.span()).starts_with("<<-");
    make(source, &parsed.template, true, flush, span)
}

/// The text of a JSON string, whose quotes are not part of it.
pub(super) fn bare(file: usize, text: &str, offset: usize, span: Span) -> Result<Expr, Problem> {
    let source = Text { file, text, offset };
    let parsed: Template = text.parse().map_err(|error| syntax_error(&source, &error, false))?;
    make(&source, &parsed, false, false, span)
}

fn make(source: &Text<'_>, parsed: &Template, lines: bool, flush: bool, span: Span) -> Result<Expr, Problem> {
    let mut pieces = Vec::new();
    flatten(source, parsed, lines, &mut pieces)?;
    trim(&mut pieces);
    if flush {
        unindent(&mut pieces);
    }
    if matches!(pieces.as_slice(), [Piece { token: Token::Value(_), .. }])
        && let Some(Piece { token: Token::Value(value), .. }) = pieces.pop()
    {
        return Ok(Expr::new(Kind::Wrapped(Box::new(value)), span));
    }
    let parts = build(&mut pieces.into_iter().peekable());
    Ok(joined(parts, span))
}

fn joined(parts: Vec<Expr>, span: Span) -> Expr {
    let kind = match parts.as_slice() {
        [] => Kind::Literal(Value::string("")),
        [Expr { kind: Kind::Literal(Value::String(text)), .. }] => Kind::Literal(Value::String(text.clone())),
        _ => Kind::Template(parts),
    };
    Expr::new(kind, span)
}

fn flatten(source: &Text<'_>, parsed: &Template, lines: bool, out: &mut Vec<Piece>) -> Result<(), Problem> {
    let trims = |strip: Strip| (strip.strip_start(), strip.strip_end());
    for element in parsed.iter() {
        let span = source.span(element.span());
        match element {
            Element::Literal(literal) if lines => {
                for line in source.raw(literal.span()).split_inclusive('\n') {
                    let text = line.replace("$${", "${").replace("%%{", "%{");
                    out.push(Piece { token: Token::Literal(text, span), trim: (false, false) });
                }
            }
            Element::Literal(literal) => {
                let token = Token::Literal(literal.value().clone(), span);
                out.push(Piece { token, trim: (false, false) });
            }
            Element::Interpolation(inner) => {
                let token = Token::Value(lower(source, &inner.expr)?);
                out.push(Piece { token, trim: trims(inner.strip) });
            }
            Element::Directive(directive) => match &**directive {
                Directive::If(inner) => {
                    let condition = lower(source, &inner.if_expr.cond_expr)?;
                    out.push(Piece { token: Token::If(condition, span), trim: trims(inner.if_expr.strip) });
                    flatten(source, &inner.if_expr.template, lines, out)?;
                    if let Some(other) = &inner.else_expr {
                        out.push(Piece { token: Token::Else, trim: trims(other.strip) });
                        flatten(source, &other.template, lines, out)?;
                    }
                    out.push(Piece { token: Token::End, trim: trims(inner.endif_expr.strip) });
                }
                Directive::For(inner) => {
                    let intro = &inner.for_expr;
                    let key = intro.key_var.as_ref().map(|name| name.as_str().to_owned());
                    let collection = lower(source, &intro.collection_expr)?;
                    let token = Token::For(key, intro.value_var.as_str().into(), collection, span);
                    out.push(Piece { token, trim: trims(intro.strip) });
                    flatten(source, &intro.template, lines, out)?;
                    out.push(Piece { token: Token::End, trim: trims(inner.endfor_expr.strip) });
                }
            },
        }
    }
    Ok(())
}

fn trim(pieces: &mut [Piece]) {
    for at in 0..pieces.len() {
        let (before, after) = pieces[at].trim;
        if before
            && at > 0
            && let Token::Literal(text, _) = &mut pieces[at - 1].token
        {
            text.truncate(text.trim_end().len());
        }
        if after && let Some(Piece { token: Token::Literal(text, _), .. }) = pieces.get_mut(at + 1) {
            *text = text.trim_start().to_owned();
        }
    }
}

/// Takes the least indentation of all lines off each line. A line that is blank does not count.
fn unindent(pieces: &mut [Piece]) {
    let (mut least, mut fresh, mut lines) = (usize::MAX, true, Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        let literal = if let Token::Literal(text, _) = &piece.token { Some(text) } else { None };
        if fresh {
            fresh = false;
            match literal {
                Some(text) if text.trim_start().is_empty() && text.ends_with('\n') => {}
                Some(text) => {
                    let space = &text[..text.len() - text.trim_start().len()];
                    least = least.min(space.graphemes(true).count());
                    lines.push(at);
                }
                None => least = 0,
            }
        }
        fresh |= literal.is_some_and(|text| text.ends_with('\n'));
    }
    for at in lines {
        if let Token::Literal(text, _) = &mut pieces[at].token {
            let cut: usize = text.graphemes(true).take(least).map(str::len).sum();
            text.drain(..cut);
        }
    }
}

/// Nests directives again. `hcl-edit` has seen to it that they are balanced.
fn build(pieces: &mut Peekable<std::vec::IntoIter<Piece>>) -> Vec<Expr> {
    let mut parts: Vec<Expr> = Vec::new();
    while let Some(piece) = pieces.next_if(|piece| !matches!(piece.token, Token::Else | Token::End)) {
        let expr = match piece.token {
            Token::Literal(text, span) => {
                if let Some(Expr { kind: Kind::Literal(Value::String(before)), .. }) = parts.last_mut() {
                    *before = format!("{before}{text}").into();
                    continue;
                }
                Expr::new(Kind::Literal(Value::string(text)), span)
            }
            Token::Value(value) => {
                let span = value.span;
                Expr::new(Kind::Wrapped(Box::new(value)), span)
            }
            Token::If(condition, span) => {
                let yes = text(build(pieces), span);
                let mut no = text(Vec::new(), span);
                if pieces.next_if(|piece| matches!(piece.token, Token::Else)).is_some() {
                    no = text(build(pieces), span);
                }
                pieces.next();
                Expr::new(Kind::Conditional(Box::new(condition), Box::new(yes), Box::new(no)), span)
            }
            Token::For(key, value, collection, span) => {
                let result = text(build(pieces), span);
                pieces.next();
                let inner =
                    For { key, value, collection, result_key: None, result, group: false, condition: None, join: true };
                Expr::new(Kind::For(Box::new(inner)), span)
            }
            Token::Else | Token::End => break,
        };
        parts.push(expr);
    }
    parts
}

/// The parts of a directive: always text, also where it is one interpolation.
fn text(parts: Vec<Expr>, span: Span) -> Expr {
    if parts.is_empty() {
        return Expr::new(Kind::Literal(Value::string("")), span);
    }
    Expr::new(Kind::Template(parts), span)
}
