//! The here-documents that a line begins: `<<NAME` as a word of RUN, COPY or ADD, also behind ONBUILD.

use crate::expand::{Expander, Mode};
use crate::line::Heredoc;

/// The here-documents of a joined line, in order, without their bodies.
pub(super) fn begun(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") || !may_hold(line) {
        return Vec::new();
    }
    let raw = Expander::new('\\', &|_| None).mode(Mode { raw_quotes: true, raw_escapes: true, keep_unset: true });
    raw.words(line).unwrap_or_default().iter().filter_map(|word| parse(word)).collect()
}

fn may_hold(line: &str) -> bool {
    let mut words = line.split_whitespace().map(str::to_ascii_uppercase);
    let holds = |word: Option<String>| matches!(word.as_deref(), Some("RUN" | "COPY" | "ADD"));
    match words.next() {
        Some(first) if first == "ONBUILD" => holds(words.next()),
        first => holds(first),
    }
}

/// A word of the form `3<<-NAME`.
pub(crate) fn parse(word: &str) -> Option<Heredoc> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let words = |raw_quotes| {
        let mode = Mode { raw_quotes, raw_escapes: false, keep_unset: true };
        Expander::new('\\', &|_| None).mode(mode).words(rest).ok()
    };
    let (name, raw) = match (words(false)?.as_slice(), words(true)?.as_slice()) {
        ([name], [raw]) => (name.clone(), raw.clone()),
        _ => return None,
    };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == quotes(&raw);
    Some(Heredoc { name, content: String::new(), expand, chomp, fd: word[..digits].parse().unwrap_or(0) })
}
