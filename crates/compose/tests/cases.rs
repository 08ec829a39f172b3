//! The cases of `testdata/compose`: a project in a text file, and the JSON that `config` prints of it or the words of
//! its error. A case has sections that begin with `-- NAME --`: `args` (the words behind `compose`), `env`, files by
//! their path, and `expected` or `error` (a line for each part of the message, the last is FILE:LINE:COLUMN). With
//! `KILN_RECORD=1` what is printed becomes the expectation of cases that have none.
#![allow(clippy::unwrap_used, missing_docs)]

use compose::config::{Format, Print, Request, config};
use compose::host::{Host, Kind};
use compose::options::Options;
use compose::problem::Report;
use compose::project::Steps;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

const HOME: &str = "/home/ada";
const PROJECT: &str = "/home/ada/shop";

/// A machine that has nothing but the files of a case.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, String>,
    variables: Vec<(String, String)>,
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file or directory")
}

impl Host for Memory {
    fn directory(&self) -> String {
        PROJECT.to_owned()
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.variables.clone()
    }

    fn kind(&self, path: &str) -> io::Result<Kind> {
        let below = format!("{path}/");
        match self.files.contains_key(path) {
            true => Ok(Kind::File),
            false if self.files.keys().any(|file| file.starts_with(&below)) => Ok(Kind::Directory),
            false => Err(missing()),
        }
    }

    fn read(&self, path: &str, _: u64, _: bool) -> io::Result<Vec<u8>> {
        self.files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(missing)
    }

    fn input(&self, _: u64) -> io::Result<Vec<u8>> {
        Err(missing())
    }

    fn is_link(&self, _: &str) -> bool {
        false
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(path.to_owned())
    }
}

#[derive(Default)]
struct Case {
    host: Memory,
    options: Options,
    steps: Steps,
    request: Request,
    expected: Option<String>,
    error: Option<String>,
}

fn read(text: &str) -> Case {
    let mut case = Case { request: Request { format: Format::Json, ..Request::default() }, ..Case::default() };
    case.host.variables.push(("HOME".to_owned(), HOME.to_owned()));
    for section in text.split("\n-- ").map(|section| section.trim_start_matches("-- ")) {
        let (name, body) = section.split_once(" --\n").unwrap_or_else(|| panic!("no section: {section}"));
        match name {
            "args" => arguments(&mut case, body),
            "env" => case.host.variables.extend(body.lines().map(|line| {
                let (name, value) = line.split_once('=').unwrap();
                (name.to_owned(), value.to_owned())
            })),
            "expected" => case.expected = Some(body.to_owned()),
            "error" => case.error = Some(body.to_owned()),
            path => drop(case.host.files.insert(format!("{PROJECT}/{path}"), format!("{body}\n"))),
        }
    }
    case
}

fn arguments(case: &mut Case, text: &str) {
    let mut words = text.split_whitespace().map(str::to_owned);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-f" => case.options.files.extend(words.next()),
            "-p" => case.options.name = words.next(),
            "--profile" => case.options.profiles.extend(words.next()),
            "--env-file" => case.options.env_files.extend(words.next()),
            "--no-interpolate" => case.steps.passes.interpolation = false,
            "--no-env-resolution" => case.steps.environment = false,
            "--services" => case.request.print = Print::Services,
            "--images" => case.request.print = Print::Images,
            "--yaml" => case.request.format = Format::Yaml,
            "config" => {}
            service => case.request.services.push(service.to_owned()),
        }
    }
}

fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let case = read(text.trim_end());
    let report = Report::default();
    let result = config(&case.host, &report, &case.options, case.steps, &case.request);
    match (result, &case.error, &case.expected) {
        (Ok(printed), None, Some(expected)) => same(&printed, expected),
        (Ok(printed), None, None) => record(path, &text, "expected", &printed),
        (Ok(printed), Some(_), _) => Err(format!("no error, but {printed}")),
        (Err(error), Some(words), _) => {
            let place = error.problems[0].place.and_then(|place| report.sources.position(place));
            let place = place.map_or(String::new(), |(file, line, column)| format!("{file}:{line}:{column}"));
            let told = format!("{error}\n{place}");
            words.lines().find(|word| !told.contains(word)).map_or(Ok(()), |word| Err(format!("{told}\nlacks {word}")))
        }
        (Err(error), None, _) => Err(error.to_string()),
    }
}

fn same(printed: &str, expected: &str) -> Result<(), String> {
    let tree = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    let equal = match (tree(printed), tree(expected)) {
        (Ok(printed), Ok(expected)) => printed == expected,
        _ => printed.trim_end() == expected.trim_end(),
    };
    if equal { Ok(()) } else { Err(format!("expected {expected}\ngot {printed}")) }
}

fn record(path: &Path, text: &str, section: &str, printed: &str) -> Result<(), String> {
    if std::env::var_os("KILN_RECORD").is_none() {
        return Err("the case has neither `expected` nor `error`".to_owned());
    }
    let text = format!("{}\n-- {section} --\n{}\n", text.trim_end(), printed.trim_end());
    std::fs::write(path, text).map_err(|error| error.to_string())
}

#[test]
fn projects_become_what_is_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/compose");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "{} cases", paths.len());
    let failed: Vec<String> =
        paths.iter().filter_map(|path| Some(format!("{}: {}", path.display(), check(path).err()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
