//! The pieces of a text with variables, as compose's regular expression finds them.

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Text without a variable.
    Literal(&'a str),
    /// `$$`.
    Escaped,
    /// `$NAME`: the name.
    Named(&'a str),
    /// `${...}`, up to the last `}` of the line if there is an operator.
    Braced(&'a str),
    /// `${` that begins nothing.
    Invalid,
}

/// The pieces of a text in order.
pub(super) fn tokens(text: &str) -> Tokens<'_> {
    Tokens { text }
}

pub(super) struct Tokens<'a> {
    text: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if self.text.is_empty() {
            return None;
        }
        let (token, len) = token(self.text);
        self.text = &self.text[len..];
        Some(token)
    }
}

fn token(text: &str) -> (Token<'_>, usize) {
    let Some(rest) = text.strip_prefix('$') else {
        let len = text.find('$').unwrap_or(text.len());
        return (Token::Literal(&text[..len]), len);
    };
    match rest.bytes().next() {
        Some(b'$') => (Token::Escaped, 2),
        Some(b'{') => match braced(text) {
            Some(len) => (Token::Braced(&text[..len]), len),
            None => (Token::Invalid, 2),
        },
        _ => match name(rest) {
            0 => (Token::Literal("$"), 1),
            len => (Token::Named(&rest[..len]), len + 1),
        },
    }
}

/// The length of the name that a text begins with.
pub(super) fn name(text: &str) -> usize {
    let valid =
        |(at, byte): &(usize, u8)| *byte == b'_' || byte.is_ascii_alphabetic() || (*at > 0 && byte.is_ascii_digit());
    text.bytes().enumerate().take_while(valid).count()
}

/// The length of a variable in braces at the beginning of a text.
fn braced(text: &str) -> Option<usize> {
    let inner = &text[2..];
    let name = name(inner);
    if name == 0 {
        return None;
    }
    let rest = &inner[name..];
    if rest.starts_with('}') {
        return Some(2 + name + 1);
    }
    let operator = rest.strip_prefix(':').unwrap_or(rest);
    if !operator.starts_with(['-', '+', '?']) {
        return None;
    }
    let line = rest.split('\n').next().unwrap_or_default();
    line.rfind('}').map(|end| 2 + name + end + 1)
}

/// The brace that closes the first one.
pub(super) fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut open, mut at) = (0i64, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            b'{' => {
                open += 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}
