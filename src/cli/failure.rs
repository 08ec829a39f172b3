//! Prints an error on the terminal: the message, the causes, the hints.

use base::error::Error;
use base::text::{coloured, printable_lines};
use std::io::Write as _;

/// Prints an error to standard error.
pub fn print(error: &Error, color: bool) {
    let paint = |code: &str, text: &str| if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() };
    let mut text = String::new();
    if let Some(picture) = error.picture() {
        // The lines contain foreign text: a Dockerfile, and the output of a step.
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
    // If printing fails, there is no other way to report the error.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
