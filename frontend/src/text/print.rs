//! Logical lines as text again: one physical line each, here-documents behind it. What is printed parses to the same
//! lines, but for their places.

use super::split::{SYNTAX, Syntax};
use crate::line::{Document, Flag, Heredoc, Line};
use std::fmt::{self, Display, Formatter, Write as _};

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
    if !SYNTAX.iter().any(|(name, _)| *name == line.name) {
        // Behind ONBUILD a name may be unknown; of such a line nothing more was read.
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

/// With an escape before everything that would mean something.
fn flag(out: &mut String, flag: &Flag, escape: char) {
    let mut text = format!("--{}", flag.name);
    if let Some(value) = &flag.value {
        let _never_fails = write!(text, "={value}");
    }
    for c in text.chars() {
        if c.is_whitespace() || matches!(c, '\'' | '"') || c == escape {
            out.push(escape);
        }
        out.push(c);
    }
}
