//! An error on the terminal: what, why, the way out.

use base::error::Error;
use base::text::{coloured, printable_lines};
use std::io::Write as _;

/// Prints an error to standard error.
pub fn print(error: &Error, color: bool) {
    let paint = |code: &str, text: &str| if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() };
    let mut text = String::new();
    if let Some(picture) = error.picture() {
        // Its lines hold what is of others: a Dockerfile, and what a step wrote.
        picture.trim_end().lines().for_each(|line| text.push_str(&format!("{}\n", coloured(line))));
    }
    if !error.picture().is_some_and(|picture| picture.contains(error.message())) {
        text.push_str(&format!("{} {}\n", paint("1;31", "error:"), printable_lines(error.message())));
    }
    for cause in error.causes() {
        text.push_str(&format!("  caused by: {}\n", printable_lines(cause)));
    }
    for hint in error.hints() {
        text.push_str(&format!("{} {}\n", paint("1;36", "help:"), printable_lines(hint)));
    }
    // There is nobody else to tell if this fails.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
