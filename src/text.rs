//! Text of others (a Dockerfile's, a program's, a server's) on its way to people: nothing in it drives a terminal.

/// Without escape sequences and control characters; a tab is four blanks.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // CSI up to its final letter; OSC up to BEL or ST; else the one character that follows.
                match chars.next() {
                    Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                    Some(']') => {
                        let end = chars.find(|c| matches!(c, '\u{7}' | '\u{1b}'));
                        if end == Some('\u{1b}') {
                            chars.next_if_eq(&'\\');
                        }
                    }
                    _ => {}
                }
            }
            '\t' => clean.push_str("    "),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// One line of at most `longest` characters: line ends and all other control characters are blanks.
pub fn line(text: &str, longest: usize) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\u{1b}]0;title\u{7}c\u{7}\td\u{9b}"), "abc    d");
        let link = "see \u{1b}]8;;https://x\u{1b}\\this\u{1b}]8;;\u{1b}\\, a\\b";
        assert_eq!(printable(link), "see this, a\\b");
        assert_eq!(line(" a\nb\u{1b}[31mc\u{9b} ", 7), "a b [31");
    }
}
