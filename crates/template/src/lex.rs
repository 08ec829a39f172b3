//! Cuts a template into text and the tokens of its actions. Knows no grammar.

use crate::error::Error;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Text outside of actions, after trim markers were applied.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// A keyword or the name of a function.
    Word(String),
    /// `.name`; empty for the dot alone.
    Field(String),
    /// `$name`; empty for `$`.
    Variable(String),
    /// A string, without its quotes.
    Quoted(String),
    /// An integer.
    Int(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// `|`, `(`, `)`, `,`, `=` or `:=`.
    Sign(&'static str),
    /// White space between two operands: it separates `.a .b` from `.a.b`.
    Space,
}

/// A token with its line.
pub(crate) type Placed = (usize, Token);

/// Cuts `text` into tokens.
pub(crate) fn lex(text: &str) -> Result<Vec<Placed>, Error> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Placed>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let mut trim = false;
        loop {
            let end = self.rest.find("{{").unwrap_or(self.rest.len());
            let (text, rest) = self.rest.split_at(end);
            let opened = rest.strip_prefix("{{");
            let left = opened.is_some_and(|inner| inner.starts_with("- ") || inner.starts_with("-\n"));
            let mut shown = text;
            if trim {
                shown = shown.trim_start_matches(GO_SPACE);
            }
            if left {
                shown = shown.trim_end_matches(GO_SPACE);
            }
            if !shown.is_empty() {
                self.tokens.push((self.line, Token::Text(shown.to_owned())));
            }
            self.line += text.matches('\n').count();
            let Some(inner) = opened else { return Ok(()) };
            self.rest = if left { &inner[1..] } else { inner };
            trim = self.action()?;
        }
    }

    /// Everything up to `}}`. True if white space after it is trimmed.
    fn action(&mut self) -> Result<bool, Error> {
        let inner = self.rest.trim_start_matches(GO_SPACE);
        if let Some(comment) = inner.strip_prefix("/*") {
            return self.comment(comment);
        }
        self.tokens.push((self.line, Token::Open));
        loop {
            if let Some((skip, trim)) = self.closing() {
                self.rest = &self.rest[skip..];
                self.tokens.push((self.line, Token::Close));
                return Ok(trim);
            }
            let token = self.token()?;
            // Leading white space says nothing, and one token stands for any run of it.
            let idle = matches!(self.tokens.last(), Some((_, Token::Open | Token::Space)));
            if token != Token::Space || !idle {
                self.tokens.push((self.line, token));
            }
        }
    }

    fn comment(&mut self, comment: &str) -> Result<bool, Error> {
        let (text, after) = comment.split_once("*/").ok_or_else(|| self.error("unclosed comment"))?;
        let skipped = self.rest.len() - after.len();
        let lines = text.matches('\n').count();
        self.rest = &self.rest[skipped..];
        let (skip, trim) = self.closing().ok_or_else(|| self.error("comment ends before closing delimiter"))?;
        self.rest = &self.rest[skip..];
        self.line += lines;
        Ok(trim)
    }

    /// The length of a closing delimiter that begins here, and whether it trims.
    fn closing(&self) -> Option<(usize, bool)> {
        if self.rest.starts_with("}}") {
            return Some((2, false));
        }
        let inner = self.rest.trim_start_matches(GO_SPACE);
        let spaces = self.rest.len() - inner.len();
        (spaces > 0 && inner.starts_with("-}}")).then_some((spaces + 3, true))
    }

    fn token(&mut self) -> Result<Token, Error> {
        let Some(first) = self.rest.chars().next() else { return Err(self.error("unclosed action")) };
        match first {
            c if GO_SPACE.contains(&c) => {
                let trimmed = self.rest.trim_start_matches(GO_SPACE);
                let spaces = &self.rest[..self.rest.len() - trimmed.len()];
                self.line += spaces.matches('\n').count();
                self.rest = trimmed;
                Ok(Token::Space)
            }
            '.' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.rest = &self.rest[1..];
                Ok(Token::Field(self.name()))
            }
            '$' => {
                self.rest = &self.rest[1..];
                Ok(Token::Variable(self.name()))
            }
            '"' => self.quoted(),
            '`' => {
                let inner = &self.rest[1..];
                let (text, after) =
                    inner.split_once('`').ok_or_else(|| self.error("unterminated raw quoted string"))?;
                let token = Token::Quoted(text.to_owned());
                self.line += text.matches('\n').count();
                self.rest = after;
                Ok(token)
            }
            '\'' => self.character(),
            c if c.is_ascii_digit() || c == '+' || c == '-' || c == '.' => self.number(),
            c if c.is_alphabetic() || c == '_' => Ok(Token::Word(self.name())),
            _ => self.sign(first),
        }
    }

    fn sign(&mut self, first: char) -> Result<Token, Error> {
        const SIGNS: &[&str] = &[":=", "=", "|", "(", ")", ","];
        match SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) {
            Some(sign) => {
                self.rest = &self.rest[sign.len()..];
                Ok(Token::Sign(sign))
            }
            None => Err(self.error(format!("unexpected {first:?} in command"))),
        }
    }

    fn name(&mut self) -> String {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    fn number(&mut self) -> Result<Token, Error> {
        let letter = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let end = self.rest.find(|c| !letter(c)).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        number(digits).ok_or_else(|| self.error(format!("bad number syntax: {digits:?}")))
    }

    /// A string between double quotes.
    fn quoted(&mut self) -> Result<Token, Error> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Token::Quoted(out));
                }
                '\n' => break,
                '\\' => match escape(&mut chars.by_ref().map(|(_, c)| c)) {
                    Some(c) => out.push(c),
                    None => return Err(self.error("invalid escape in a string")),
                },
                c => out.push(c),
            }
        }
        Err(self.error("unterminated quoted string"))
    }

    /// A character constant is a number.
    fn character(&mut self) -> Result<Token, Error> {
        let mut chars = self.rest.char_indices().skip(1);
        let value = match chars.next() {
            Some((_, '\\')) => escape(&mut chars.by_ref().map(|(_, c)| c)),
            other => other.map(|(_, c)| c),
        };
        match (value, chars.next()) {
            (Some(value), Some((end, '\''))) => {
                self.rest = &self.rest[end + 1..];
                Ok(Token::Int(i64::from(u32::from(value))))
            }
            _ => Err(self.error("unterminated character constant")),
        }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::new(self.line, message)
    }
}

