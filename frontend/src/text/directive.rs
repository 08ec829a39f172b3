//! Directives: `# name=value` in the comments at the very top, each once; the first other line ends them.

use super::joined::File;
use crate::diagnostic::Diagnostic;
use crate::line::{Directives, Word};
use std::ops::Range;

/// Reads directives until something else comes.
pub(super) struct Reader {
    pub(super) directives: Directives,
    pub(super) escape: char,
    done: bool,
    /// The first line is one for the kernel (`#!`).
    script: bool,
    lines: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { directives: Directives::default(), escape: '\\', done: false, script: false, lines: 0 }
    }
}

impl Reader {
    /// Looks at a line of the file without its leading blanks: whether it is a directive.
    pub(super) fn read(&mut self, file: &File<'_>, line: Range<usize>) -> Result<bool, Diagnostic> {
        self.lines += 1;
        if self.done {
            return Ok(false);
        }
        let bytes = String::from_utf8_lossy(&file.bytes[line.clone()]).into_owned();
        // A first line for the kernel ends the directives for BuildKit's parser, which knows `escape`; what looks for
        // `syntax` and `check` goes on behind it.
        if self.lines == 1 && bytes.starts_with("#!") {
            self.script = true;
            return Ok(false);
        }
        let Some((name, value)) = cut(&bytes) else {
            self.done = true;
            return Ok(false);
        };
        let span = file.span(line);
        let place = match name.as_str() {
            "syntax" => &mut self.directives.syntax,
            "escape" => &mut self.directives.escape,
            "check" => &mut self.directives.check,
            _ => {
                self.done = true;
                return Ok(false);
            }
        };
        if self.script && (name == "escape" || place.is_some()) {
            return Ok(true);
        }
        if place.is_some() {
            let message = format!("only one {name} parser directive can be used");
            return Err(Diagnostic::error("directive-twice", message, Some(span)).help("take one of them away"));
        }
        *place = Some(Word { text: value.clone(), span: span.clone() });
        if name == "escape" {
            self.escape = match value.as_str() {
                "\\" => '\\',
                "`" => '`',
                _ => {
                    let message = format!("invalid escape token '{value}' does not match ` or \\");
                    let error = Diagnostic::error("escape-directive", message, Some(span));
                    return Err(error.help("write `# escape=\\` or a backtick"));
                }
            };
        }
        Ok(true)
    }
}

/// `#name = value`, the name in lower case.
fn cut(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim());
    let mut letters = name.chars();
    let named = letters.next().is_some_and(|c| c.is_ascii_alphabetic()) && letters.all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value.to_owned()))
}
