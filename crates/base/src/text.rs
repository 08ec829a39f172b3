//! Cleans foreign text (of a Dockerfile, a program, a server) before it is printed, so that it
//! can't control the terminal.

use std::iter::Peekable;
use std::str::Chars;

/// Removes escape sequences and control characters. A tab becomes four blanks.
pub fn printable(text: &str) -> String {
    clean(text, "    ", false)
}

/// The same for each line. Line ends stay.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Cleans a line, but keeps tabs and the sequences that set colours, and resets the colours at its
/// end.
pub fn coloured(text: &str) -> String {
    // Most lines of most programs.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return text.to_owned();
    }
    let mut clean = clean(text, "\t", true);
    if clean.contains('\u{1b}') && !clean.ends_with(RESET) {
        clean.push_str(RESET);
    }
    clean
}

const RESET: &str = "\u{1b}[0m";

fn clean(text: &str, tab: &str, colours: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        // ESC and the next character are the 7-bit form of one C1 control (ECMA-48, 5.3).
        let control = match c {
            '\u{1b}' => match chars.next() {
                Some(next @ '@'..='_') => char::from_u32(u32::from(next) + 0x40).unwrap_or(c),
                Some(' '..='/') => {
                    while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
                    chars.next();
                    continue;
                }
                _ => continue,
            },
            c => c,
        };
        match control {
            '\u{9b}' => {
                let colour = sequence(&mut chars).filter(|_| colours);
                clean.extend(colour.map(|parameters| format!("\u{1b}[{parameters}m")));
            }
            // Control strings, which set titles, links or the clipboard.
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => string(&mut chars),
            '\t' => clean.push_str(tab),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// Consumes the rest of a control sequence. Returns its parameters if it sets colours (SGR).
fn sequence(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut parameters = String::new();
    while let Some(c) = chars.next_if(|c| (' '..='?').contains(c)) {
        parameters.push(c);
    }
    // Any character other than a final letter ends the sequence too, and is text again.
    let last = chars.next_if(|c| ('@'..='~').contains(c));
    let plain = parameters.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'));
    (last == Some('m') && plain).then_some(parameters)
}

/// Consumes the rest of a control string, up to BEL or ST.
fn string(chars: &mut Peekable<Chars<'_>>) {
    let end = chars.find(|c| matches!(c, '\u{7}' | '\u{1b}' | '\u{9c}'));
    if end == Some('\u{1b}') {
        chars.next_if_eq(&'\\');
    }
}

/// Makes one line of at most `longest` characters. Line ends and all other control characters
/// become blanks.
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
        assert_eq!(printable("a\u{9b}2Jb\u{9d}0;x\u{9c}c\u{1b}Pq#0\u{1b}\\d\u{1b}(Be\u{1b}"), "abcde");
        assert_eq!(printable_lines("a\u{7}\nb\rc"), "a\nbc");
        assert_eq!(line(" a\nb\u{1b}[31mc\u{9b} ", 7), "a b [31");
    }

    #[test]
    fn colours_stay_and_end_with_their_line() {
        assert_eq!(coloured("a\tb"), "a\tb");
        assert_eq!(coloured("\u{1b}[1;31mred\u{1b}[0m"), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(coloured("\u{1b}[38:5:1mred"), "\u{1b}[38:5:1mred\u{1b}[0m");
        assert_eq!(coloured("\u{9b}31mred"), "\u{1b}[31mred\u{1b}[0m");
        for other in
            ["\u{1b}[2Jx", "\u{1b}[1;1Hx", "\u{1b}[>4;2mx", "\u{1b}[?25lx", "\u{1b}cx", "\u{1b}[3\u{1b}[Kx", "\u{8}\rx"]
        {
            assert_eq!(coloured(other), "x", "{other:?}");
        }
    }
}
