//! Variables in texts: `$V`, `${V}`, `${V:-default}`, `${V-default}`, `${V:?error}`, `${V?error}`,
//! `${V:+other}`, `${V+other}` and `$$`. Defaults may hold variables themselves.
//!
//! A variable has the form of Compose's regular expression: braces reach to the last `}` of the
//! line and are then cut at the one that closes them. The size of a result and the depth of
//! defaults are limited.

mod scan;
pub mod variables;

use scan::{Token, closing_brace, tokens};

/// The largest result of one text, in bytes.
pub const LARGEST: usize = 1 << 20;

/// The deepest nesting of defaults.
const DEEPEST: usize = 50;

/// Why a text has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A `$` begins no valid form. Holds the text around it.
    Invalid(String),
    /// `${name:?reason}` of a variable that is not set.
    Required(String, String),
    /// The result is too large, or defaults are nested too deeply.
    Limit,
}

/// The variables that a text may use.
pub trait Variables {
    /// The value of a variable.
    fn get(&self, name: &str) -> Option<String>;

    /// Takes note of a variable that was used without being set.
    fn unset(&self, name: &str);
}

/// Replaces the variables of a text by their values.
pub fn substitute(text: &str, variables: &dyn Variables) -> Result<String, Failure> {
    if !text.contains('$') {
        return Ok(text.to_owned());
    }
    below(text, variables, 0)
}

fn below(text: &str, variables: &dyn Variables, depth: usize) -> Result<String, Failure> {
    if depth > DEEPEST {
        return Err(Failure::Limit);
    }
    let mut result = String::with_capacity(text.len());
    for token in tokens(text) {
        match token {
            Token::Literal(part) => result.push_str(part),
            Token::Escaped => result.push('$'),
            Token::Named(name) => result.push_str(&plain(name, variables)),
            Token::Braced(part) => result.push_str(&braced(part, variables, depth)?),
            Token::Invalid => return Err(Failure::Invalid(text.to_owned())),
        }
        if result.len() > LARGEST {
            return Err(Failure::Limit);
        }
    }
    Ok(result)
}

fn plain(name: &str, variables: &dyn Variables) -> String {
    variables.get(name).unwrap_or_else(|| {
        variables.unset(name);
        String::new()
    })
}

/// Evaluates a part that begins with `${` and ends with the last `}` of the line.
fn braced(part: &str, variables: &dyn Variables, depth: usize) -> Result<String, Failure> {
    let (first, rest) = match closing_brace(part) {
        Some(at) => part.split_at(at + 1),
        None => (part, ""),
    };
    // The cut part must still be a variable in braces: `${A:-${B}` is none after the cut.
    let inner = match tokens(first).next() {
        Some(Token::Braced(whole)) => &whole[2..whole.len() - 1],
        _ => return Err(Failure::Invalid(part.to_owned())),
    };
    let Some((operator, at)) = first_operator(part).and_then(|operator| Some((operator, inner.find(operator)?))) else {
        return Ok(plain(inner, variables) + &below(rest, variables, depth + 1)?);
    };
    let (name, argument) = (&inner[..at], &inner[at + operator.len()..]);
    let value = variables.get(name);
    let filled = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    let set = if operator.starts_with(':') { filled(&value) } else { value.is_some() };
    let argument = || below(argument, variables, depth + 1);
    let value = match (operator.trim_start_matches(':'), set) {
        ("-", false) | ("+", true) => argument()?,
        ("?", false) => return Err(Failure::Required(name.to_owned(), argument()?)),
        _ => value.unwrap_or_default(),
    };
    Ok(value + &below(rest, variables, depth + 1)?)
}

/// The first operator in a text.
fn first_operator(text: &str) -> Option<&'static str> {
    let found =
        [":?", ":-", ":+", "?", "-", "+"].into_iter().filter_map(|operator| Some((text.find(operator)?, operator)));
    found.min_by_key(|(at, _)| *at).map(|(_, operator)| operator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Some2(RefCell<Vec<String>>);

    impl Variables for Some2 {
        fn get(&self, name: &str) -> Option<String> {
            match name {
                "SET" => Some("s".to_owned()),
                "EMPTY" => Some(String::new()),
                "BIG" => Some("x".repeat(LARGEST / 2)),
                _ => None,
            }
        }

        fn unset(&self, name: &str) {
            self.0.borrow_mut().push(name.to_owned());
        }
    }

    #[test]
    fn all_forms_have_their_value() {
        for (text, value) in [
            ("$SET ${SET} $$SET $", "s s $SET $"),
            ("${NO:-d}${NO-d}${EMPTY:-d}${EMPTY-d}", "ddd"),
            ("${SET:+y}${SET+y}${EMPTY:+y}${EMPTY+y}${NO:+y}", "yyy"),
            ("${SET:?e}${EMPTY?e}", "s"),
            ("${NO:-${SET}-${NO:-x}} and ${SET}", "s-x and s"),
            ("${NO:-a:b?c}", "a:b?c"),
            ("$SETx ${SET}x $1", " sx $1"),
            ("${NO:-}", ""),
        ] {
            assert_eq!(substitute(text, &Some2::default()).as_deref(), Ok(value), "{text}");
        }
        let seen = Some2::default();
        assert_eq!(substitute("$A ${B} ${C:+x}", &seen).as_deref(), Ok("  "));
        assert_eq!(*seen.0.borrow(), ["A", "B"]);
    }

    #[test]
    fn bad_forms_are_refused() {
        for text in ["${", "${}", "${1x}", "a ${SET", "${A B}", "${SET:x}"] {
            assert_eq!(substitute(text, &Some2::default()), Err(Failure::Invalid(text.to_owned())), "{text}");
        }
        let required = |name: &str, reason: &str| Err(Failure::Required(name.to_owned(), reason.to_owned()));
        assert_eq!(substitute("${NO:?must $SET}", &Some2::default()), required("NO", "must s"));
        assert_eq!(substitute("${NO?}", &Some2::default()), required("NO", ""));
    }

    #[test]
    fn bombs_end_in_an_error() {
        assert_eq!(substitute("$BIG$BIG$BIG", &Some2::default()), Err(Failure::Limit));
        let nested = format!("{}x{}", "${NO:-".repeat(10_000), "}".repeat(10_000));
        assert_eq!(substitute(&nested, &Some2::default()), Err(Failure::Limit));
    }
}
