//! RUN's commands as kiln's own rules look at them: split at `;`, `&&`, `||`, `|` and line ends, words without quotes.
//! No shell: what it cannot tell apart it leaves together.

use crate::line::{Document, Line};
use std::collections::HashMap;

/// A simple command and what stands behind it.
pub(super) struct Command {
    pub(super) words: Vec<String>,
    /// Its output goes on into another.
    pub(super) piped: bool,
}

/// The text that a shell gets of a RUN.
pub(super) fn script(line: &Line) -> String {
    let words: Vec<&str> = line.args.iter().map(|word| word.text.as_str()).collect();
    let bodies: String = line.heredocs.iter().map(|heredoc| format!("\n{}", heredoc.content)).collect();
    words.join(" ") + &bodies
}

/// The commands of a RUN, in order.
pub(super) fn commands(line: &Line) -> Vec<Command> {
    let (mut all, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), String::new(), None);
    let script = script(line);
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('\'' | '"', None) => quote = Some(c),
            ('\\', None) => word.extend(chars.next().filter(|next| *next != '\n')),
            (' ' | '\t', None) => take(&mut words, &mut word),
            (';' | '\n' | '&' | '|', None) => {
                let piped = c == '|' && chars.peek() != Some(&'|');
                while chars.next_if(|next| matches!(next, '&' | '|')).is_some() {}
                take(&mut words, &mut word);
                if !words.is_empty() {
                    all.push(Command { words: std::mem::take(&mut words), piped });
                }
            }
            (c, None) => word.push(c),
        }
    }
    take(&mut words, &mut word);
    if !words.is_empty() {
        all.push(Command { words, piped: false });
    }
    all
}

fn take(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// The lines of the stages whose layers the last stage has: what others leave behind is in no image.
pub(super) fn kept(file: &Document) -> Vec<&Line> {
    let mut stages: Vec<Vec<&Line>> = Vec::new();
    let (mut names, mut bases) = (HashMap::new(), Vec::new());
    for line in &file.lines {
        if line.name == "FROM" {
            let word = |at: usize| line.args.get(at).map(|word| word.text.to_lowercase());
            bases.push(word(0).and_then(|base| names.get(&base).copied()));
            names.extend(word(2).map(|name| (name, stages.len())));
            stages.push(Vec::new());
        }
        if let Some(stage) = stages.last_mut() {
            stage.push(line);
        }
    }
    let (mut at, mut kept) = (stages.len().checked_sub(1), Vec::new());
    while let Some(stage) = at {
        kept.push(stage);
        at = bases.get(stage).copied().flatten();
    }
    kept.into_iter().rev().flat_map(|stage| std::mem::take(&mut stages[stage])).collect()
}
