//! The arguments of one instruction: name, flags, and words by the syntax of the instruction.
//! The rules are those of BuildKit's `parser/split_command.go` and `parser/line_parsers.go`.

use super::joined::{File, Joined};
use crate::diagnostic::Diagnostic;
use crate::line::{Flag, Line, Span, Word};
use base::words::closest;
use std::ops::Range;

/// How the arguments of an instruction are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Words between blanks; quotes mean nothing.
    Words,
    /// A JSON list, else words between blanks.
    JsonOrWords,
    /// A JSON list, else one text.
    JsonOrText,
    /// One text.
    Text,
    /// Words in which quotes and escapes hold blanks together.
    Quoted,
    /// `name=value` pairs, or the old `name value`.
    Pairs,
    /// `NONE`, or `CMD` and what CMD takes.
    Check,
    /// Another instruction.
    Trigger,
    /// Whatever it is, it is not looked at.
    Nothing,
}

/// Every instruction with its syntax.
pub(super) const SYNTAX: &[(&str, Syntax)] = &[
    ("ADD", Syntax::JsonOrWords),
    ("ARG", Syntax::Quoted),
    ("CMD", Syntax::JsonOrText),
    ("COPY", Syntax::JsonOrWords),
    ("ENTRYPOINT", Syntax::JsonOrText),
    ("ENV", Syntax::Pairs),
    ("EXPOSE", Syntax::Words),
    ("FROM", Syntax::Words),
    ("HEALTHCHECK", Syntax::Check),
    ("LABEL", Syntax::Pairs),
    ("MAINTAINER", Syntax::Text),
    ("ONBUILD", Syntax::Trigger),
    ("RUN", Syntax::JsonOrText),
    ("SHELL", Syntax::JsonOrText),
    ("STOPSIGNAL", Syntax::Text),
    ("USER", Syntax::Text),
    ("VOLUME", Syntax::JsonOrWords),
    ("WORKDIR", Syntax::Text),
];

const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// Cuts a joined line.
pub(super) fn line(file: &File<'_>, joined: &Joined, escape: char) -> Result<Line, Diagnostic> {
    let joined = &joined.trim_start();
    let (name, written, name_span) = name(file, joined);
    match SYNTAX.iter().find(|(known, _)| *known == name) {
        Some((_, syntax)) => cut(file, joined, *syntax, escape),
        None => Err(unknown(&written, escape, name_span)),
    }
}

fn unknown(written: &str, escape: char, span: Span) -> Diagnostic {
    let message = format!("unknown instruction: {written}");
    let error = Diagnostic::error("unknown-instruction", message, Some(span.clone()));
    match closest(written, SYNTAX.iter().map(|(name, _)| *name)) {
        Some(nearest) => error.label(format!("did you mean {nearest}?")).fix(span, nearest),
        None => error.help(format!(
            "a line that belongs to the instruction above needs a `{escape}` at the end of the line before"
        )),
    }
}

/// The name of an instruction in upper case, as it is written, and its place.
fn name(file: &File<'_>, joined: &Joined) -> (String, String, Span) {
    let end = joined.text.find(BLANKS).unwrap_or(joined.text.len());
    let written = joined.text[..end].to_owned();
    (written.to_uppercase(), written, joined.span(file, 0..end))
}

fn cut(file: &File<'_>, joined: &Joined, syntax: Syntax, escape: char) -> Result<Line, Diagnostic> {
    let (name, written, name_span) = name(file, joined);
    let name_end = written.len();
    let after = joined.text[name_end..].trim_start_matches(BLANKS);
    let rest = joined.slice(joined.text.len() - after.len()..joined.text.len());
    let trimmed = rest.slice(0..rest.text.trim_end().len());
    let (flags, args_at) = flags(file, &trimmed, escape);
    let args = trimmed.slice(args_at..trimmed.text.len()).trim();
    let mut line = Line {
        name,
        written,
        span: joined.trim().whole(file),
        name_span,
        flags,
        json: false,
        args: Vec::new(),
        rest: rest.text.clone(),
        heredocs: Vec::new(),
        comments: Vec::new(),
        trigger: None,
    };
    fill(file, &mut line, &args, syntax, escape)?;
    Ok(line)
}

fn fill(file: &File<'_>, line: &mut Line, args: &Joined, syntax: Syntax, escape: char) -> Result<(), Diagnostic> {
    let word = |range: Range<usize>| Word { text: args.text[range.clone()].to_owned(), span: args.span(file, range) };
    let text = || if args.text.is_empty() { Vec::new() } else { vec![word(0..args.text.len())] };
    match syntax {
        Syntax::Words => line.args = between_blanks(&args.text).into_iter().map(word).collect(),
        Syntax::Text => line.args = text(),
        Syntax::JsonOrText | Syntax::JsonOrWords => match json(file, args)? {
            Some(words) => (line.args, line.json) = (words, true),
            None if syntax == Syntax::JsonOrText => line.args = text(),
            None => line.args = between_blanks(&args.text).into_iter().map(word).collect(),
        },
        Syntax::Quoted => line.args = quoted(file, args, escape),
        Syntax::Pairs => line.args = pairs(file, line, args, escape)?,
        Syntax::Nothing => {}
        Syntax::Trigger if args.text.is_empty() => {}
        Syntax::Trigger => line.trigger = Some(Box::new(trigger(file, args, escape)?)),
        Syntax::Check => check(file, line, args)?,
    }
    Ok(())
}

