//! The definitions in `testdata/bake`, each with the JSON that `--print` gives for it, or words of its error.
//!
//! A case is a folder: the files of the working folder, `args` (one word a line), and perhaps `env`; beside them
//! `expected.json`, or `error` or `warnings` with words that the text must have, one a line. With BLESS set,
//! `expected.json` is written.
#![allow(clippy::unwrap_used, missing_docs)]

use bake::command::{Flags, Outcome, default_files, run};
use bake::host::{FileKind, Host};
use bake::problem::{Source, render};
use std::io;
use std::path::{Path, PathBuf};

struct Folder {
    path: PathBuf,
    env: Vec<(String, String)>,
}

impl Host for Folder {
    fn variable(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
    fn variables(&self) -> Vec<(String, String)> {
        self.env.clone()
    }
    fn stat(&self, path: &str) -> io::Result<FileKind> {
        let kind = std::fs::metadata(self.path.join(path))?;
        Ok(if kind.is_dir() { FileKind::Directory } else { FileKind::File })
    }
    fn size(&self, path: &str) -> io::Result<u64> {
        std::fs::metadata(self.path.join(path)).map(|metadata| metadata.len())
    }
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(path))
    }
    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(self.path.join(path).canonicalize()?.to_string_lossy().into_owned())
    }
    fn now(&self) -> i64 {
        0
    }
    fn random(&self, _: &mut [u8]) {}
    fn home(&self) -> String {
        "/home/user".to_owned()
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The output of the command, or its error; and its warnings.
fn outcome(folder: &Path) -> (Result<String, String>, String) {
    let env = lines(&folder.join("env"));
    let env = env.iter().map(|line| line.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let host = Folder { path: folder.to_owned(), env };
    let mut flags = Flags { print: true, ..Flags::default() };
    let mut words = lines(&folder.join("args")).into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--set" => flags.set.push(words.next().unwrap()),
            "--var" => flags.vars.push(words.next().unwrap()),
            _ => flags.targets.push(word),
        }
    }
    let read = |name: &&str| Some(Source { name: (*name).to_owned(), text: std::fs::read(folder.join(name)).ok()? });
    let sources: Vec<Source> = default_files().iter().filter_map(read).collect();
    let ran = run(&flags, &sources, &host);
    let warnings = ran.warnings.iter().map(|warning| render(warning, true, &sources, false)).collect();
    let text = ran.outcome.map_err(|problem| render(&problem, false, &sources, false));
    let text = text.map(|outcome| match outcome {
        Outcome::Text(text) => text,
        Outcome::Build(_) => panic!("nothing was printed"),
    });
    (text, warnings)
}

#[test]
fn each_definition_prints_what_is_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bake");
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (text, warnings) = outcome(&folder);
        let expected = folder.join("expected.json");
        seen += 1;
        for word in lines(&folder.join("warnings")) {
            if !warnings.contains(&word) {
                wrong.push(format!("{name}: no warning says {word:?}: {warnings}"));
            }
        }
        let words = lines(&folder.join("error"));
        match text {
            Err(error) => {
                let missing = words.iter().find(|word| !error.contains(word.as_str()));
                if words.is_empty() || missing.is_some() {
                    wrong.push(format!("{name}: {missing:?} is not in this error: {error}"));
                }
            }
            Ok(text) if !words.is_empty() => wrong.push(format!("{name}: no error, but {text}")),
            Ok(text) if std::env::var_os("BLESS").is_some() => std::fs::write(expected, text).unwrap(),
            Ok(text) => {
                if std::fs::read_to_string(&expected).unwrap_or_default() != text {
                    wrong.push(format!("{name}: got {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 15, "{seen} cases");
}
