//! The same patterns in the simplest way, character by character: what the fast matcher is held against. With programs
//! and paths for such tests.

use super::BadPattern;

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Star,
    /// `**`: everything.
    Deep,
    /// `**` or `**/` before more: nothing, or anything that ends with a slash.
    DeepSlash,
    /// The beginning of the text: what moby/patternmatcher makes of a `^` beside wildcards.
    Start,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Token>);

impl Glob {
    /// Compiles a pattern; with `deep`, `**` crosses slashes.
    pub(crate) fn new(pattern: &str, deep: bool) -> Result<Glob, BadPattern> {
        if let Some(end) = pattern.strip_prefix("**").filter(|end| deep && is_plain_end(end)) {
            // moby/patternmatcher: such a pattern is compared with the end of the path.
            return Ok(Glob(std::iter::once(Token::Deep).chain(end.chars().map(Token::Char)).collect()));
        }
        if let Some(end) = pattern.strip_prefix("**/").filter(|end| deep && is_plain_end(end)) {
            return Ok(Glob(std::iter::once(Token::DeepSlash).chain(end.chars().map(Token::Char)).collect()));
        }
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        // Without wildcards, but for `**` at its end, a pattern is compared as it is.
        let plain = pattern.strip_suffix("**").filter(|_| deep).unwrap_or(pattern);
        if !plain.contains(['*', '?', '[', ']', '\\']) {
            let deep = (plain.len() < pattern.len()).then_some(Token::Deep);
            return Ok(Glob(plain.chars().map(Token::Char).chain(deep).collect()));
        }
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if deep && chars.peek() == Some(&'*') => {
                    chars.next();
                    chars.next_if_eq(&'/');
                    // moby/patternmatcher: only at the end does it stand for everything.
                    if chars.peek().is_none() { Token::Deep } else { Token::DeepSlash }
                }
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => Token::Char(chars.next().ok_or(BadPattern)?),
                '[' => class(&mut chars)?,
                '^' if deep => Token::Start,
                c => Token::Char(c),
            });
        }
        Ok(Glob(tokens))
    }

    /// True if the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        if let Some(Token::Char(first)) = self.0.first()
            && !text.starts_with(*first)
        {
            return false;
        }
        // Every set of places that the tokens so far can end at: linear in text and pattern, whatever they are.
        let text: Vec<char> = text.chars().collect();
        let mut places = vec![false; text.len() + 1];
        places[0] = true;
        for token in &self.0 {
            places = step(token, &text, &places);
        }
        places[text.len()]
    }
}

/// True for a text that may stand behind a leading `**` for it to mean "ends with": characters that mean themselves.
fn is_plain_end(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('/') && !text.contains(['*', '?', '[', ']', '\\'])
}

fn step(token: &Token, text: &[char], places: &[bool]) -> Vec<bool> {
    let mut next = vec![false; places.len()];
    match token {
        Token::Star | Token::Deep => {
            let mut on = false;
            for (at, place) in places.iter().enumerate() {
                on |= place;
                next[at] = on;
                if *token == Token::Star && text.get(at) == Some(&'/') {
                    on = false;
                }
            }
        }
        Token::DeepSlash => {
            let mut on = false;
            for (at, place) in places.iter().enumerate() {
                next[at] = *place || (on && at > 0 && text[at - 1] == '/');
                on |= place;
            }
        }
        Token::Start => next[0] = places[0],
        Token::Char(_) | Token::Any | Token::Class { .. } => {
            for (at, c) in text.iter().enumerate().filter(|(at, _)| places[*at]) {
                next[at + 1] = match token {
                    Token::Char(wanted) => c == wanted,
                    Token::Class { negated, ranges } => {
                        *c != '/' && ranges.iter().any(|(low, high)| low <= c && c <= high) != *negated
                    }
                    _ => *c != '/',
                };
            }
        }
    }
    next
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        // A range the wrong way round is a member like others; it matches nothing.
        ranges.push((low, high));
    }
}

fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next().ok_or(BadPattern)? {
        '-' | ']' => Err(BadPattern),
        '\\' => chars.next().ok_or(BadPattern),
        c => Ok(c),
    }
}

/// Numbers that look random and are the same each time.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    /// A clean path of few names, so that patterns match it now and then.
    pub(crate) fn path(&mut self) -> String {
        let names = ["a", "b", "ab", "aba", "a.b", "ä", "^a", "[a]", "!b", "a b", ".a", "b\\a"];
        let parts: Vec<&str> = (0..=self.below(4)).map(|_| self.one(&names)).collect();
        parts.join("/")
    }

    /// Something that may be a pattern.
    pub(crate) fn pattern(&mut self) -> String {
        let parts = [
            "a", "b", "ab", "a.b", "/", "/", "*", "**", "**/", "/**", "?", "[ab]", "[^a]", "[a-", "]", "^", "\\",
            "\\a", "ä", ".", "!", " ", "[]a]", "[b-a]", "*.b",
        ];
        (0..=self.below(6)).map(|_| self.one(&parts)).collect()
    }
}