/// The instruction behind ONBUILD. As in BuildKit one of an unknown name is an error only where the trigger runs.
fn trigger(file: &File<'_>, args: &Joined, escape: char) -> Result<Line, Diagnostic> {
    let (name, ..) = name(file, args);
    let known = SYNTAX.iter().find(|(known, _)| *known == name).map(|(_, syntax)| *syntax);
    // The text of a trigger of a trigger does not matter: it is refused.
    let syntax = known.filter(|syntax| *syntax != Syntax::Trigger).unwrap_or(Syntax::Nothing);
    cut(file, args, syntax, escape)
}

/// `CMD` in one word, the rest as CMD has it.
fn check(file: &File<'_>, line: &mut Line, args: &Joined) -> Result<(), Diagnostic> {
    let end = args.text.find(BLANKS).unwrap_or(args.text.len());
    if args.text.is_empty() {
        return Ok(());
    }
    line.args.push(Word { text: args.text[..end].to_owned(), span: args.span(file, 0..end) });
    let command = args.text[end..].trim_start_matches(BLANKS);
    let rest = args.slice(args.text.len() - command.len()..args.text.len());
    if rest.text.is_empty() {
        return Ok(());
    }
    match json(file, &rest)? {
        Some(words) => {
            line.json = true;
            line.args.extend(words);
        }
        None => line.args.push(Word { text: rest.text.clone(), span: rest.whole(file) }),
    }
    Ok(())
}

/// A JSON list of strings; none if it is something else, an error if it is a list of something else.
fn json(file: &File<'_>, args: &Joined) -> Result<Option<Vec<Word>>, Diagnostic> {
    if !args.text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(&args.text) else { return Ok(None) };
    let strings: Option<Vec<String>> = values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect();
    let Some(strings) = strings else {
        let message = "when using JSON array syntax, arrays must be comprised of strings only";
        return Err(Diagnostic::error("json-strings", message, Some(args.whole(file)))
            .help("put every element in double quotes"));
    };
    Ok(Some(strings.into_iter().map(|text| Word { text, span: args.whole(file) }).collect()))
}

fn between_blanks(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (BLANKS.contains(&c), start) {
            (true, Some(begin)) => {
                words.push(begin..at);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words
}

/// Words in which quotes hold blanks; quotes and escapes stay, for the expansion to read them.
fn quoted(file: &File<'_>, args: &Joined, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let (mut text, mut start, mut quote) = (String::new(), None, None);
    let mut chars = args.text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let begin = match start {
            None if c.is_whitespace() => continue,
            None => at,
            Some(begin) => begin,
        };
        start = Some(begin);
        if quote.is_none() && c.is_whitespace() {
            words.push(Word { text: std::mem::take(&mut text), span: args.span(file, begin..at) });
            start = None;
            continue;
        }
        if c == escape && quote != Some('\'') {
            // An escape at the very end is dropped.
            if let Some((_, next)) = chars.next() {
                text.extend([c, next]);
            }
            continue;
        }
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        text.push(c);
    }
    if let Some(begin) = start.filter(|_| !text.is_empty()) {
        words.push(Word { text, span: args.span(file, begin..args.text.len()) });
    }
    words
}

/// Key, value, separator in turn.
fn pairs(file: &File<'_>, line: &Line, args: &Joined, escape: char) -> Result<Vec<Word>, Diagnostic> {
    let words = quoted(file, args, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    let part = |text: &str, word: &Word| Word { text: text.to_owned(), span: word.span.clone() };
    if !first.text.contains('=') {
        let end = args.text.find(BLANKS).unwrap_or(args.text.len());
        let value = args.text[end..].trim_start_matches(BLANKS);
        if value.is_empty() {
            let message = format!("{} must have two arguments", line.name);
            return Err(Diagnostic::error("two-arguments", message, Some(line.span.clone())).help("write `name=value`"));
        }
        let at = args.text.len() - value.len();
        let key = Word { text: args.text[..end].to_owned(), span: args.span(file, 0..end) };
        let value = Word { text: value.to_owned(), span: args.span(file, at..args.text.len()) };
        let none = part("", &key);
        return Ok(vec![key, value, none]);
    }
    let mut all = Vec::new();
    for word in &words {
        let Some((key, value)) = word.text.split_once('=') else {
            let message = format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", word.text);
            return Err(
                Diagnostic::error("name-value", message, Some(word.span.clone())).help("put the whole value in quotes")
            );
        };
        all.extend([part(key, word), part(value, word), part("=", word)]);
    }
    Ok(all)
}

/// The flags before the arguments, and where the arguments begin. Quotes and escapes are resolved.
fn flags(file: &File<'_>, rest: &Joined, escape: char) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at += rest.text[at..].len() - rest.text[at..].trim_start_matches(BLANKS).len();
        if !rest.text[at..].starts_with("--") {
            return (flags, at);
        }
        let (text, end) = flag(&rest.text, at, escape);
        if text == "--" {
            return (flags, end);
        }
        let span = rest.span(file, at..end);
        let (name, value) = match text[2..].split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text[2..].to_owned(), None),
        };
        flags.push(Flag { name, value, span });
        at = end;
    }
}

fn flag(text: &str, start: usize, escape: char) -> (String, usize) {
    let (mut word, mut quote) = (String::new(), None);
    let mut chars = text[start..].char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if BLANKS.contains(&c) => return (word, start + at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}
