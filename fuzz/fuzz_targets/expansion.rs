//! Any text as a word, with values that hold what patterns look for.
#![no_main]

use frontend::expand::{Expander, Mode};

libfuzzer_sys::fuzz_target!(|word: &str| {
    let lookup = |name: &str| match name {
        "a" => Some("archive.tar.gz".to_owned()),
        "b" => Some("a/b\n/a".repeat(50)),
        "e" => Some(String::new()),
        _ => None,
    };
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape, &lookup);
        let raw = expander.mode(Mode { raw_quotes: true, raw_escapes: true, keep_unset: true });
        for expander in [expander, raw] {
            for result in [expander.word(word), expander.heredoc(word)] {
                match result {
                    Ok(expanded) => assert!(expanded.text.len() <= word.len() * 4 + (2 << 20)),
                    Err(error) => assert!(error.part.end <= word.len()),
                }
            }
            let _ = expander.words(word);
        }
    }
});
