//! An ignore file and a path behind its last line: both ways of asking end, and agree where no `!` is.
#![no_main]

use frontend::ignore::{Ignore, Matched};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (file, path) = text.rsplit_once('\n').unwrap_or((text, "a/b"));
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    if let Ok(ignore) = Ignore::parse(file.as_bytes()) {
        let mut matched = Matched::default();
        let mut verdict = false;
        for end in 1..=parts.len() {
            (verdict, matched) = ignore.enter(&parts[..end].join("/"), &matched);
        }
        let plain = !ignore.patterns().any(|pattern| pattern.starts_with('!'));
        if plain && !parts.is_empty() {
            assert_eq!(verdict, ignore.ignored(&parts.join("/")));
        }
        let _ = ignore.may_hold_exception(path);
    }
});
