//! Any text as the options of `RUN --mount`.
#![no_main]
mod common;

libfuzzer_sys::fuzz_target!(|options: &str| {
    if !options.contains(['\n', '\r']) {
        let source = format!("FROM scratch AS s\nFROM x\nARG A=/t\nENV B=1\nRUN --mount={options} true\n");
        common::plan(source.as_bytes(), Default::default());
    }
});
