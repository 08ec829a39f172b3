//! Any bytes as a Dockerfile: read, planned, drawn, printed and read again.
#![no_main]
mod common;

libfuzzer_sys::fuzz_target!(|source: &[u8]| {
    common::plan(source, Default::default());
    if let Ok(document) = frontend::text::parse(source) {
        let printed = document.to_string();
        let again = frontend::text::parse(printed.as_bytes()).expect("what is printed can be read");
        assert_eq!(printed, again.to_string());
    }
});
