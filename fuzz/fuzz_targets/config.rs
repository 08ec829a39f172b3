//! Any JSON as the config of a base image, triggers and all.
#![no_main]
mod common;

libfuzzer_sys::fuzz_target!(|config: &[u8]| {
    if let Ok(config) = serde_json::from_slice(config) {
        let source = b"FROM base\nENV A=$PATH$X\nUSER 1\nWORKDIR x\nEXPOSE 80\nRUN true\nCMD a\n";
        common::plan(source, config);
    }
});
