//! Shell patterns in substitutions: `*` and `?`, leftmost match, without blow-up on hostile patterns.

use std::collections::HashSet;

/// More stars in one pattern are an error.
const MOST_STARS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    Any,
    Star,
}

/// Cuts what matches at the beginning (or the end) of a value.
pub(super) fn trim(word: &str, value: &str, from_end: bool, greedy: bool) -> Result<String, String> {
    let mut tokens = tokens(word)?;
    let mut value: Vec<char> = value.chars().collect();
    if from_end {
        tokens.reverse();
        value.reverse();
    }
    let mut rest = match Matcher::new(&tokens, &value, greedy).ends_at(0) {
        Some(end) => value[end..].to_vec(),
        None => value,
    };
    if from_end {
        rest.reverse();
    }
    Ok(rest.into_iter().collect())
}

/// Replaces the first match, or all.
pub(super) fn replace(word: &str, value: &str, with: &str, all: bool) -> Result<String, String> {
    let tokens = tokens(word)?;
    let value: Vec<char> = value.chars().collect();
    let mut matcher = Matcher::new(&tokens, &value, true);
    let (mut result, mut at, mut last) = (String::new(), 0, None);
    while at <= value.len() {
        match matcher.ends_at(at) {
            // An empty match right behind a match does not count.
            Some(end) if !(end == at && last == Some(at)) => {
                if all {
                    result.push_str(&template(with))
                } else {
                    result.push_str(with)
                }
                last = Some(end);
                if !all {
                    result.extend(&value[end..]);
                    return Ok(result);
                }
                if end == at {
                    result.extend(value.get(at));
                    at += 1;
                } else {
                    at = end;
                }
            }
            _ => {
                result.extend(value.get(at));
                at += 1;
            }
        }
    }
    Ok(result)
}

/// `$name` in the replacement of all matches names a group of Go's regular expressions; there are none but the whole.
fn template(with: &str) -> String {
    let mut result = String::new();
    let mut rest = with;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else {
            let name = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
            if name == 0 {
                result.push('$');
            }
            rest = &rest[name..];
        }
    }
    result + rest
}

fn tokens(word: &str) -> Result<Vec<Token>, String> {
    let invalid = |cause: &str| format!("invalid pattern ({word}) in substitution: {cause}");
    let mut tokens = Vec::new();
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(c),
                Some(c) => return Err(invalid(&format!("invalid escape '\\{c}'"))),
                None => return Err(invalid("invalid escape '\\'")),
            },
            c => Token::Char(c),
        });
    }
    if tokens.iter().filter(|token| **token == Token::Star).count() > MOST_STARS {
        return Err(invalid("too many stars"));
    }
    Ok(tokens)
}

struct Matcher<'a> {
    tokens: &'a [Token],
    value: &'a [char],
    greedy: bool,
    /// Places from which no match is possible, so none is tried twice.
    failed: HashSet<(usize, usize)>,
}

impl<'a> Matcher<'a> {
    fn new(tokens: &'a [Token], value: &'a [char], greedy: bool) -> Self {
        Matcher { tokens, value, greedy, failed: HashSet::new() }
    }

    /// The end of the match that begins here.
    fn ends_at(&mut self, start: usize) -> Option<usize> {
        self.from(0, start)
    }

    fn from(&mut self, mut token: usize, mut at: usize) -> Option<usize> {
        loop {
            match self.tokens.get(token) {
                None => return Some(at),
                Some(Token::Star) => break,
                // As in Go, neither wildcard crosses the end of a line.
                Some(Token::Any) if self.value.get(at).is_some_and(|c| *c != '\n') => {}
                Some(Token::Char(c)) if self.value.get(at) == Some(c) => {}
                Some(_) => return None,
            }
            token += 1;
            at += 1;
        }
        if self.failed.contains(&(token, at)) {
            return None;
        }
        let line = self.value[at..].iter().take_while(|c| **c != '\n').count();
        let ends: Box<dyn Iterator<Item = usize>> =
            if self.greedy { Box::new((at..=at + line).rev()) } else { Box::new(at..=at + line) };
        for end in ends {
            if let Some(found) = self.from(token + 1, end) {
                return Some(found);
            }
        }
        self.failed.insert((token, at));
        None
    }
}
