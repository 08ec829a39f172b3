//! Expansion: quotes, escapes and variables of a word, as BuildKit's `frontend/dockerfile/shell` does it.
//! `$v ${v} ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?w} ${v?w} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r} ${v//p/r}`; the words
//! inside are expanded in turn. Knows nothing of scopes: it asks a function for the value of a name.

mod pattern;

use std::fmt;
use std::ops::Range;

/// Substitutions inside substitutions; more are an error.
const DEEPEST: usize = 100;

/// The most that expansion may add to a text, in bytes: `ENV A=$A$A`, some dozens of times, would fill any memory.
const MOST_ADDED: usize = 1 << 20;

/// The most that is made at all levels together, thrown away again or not.
const MOST_WORK: usize = 8 << 20;

/// Expands words against the values of names.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mode: Mode,
    plain_quotes: bool,
}

/// The parts that are kept instead of being resolved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    /// Quotes stay in the result.
    pub raw_quotes: bool,
    /// Escape characters stay in the result.
    pub raw_escapes: bool,
    /// Names without a value stay as they are written.
    pub keep_unset: bool,
}

/// An expanded text, and the names it used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The result.
    pub text: String,
    /// Names that have no value, in order.
    pub undefined: Vec<String>,
    /// Names that have one, in order.
    pub used: Vec<String>,
}

/// Why a word can't be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandError {
    /// The word.
    pub word: String,
    /// The fault.
    pub message: String,
    /// The part of it that is wrong, in bytes.
    pub part: Range<usize>,
}

impl ExpandError {
    /// The way out, where there is one that fits them all.
    pub fn help(&self) -> Option<&'static str> {
        let says = |text: &str| self.message.contains(text);
        if says("missing '}'") || says("(\u{fffd})") {
            Some("close the substitution with `}`, or write `\\$` for a plain dollar sign")
        } else if says("bad substitution") {
            Some("a name comes first: `${name}`, `${name:-default}`")
        } else if says("unsupported modifier") {
            Some("known are `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` and `//`")
        } else if says("not allowed to be") {
            Some("give it a value: `--build-arg NAME=VALUE`, or a default where it is declared")
        } else if says("matching single-quote") || says("matching double-quote") {
            Some("close the quote, or write a backslash before it")
        } else {
            None
        }
    }
}

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to process {:?}: {}", self.word, self.message)
    }
}

impl<'a> Expander<'a> {
    /// An expander with the file's escape character.
    pub fn new(escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Expander<'a> {
        Expander { escape, lookup, mode: Mode::default(), plain_quotes: false }
    }

    /// The same with things kept.
    pub fn mode(mut self, mode: Mode) -> Expander<'a> {
        self.mode = mode;
        self
    }

    /// A word: quotes and escapes are resolved, variables replaced.
    pub fn word(&self, word: &str) -> Result<Expanded, ExpandError> {
        self.run(word).map(|(expanded, _)| expanded)
    }

    /// The body of a here-document: like a word, but quotes are ordinary characters.
    pub fn heredoc(&self, text: &str) -> Result<Expanded, ExpandError> {
        Expander { plain_quotes: true, ..*self }.run(text).map(|(expanded, _)| expanded)
    }

    /// The words of a text: blanks separate them, also those that come out of a variable.
    pub fn words(&self, text: &str) -> Result<Vec<String>, ExpandError> {
        self.run(text).map(|(_, words)| words)
    }

    fn run(&self, word: &str) -> Result<(Expanded, Vec<String>), ExpandError> {
        let mut walk = Walk {
            with: self,
            // Go's text/scanner, which reads words for BuildKit, takes a byte order mark away.
            chars: word.strip_prefix('\u{feff}').unwrap_or(word).chars().collect(),
            at: 0,
            began: 0,
            depth: 0,
            raw_escapes: self.mode.raw_escapes,
            spent: 0,
            most: word.len() + MOST_ADDED,
            open: String::new(),
            names: Expanded::default(),
        };
        let done = walk.until(None).map_err(|message| {
            let bytes = |chars: usize| walk.chars[..chars].iter().map(|c| c.len_utf8()).sum::<usize>();
            ExpandError { word: shortened(word), message, part: bytes(walk.began)..bytes(walk.at) }
        })?;
        Ok((Expanded { text: done.text, ..walk.names }, done.words))
    }
}

