//! Wildcards of paths, as Go's `path/filepath.Match` reads them: `*`, `?`, `[a-z]`, `[^a]`, `\x`; none crosses a `/`.
//! With `**`, which crosses, in the patterns of `.dockerignore` and `--exclude` (moby/patternmatcher).

/// A pattern that is none: an open bracket, a backslash at the end, an empty range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern;

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
pub struct Glob(Vec<Token>);

impl Glob {
    /// Compiles a pattern; with `deep`, `**` crosses slashes.
    pub fn new(pattern: &str, deep: bool) -> Result<Glob, BadPattern> {
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

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
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

    /// The leading characters that every match begins with.
    pub fn literal_prefix(&self) -> String {
        let chars = self.0.iter().map_while(|token| if let Token::Char(c) = token { Some(*c) } else { None });
        chars.collect()
    }

    /// Whether it stands for one text only.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|token| matches!(token, Token::Char(_)))
    }
}

/// What may stand behind a leading `**` for it to mean "ends with": characters that mean themselves.
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

/// A name as a pattern that matches it alone.
pub(crate) fn escaped(name: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | '\\');
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Whether a path has wildcards at all.
pub fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(Glob::new(pattern, true).map(|glob| glob.matches(text)), Ok(expected), "{pattern} on {text}");
    }

    #[test]
    fn wildcards_stay_in_their_part_of_the_path_and_double_stars_do_not() {
        check("*.txt", "a.txt", true);
        check("*.txt", "d/a.txt", false);
        check("**/*.txt", "d/e/a.txt", true);
        check("**/*.txt", "a.txt", true);
        check("a/**", "a/b/c", true);
        check("**.pyc", "a/b.pyc", true);
        check("**.pyc", "b.pyc", true);
        check("**.pyc", "b.py", false);
        check("a?c", "a/c", false);
        check("**]", "[a]", false);
        check("^a*", "ab", true);
        check("a^*", "a^b", false);
        check("a^", "a^", true);
        check("[a-c]x", "bx", true);
        check("[^a-c]x", "bx", false);
        check("[!a]", "!", true);
        check("\\*", "*", true);
        assert_eq!(Glob::new("[a", true), Err(BadPattern));
        assert_eq!(Glob::new("a\\", true), Err(BadPattern));
        assert_eq!(Glob::new("[]a]", true), Err(BadPattern));
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = "*a".repeat(300);
        assert_eq!(
            Glob::new(&pattern, true).map(|glob| glob.matches(&"a".repeat(3000).replace("aaa", "aab"))),
            Ok(false)
        );
    }
}
