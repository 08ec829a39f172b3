//! Wildcards of paths, as Go's `path/filepath.Match` reads them: `*`, `?`, `[a-z]`, `[^a]`, `\x`; none crosses a `/`.
//! With `**`, which crosses, in the patterns of `.dockerignore` and `--exclude` (moby/patternmatcher).

#[cfg(test)]
pub(crate) mod simple;

/// A pattern that is none: an open bracket, a backslash at the end, an empty range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern;

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// These characters.
    Text(String),
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
            return Ok(Glob(vec![Token::Deep, Token::Text(end.to_owned())]));
        }
        if let Some(end) = pattern.strip_prefix("**/").filter(|end| deep && is_plain_end(end)) {
            return Ok(Glob(vec![Token::DeepSlash, Token::Text(end.to_owned())]));
        }
        // Without wildcards, but for `**` at its end, a pattern is compared as it is.
        let plain = pattern.strip_suffix("**").filter(|_| deep).unwrap_or(pattern);
        if !plain.contains(['*', '?', '[', ']', '\\']) {
            let text = (!plain.is_empty()).then(|| Token::Text(plain.to_owned()));
            let deep = (plain.len() < pattern.len()).then_some(Token::Deep);
            return Ok(Glob(text.into_iter().chain(deep).collect()));
        }
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if deep && chars.peek() == Some(&'*') => {
                    chars.next();
                    chars.next_if_eq(&'/');
                    // moby/patternmatcher: only at the end does it stand for everything.
                    if chars.peek().is_none() { Token::Deep } else { Token::DeepSlash }
                }
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => Token::Text(chars.next().ok_or(BadPattern)?.into()),
                '[' => class(&mut chars)?,
                '^' if deep => Token::Start,
                c => Token::Text(c.into()),
            };
            match (tokens.last_mut(), token) {
                (Some(Token::Text(text)), Token::Text(more)) => text.push_str(&more),
                (_, token) => tokens.push(token),
            }
        }
        Ok(Glob(tokens))
    }

    /// True if the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let first = self.0.first();
        if matches!(first, Some(Token::Text(begin)) if !text.starts_with(begin.as_str()))
            || matches!(self.0.last(), Some(Token::Text(end)) if !text.ends_with(end.as_str()))
        {
            return false;
        }
        // Every place that the tokens so far can end at: linear in text and pattern, whatever they are.
        let (mut places, mut next) = (vec![0], Vec::new());
        for token in &self.0 {
            next.clear();
            step(token, text, &places, &mut next);
            std::mem::swap(&mut places, &mut next);
            if places.is_empty() {
                return false;
            }
        }
        places.last() == Some(&text.len())
    }

    /// The leading characters that every match begins with.
    pub fn literal_prefix(&self) -> &str {
        match self.0.first() {
            Some(Token::Text(text)) => text,
            _ => "",
        }
    }

    /// True if it stands for one text only.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|token| matches!(token, Token::Text(_)))
    }

    /// For `**/name`, which means a name wherever it is: the name.
    pub(crate) fn name_anywhere(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Token::DeepSlash, Token::Text(name)] if !name.contains('/') => Some(name),
            _ => None,
        }
    }

    /// Texts that are parts of every match.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|token| if let Token::Text(text) = token { Some(text.as_str()) } else { None })
    }
}

/// True for a text that may stand behind a leading `**` for it to mean "ends with": characters that mean themselves.
fn is_plain_end(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('/') && !text.contains(['*', '?', '[', ']', '\\'])
}

/// The places that a token can end at, from those it can begin at. Both are in order.
fn step(token: &Token, text: &str, places: &[usize], next: &mut Vec<usize>) {
    let Some(&first) = places.first() else { return };
    let bytes = text.as_bytes();
    match token {
        Token::Text(wanted) => {
            let fits = |place: &&usize| bytes[**place..].starts_with(wanted.as_bytes());
            next.extend(places.iter().filter(fits).map(|place| place + wanted.len()));
        }
        Token::Any | Token::Class { .. } => {
            for place in places {
                if let Some(c) = text[*place..].chars().next().filter(|c| token.takes(*c)) {
                    next.push(place + c.len_utf8());
                }
            }
        }
        Token::Star => {
            let mut covered = 0;
            for &place in places.iter() {
                if place >= covered {
                    let slash = bytes[place..].iter().position(|byte| *byte == b'/');
                    let end = slash.map_or(bytes.len(), |slash| place + slash);
                    next.extend((place..=end).filter(|at| text.is_char_boundary(*at)));
                    covered = end + 1;
                }
            }
        }
        Token::Deep => next.extend((first..=bytes.len()).filter(|at| text.is_char_boundary(*at))),
        Token::DeepSlash => {
            let mut left = places.iter().copied().peekable();
            for at in first..=bytes.len() {
                let here = left.next_if_eq(&at).is_some();
                if here || bytes[at - 1] == b'/' {
                    next.push(at);
                }
            }
        }
        Token::Start => next.extend((first == 0).then_some(0)),
    }
}

impl Token {
    /// True if it stands for a character.
    fn takes(&self, c: char) -> bool {
        c != '/'
            && match self {
                Token::Class { negated, ranges } => {
                    ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
                }
                _ => true,
            }
    }
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

/// True if a path has wildcards at all.
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

    #[test]
    fn it_is_the_simple_matcher_and_faster() {
        let mut random = simple::Random(1);
        let mut matched = 0;
        for _ in 0..30_000 {
            let (pattern, text) = (random.pattern(), random.path());
            for deep in [false, true] {
                let fast = Glob::new(&pattern, deep).map(|glob| glob.matches(&text));
                let slow = simple::Glob::new(&pattern, deep).map(|glob| glob.matches(&text));
                assert_eq!(fast, slow, "{pattern:?} on {text:?}");
                matched += usize::from(slow == Ok(true));
            }
        }
        assert!(matched > 800, "only {matched} matches say something");
    }
}