struct Walk<'a> {
    with: &'a Expander<'a>,
    chars: Vec<char>,
    at: usize,
    /// Where the outermost substitution or quote at hand began.
    began: usize,
    depth: usize,
    raw_escapes: bool,
    /// Bytes handled so far, at all levels.
    spent: usize,
    /// The length at which a text is refused.
    most: usize,
    /// The word that has begun. As in BuildKit there is one for all levels: a substitution with a word in it
    /// (`${a:-b}`) ends, and drops, what stood before it. Only EXPOSE asks for words.
    open: String,
    names: Expanded,
}

#[derive(Default)]
struct Part {
    text: String,
    words: Vec<String>,
    in_word: bool,
}

impl Walk<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Up to a character that is taken too, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<Part, String> {
        let mut part = Part::default();
        self.open.clear();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.at += 1;
                self.end_word(&mut part);
                return Ok(part);
            }
            if stop.is_none() {
                self.began = self.at;
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    self.add(&mut part, &value);
                }
                '\'' | '"' if !self.with.plain_quotes => {
                    let value = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    self.add_raw(&mut part, &value);
                }
                '<' => {
                    let value = self.less();
                    self.add_raw(&mut part, &value);
                }
                _ => self.plain(&mut part),
            }
            if part.text.len() > self.most || self.spent > MOST_WORK {
                return Err(too_long());
            }
        }
        match stop {
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
            None => {
                self.end_word(&mut part);
                Ok(part)
            }
        }
    }

    /// Text in which blanks separate words.
    fn add(&mut self, part: &mut Part, text: &str) {
        part.text.push_str(text);
        self.spent += text.len();
        for c in text.chars() {
            if !c.is_whitespace() {
                self.open.push(c);
                part.in_word = true;
            } else if part.in_word && !self.open.is_empty() {
                self.end_word(part);
            }
        }
    }

    /// Text that belongs to the word as it is.
    fn add_raw(&mut self, part: &mut Part, text: &str) {
        part.text.push_str(text);
        self.spent += text.len();
        self.open.push_str(text);
        part.in_word = true;
    }

    fn end_word(&mut self, part: &mut Part) {
        if !self.open.is_empty() {
            part.words.push(std::mem::take(&mut self.open));
            part.in_word = false;
        }
    }

    fn plain(&mut self, part: &mut Part) {
        let Some(c) = self.next() else { return };
        let mut buffer = [0; 4];
        if c != self.with.escape {
            return self.add(part, c.encode_utf8(&mut buffer));
        }
        if self.raw_escapes {
            self.add_raw(part, c.encode_utf8(&mut buffer));
        }
        // An escape at the very end stands for nothing.
        if let Some(c) = self.next() {
            self.add_raw(part, c.encode_utf8(&mut buffer));
        }
    }

    /// `<<` with the blanks behind it stays together, so that `<< EOF` is one word.
    fn less(&mut self) -> String {
        let mut text = String::from("<");
        self.at += 1;
        if self.peek() == Some('<') {
            self.at += 1;
            text.push('<');
            while let Some(c @ ('\t' | '\r' | ' ')) = self.peek() {
                self.at += 1;
                text.push(c);
            }
        }
        text
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.peek() {
                None => return Err("unexpected end of statement while looking for matching single-quote".to_owned()),
                Some('\'') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some(c) => {
                    self.at += 1;
                    text.push(c);
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.peek() {
                None => return Err("unexpected end of statement while looking for matching double-quote".to_owned()),
                Some('"') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some('$') => {
                    text.push_str(&self.dollar()?);
                    if text.len() > self.most {
                        return Err(too_long());
                    }
                }
                Some(mut c) => {
                    self.at += 1;
                    if c == self.with.escape {
                        if self.raw_escapes {
                            text.push(c);
                        }
                        match self.peek() {
                            None => continue,
                            Some(next) if next == '"' || next == '$' || next == self.with.escape => {
                                self.at += 1;
                                c = next;
                            }
                            Some(_) => {}
                        }
                    }
                    text.push(c);
                }
            }
        }
    }

    fn quote(&mut self, text: &mut String) {
        let quote = self.next();
        text.extend(quote.filter(|_| self.with.mode.raw_quotes));
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            let value = self.value(&name);
            return Ok(self.or_kept(value, || format!("${name}")));
        }
        self.at += 1;
        match self.peek() {
            None => return Err(MISSING_BRACE.to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("more than {DEEPEST} substitutions inside each other"));
        }
        let result = self.braced();
        self.depth -= 1;
        result
    }

    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        match self.next() {
            Some('}') => {
                let value = self.value(&name);
                Ok(self.or_kept(value, || format!("${{{name}}}")))
            }
            Some(':') => match self.next() {
                Some(c @ ('+' | '-' | '?')) => self.default(&name, c, true),
                Some(c @ ('#' | '%')) => Err(unsupported(&format!(":{c}"))),
                Some(c) => {
                    // The rest is read first: that it does not end is the graver error.
                    self.word_until('}', false)?;
                    Err(unsupported(&format!(":{c}")))
                }
                None => Err(MISSING_BRACE.to_owned()),
            },
            Some(c @ ('+' | '-' | '?')) => self.default(&name, c, false),
            Some(c @ ('#' | '%')) => self.trim(&name, c),
            Some('/') => self.replace(&name),
            Some(c) => Err(unsupported(&c.to_string())),
            None => Err(unsupported("\u{fffd}")),
        }
    }

    fn word_until(&mut self, stop: char, raw_escapes: bool) -> Result<String, String> {
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let part = self.until(Some(stop));
        self.raw_escapes = before;
        match part {
            Ok(part) => Ok(part.text),
            Err(_) if self.peek().is_none() && stop == '/' => Err("syntax error: missing '/' in ${}".to_owned()),
            Err(_) if self.peek().is_none() => Err(MISSING_BRACE.to_owned()),
            Err(other) => Err(other),
        }
    }

    fn default(&mut self, name: &str, modifier: char, empty_counts: bool) -> Result<String, String> {
        let word = self.word_until('}', false)?;
        let value = self.value(name);
        let colon = if empty_counts { ":" } else { "" };
        if value.is_none() && self.with.mode.keep_unset {
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let empty = value.as_deref() == Some("");
        match (modifier, value.filter(|value| !empty_counts || !value.is_empty())) {
            ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('+', Some(_)) => Ok(word),
            ('?', None) if !word.is_empty() => Err(format!("{name}: {word}")),
            ('?', None) => Err(format!("{name}: is not allowed to be {}", if empty { "empty" } else { "unset" })),
            (_, Some(value)) => Ok(value),
            (_, None) => Ok(String::new()),
        }
    }

    fn trim(&mut self, name: &str, modifier: char) -> Result<String, String> {
        let word = self.word_until('}', true)?;
        let value = self.value(name);
        if value.is_none() && self.with.mode.keep_unset {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (greedy, word) = word.strip_prefix(modifier).map_or((false, word.as_str()), |word| (true, word));
        pattern::trim(word, &value, modifier == '%', greedy)
    }

    fn replace(&mut self, name: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        self.at += usize::from(all);
        let word = self.word_until('/', true)?;
        let with = self.word_until('}', true)?;
        let value = self.value(name);
        if value.is_none() && self.with.mode.keep_unset {
            return Ok(format!("${{{name}/{word}/{with}}}"));
        }
        pattern::replace(&word, &value.unwrap_or_default(), &with, all, self.most)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.peek().filter(|c| c.is_numeric()) {
                    self.at += 1;
                    name.push(c);
                }
            }
            Some(c) if "@*#?-$!0".contains(c) => {
                self.at += 1;
                name.push(c);
            }
            _ => {
                while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                    self.at += 1;
                    name.push(c);
                }
            }
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.with.lookup)(name);
        let list = if value.is_some() { &mut self.names.used } else { &mut self.names.undefined };
        list.push(name.to_owned());
        value
    }

    fn or_kept(&self, value: Option<String>, kept: impl FnOnce() -> String) -> String {
        match value {
            None if self.with.mode.keep_unset => kept(),
            value => value.unwrap_or_default(),
        }
    }
}

fn too_long() -> String {
    format!("the result is more than {MOST_ADDED} bytes longer than the text")
}

/// A word for a message: BuildKit quotes all of it, which may be a whole here-document.
fn shortened(word: &str) -> String {
    const SHOWN: usize = 1000;
    match word.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &word[..at]),
        None => word.to_owned(),
    }
}

const MISSING_BRACE: &str = "syntax error: missing '}'";

fn unsupported(modifier: &str) -> String {
    format!("unsupported modifier ({modifier}) in substitution")
}