/// White space to Go's lexer.
const GO_SPACE: &[char] = &[' ', '\t', '\r', '\n'];

fn number(digits: &str) -> Option<Token> {
    let plain = digits.replace('_', "");
    let (negative, unsigned) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    let radix = |prefix: &[&str], radix| {
        let digits = prefix.iter().find_map(|prefix| unsigned.strip_prefix(prefix))?;
        i64::from_str_radix(digits, radix).ok()
    };
    let int = radix(&["0x", "0X"], 16)
        .or_else(|| radix(&["0o", "0O"], 8))
        .or_else(|| radix(&["0b", "0B"], 2))
        .or_else(|| unsigned.parse().ok());
    if let Some(int) = int {
        return Some(Token::Int(if negative { -int } else { int }));
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    unsigned.parse().ok().map(|float: f64| Token::Float(if negative { -float } else { float }))
}

/// The character behind a backslash.
fn escape(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    let hex = |chars: &mut dyn Iterator<Item = char>, count| {
        let digits: String = chars.take(count).collect();
        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
    };
    Some(match chars.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        'x' => hex(chars, 2)?,
        'u' => hex(chars, 4)?,
        'U' => hex(chars, 8)?,
        c @ ('\\' | '"' | '\'') => c,
        _ => return None,
    })
}
