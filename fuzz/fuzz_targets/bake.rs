//! Any bytes as a bake definition, by each syntax: read, evaluated, printed or drawn.
#![no_main]

use bake::command::{Flags, Outcome, run};
use bake::host::{FileKind, Host};
use bake::problem::{Source, render};
use std::io;

struct Nothing;

impl Host for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn stat(&self, _: &str) -> io::Result<FileKind> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn size(&self, _: &str) -> io::Result<u64> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn read(&self, _: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(path.to_owned())
    }
    fn now(&self) -> i64 {
        0
    }
    fn random(&self, _: &mut [u8]) {}
    fn home(&self) -> String {
        "/".to_owned()
    }
}

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    for name in ["docker-bake.hcl", "docker-bake.json", "compose.yaml"] {
        let sources = [Source { name: name.to_owned(), text: text.to_vec() }];
        let flags = Flags { print: true, ..Flags::default() };
        let ran = run(&flags, &sources, &Nothing);
        for warning in ran.warnings.iter().take(20) {
            render(warning, true, &sources, false);
        }
        match ran.outcome {
            Ok(Outcome::Text(text)) => drop(serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON")),
            Ok(Outcome::Build(_)) => {}
            Err(problem) => {
                let picture = render(&problem, false, &sources, false);
                assert!(!picture.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            }
        }
    }
});
