//! Shell patterns in substitutions: `*` and `?`, no brackets. They become regular expressions of the `regex` crate,
//! whose matching is linear in the value, whatever the pattern; its rules of preference are those of Go's, which
//! BuildKit uses.

use regex::Regex;

/// A longer pattern is an error: every star of it costs a state in every step of the match.
const LONGEST_PATTERN: usize = 4096;

/// Cuts what matches at the beginning (or the end) of a value.
pub(super) fn trim(word: &str, value: &str, from_end: bool, greedy: bool) -> Result<String, String> {
    let mut tokens = tokens(word)?;
    if !from_end {
        let found = compile(word, &tokens, greedy, true)?.find(value);
        return Ok(found.map_or(value, |found| &value[found.end()..]).to_owned());
    }
    // A search goes from the left: the shortest match at the end is found in the mirror.
    tokens.reverse();
    let mirrored: String = value.chars().rev().collect();
    let found = compile(word, &tokens, greedy, true)?.find(&mirrored);
    Ok(found.map_or(&mirrored[..], |found| &mirrored[found.end()..]).chars().rev().collect())
}

/// Replaces the first match, or all; the result may have so many bytes.
pub(super) fn replace(word: &str, value: &str, with: &str, all: bool, most: usize) -> Result<String, String> {
    let pattern = compile(word, &tokens(word)?, true, false)?;
    let (mut result, mut end) = (String::new(), 0);
    for captures in pattern.captures_iter(value).take(if all { usize::MAX } else { 1 }) {
        let Some(found) = captures.get(0) else { break };
        result.push_str(&value[end..found.start()]);
        end = found.end();
        if all {
            // BuildKit gives the text to Go's `ReplaceAllString`, which reads `$1` and `$$` in it.
            captures.expand(with, &mut result);
        } else {
            result.push_str(with);
        }
        if result.len() > most {
            return Err(super::too_long());
        }
    }
    result.push_str(&value[end..]);
    Ok(result)
}

#[derive(Clone, Copy)]
enum Token {
    Char(char),
    Any,
    Star,
}

fn tokens(word: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(c),
                Some(c) => return Err(invalid(word, &format!("invalid escape '\\{c}'"))),
                None => return Err(invalid(word, "invalid escape '\\'")),
            },
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn compile(word: &str, tokens: &[Token], greedy: bool, anchored: bool) -> Result<Regex, String> {
    if tokens.len() > LONGEST_PATTERN {
        return Err(invalid(word, &format!("it is longer than {LONGEST_PATTERN} characters")));
    }
    let mut pattern = String::from(if anchored { "^" } else { "" });
    for token in tokens {
        match token {
            // As in Go, neither wildcard crosses the end of a line.
            Token::Star => pattern.push_str(if greedy { ".*" } else { ".*?" }),
            Token::Any => pattern.push('.'),
            Token::Char(c) => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    Regex::new(&pattern).map_err(|error| invalid(word, &error.to_string()))
}

fn invalid(word: &str, cause: &str) -> String {
    format!("invalid pattern ({word}) in substitution: {cause}")
}
