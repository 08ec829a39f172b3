//! Logical lines as text again: one physical line each, here-documents behind it. What is printed parses to the same
//! lines, but for their places.

use super::split::{SYNTAX, Syntax};
use crate::line::{Document, Flag, Heredoc, Line};
use std::fmt::{self, Display, Formatter};

impl Display for Document {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Document { directives, escape, lines, .. } = self;
        for (name, value) in
            [("syntax", &directives.syntax), ("escape", &directives.escape), ("check", &directives.check)]
        {
            if let Some(value) = value {
                writeln!(f, "# {name}={}", value.text)?;
            }
        }
        for line in lines {
            let text = text(line, *escape);
            let text = text.trim_end();
            // An escape at the end would join the next line; a no-break space parts them and is trimmed away itself.
            writeln!(f, "{text}{}", if text.ends_with(*escape) { "\u{a0}" } else { "" })?;
            for Heredoc { name, content, .. } in &line.heredocs {
                writeln!(f, "{content}{name}")?;
            }
        }
        Ok(())
    }
}

/// A line without its here-documents.
fn text(line: &Line, escape: char) -> String {
    let mut out = line.written.clone();
    let known = SYNTAX.iter().any(|(name, _)| *name == line.name);
    // Behind ONBUILD a name may be unknown: of such a line nothing more was read. And whether `<<` begins a here-document
    // depends on the very blanks behind it.
    if !known || (!line.json && line.rest.contains("<<")) {
        return out + " " + line.rest.trim_end();
    }
    for flag in &line.flags {
        out.push(' ');
        self::flag(&mut out, flag, escape);
    }
    let args = args(line, escape);
    if args.starts_with("--") {
        out.push_str(" --");
    }
    if args.is_empty() { out } else { out + " " + &args }
}

fn args(line: &Line, escape: char) -> String {
    let words: Vec<&str> = line.args.iter().map(|word| word.text.as_str()).collect();
    let syntax = SYNTAX.iter().find(|(name, _)| *name == line.name).map(|(_, syntax)| *syntax);
    match (syntax, words.split_first()) {
        (Some(Syntax::Trigger), _) => line.trigger.as_ref().map_or(String::new(), |trigger| text(trigger, escape)),
        (Some(Syntax::Check), Some((kind, command))) if line.json => format!("{kind} {}", list(command)),
        _ if line.json => list(&words),
        (Some(Syntax::Pairs), _) => {
            let pairs = words.chunks(3).map(|triple| match triple {
                [name, value, ""] => format!("{name} {value}"),
                [name, value, ..] => format!("{name}={value}"),
                _ => String::new(),
            });
            pairs.collect::<Vec<_>>().join(" ")
        }
        _ => words.join(" "),
    }
}

fn list(words: &[&str]) -> String {
    serde_json::Value::from(words.to_vec()).to_string()
}

/// With an escape before everything that would mean something, and blanks in quotes: an escaped one at the end of the line
/// would be trimmed away.
fn flag(out: &mut String, flag: &Flag, escape: char) {
    let value = flag.value.as_ref().map_or(String::new(), |value| format!("={value}"));
    let text = format!("{}{value}", flag.name);
    let quote = if text.contains(char::is_whitespace) { "\"" } else { "" };
    out.push_str("--");
    out.push_str(quote);
    for c in text.chars() {
        if matches!(c, '\'' | '"') || c == escape {
            out.push(escape);
        }
        out.push(c);
    }
    out.push_str(quote);
}
