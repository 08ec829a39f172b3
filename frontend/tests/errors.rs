//! Every error has a golden file: `testdata/errors/NAME.Dockerfile` and, beside it, what is printed for it. NAME begins
//! with the error's code; `KILN_BLESS=1` writes the expected files anew.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Images, empty};
use frontend::config::ImageConfig;
use frontend::diagnostic::Diagnostic;
use frontend::plan::Request;
use frontend::platform::Platform;
use frontend::resolve::ResolveError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn image(name: &str, platform: &Platform) -> Result<ImageConfig, ResolveError> {
    if name.starts_with("missing") {
        let hint = Some("check the name".to_owned());
        return Err(ResolveError { message: format!("{name}: not found"), hint });
    }
    let mut config = empty(platform);
    config.config.on_build = match name {
        "onbuild-bad" => Some(vec!["COPY only-one".to_owned()]),
        "onbuild-from" => Some(vec!["FROM x".to_owned()]),
        _ => None,
    };
    Ok(config)
}

fn errors(name: &str, source: &[u8]) -> Vec<Diagnostic> {
    let target = match name {
        "target" => Some("biuld".to_owned()),
        "target-far" => Some("production".to_owned()),
        _ => None,
    };
    let request = Request { target, ..common::request() };
    let plan = frontend::read(source).and_then(|document| frontend::plan(&document, &request, &Images(image)));
    plan.err().unwrap_or_default()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/errors")
}

fn fixtures() -> Vec<(String, PathBuf)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: PathBuf| {
        let file = path.file_name()?.to_str()?.strip_suffix(".Dockerfile")?.to_owned();
        Some((file, path))
    };
    let mut all: Vec<_> = files.filter_map(name).collect();
    all.sort();
    all
}

#[test]
fn errors_look_as_their_golden_files() {
    let mut wrong = Vec::new();
    for (name, path) in fixtures() {
        let source = std::fs::read(&path).unwrap();
        let found = errors(&name, &source);
        assert!(!found.is_empty(), "{name} has no error");
        let pictures: Vec<String> = found.iter().map(|error| error.render("Dockerfile", &source, false)).collect();
        let text = pictures.join("\n\n") + "\n";
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{name}: control characters");
        let expected = path.with_extension("txt");
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{name}:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nKILN_BLESS=1 writes them anew", wrong.join("\n"));
}

/// The codes that the sources give to errors.
fn codes(folder: &Path, all: &mut BTreeSet<String>) {
    let given = regex::Regex::new(r#"(?:Diagnostic::|stage\.|\b)error\(\s*(?:line,\s*)?"([a-z-]+)""#).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes(&path, all);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        all.extend(given.captures_iter(text).map(|found| found[1].to_owned()));
    }
}

#[test]
fn every_error_has_a_golden_file() {
    let mut wanted = BTreeSet::new();
    codes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut wanted);
    assert!(wanted.len() > 30, "{wanted:?}");
    let seen: BTreeSet<String> = fixtures()
        .iter()
        .flat_map(|(name, path)| errors(name, &std::fs::read(path).unwrap()))
        .map(|error| error.code.to_owned())
        .collect();
    // `from`: no way leads there, but the table of instructions asks FROM to lower itself too.
    let missing: Vec<_> = wanted.difference(&seen).filter(|code| *code != "from").collect();
    assert!(missing.is_empty(), "no golden file for {missing:?}");
}
