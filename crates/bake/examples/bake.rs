//! The command up to the building, on the files of a folder: `bake [-f FILE]… [--print | --list=…] [TARGET]…`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use bake::command::{Flags, Outcome, default_files, run};
use bake::host::{FileKind, Host};
use bake::problem::{Source, render};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;

struct Machine;

impl Host for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
    fn variables(&self) -> Vec<(String, String)> {
        std::env::vars().collect()
    }
    fn stat(&self, path: &str) -> io::Result<FileKind> {
        let kind = std::fs::metadata(path)?.file_type();
        Ok(match kind {
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_file() => FileKind::File,
            kind if kind.is_socket() => FileKind::Socket,
            _ => FileKind::Other,
        })
    }
    fn size(&self, path: &str) -> io::Result<u64> {
        std::fs::metadata(path).map(|metadata| metadata.len())
    }
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(std::fs::canonicalize(path)?.to_string_lossy().into_owned())
    }
    fn now(&self) -> i64 {
        0
    }
    fn random(&self, _: &mut [u8]) {}
    fn home(&self) -> String {
        self.variable("HOME").unwrap_or_default()
    }
}

fn main() -> ExitCode {
    let mut flags = Flags::default();
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name.to_owned(), Some(value.to_owned())),
            _ => (argument.clone(), None),
        };
        let switch = value.as_deref() != Some("false");
        match name.as_str() {
            "--print" => flags.print = switch,
            "--push" => flags.push = switch,
            "--load" => flags.load = switch,
            "--no-cache" => flags.no_cache = Some(switch),
            "--pull" => flags.pull = Some(switch),
            "--check" => flags.call = Some("check".into()),
            name if name.starts_with('-') => {
                let value = value.or_else(|| arguments.next()).unwrap_or_default();
                match name {
                    "-f" | "--file" => files.push(value),
                    "--set" => flags.set.push(value),
                    "--var" => flags.vars.push(value),
                    "--allow" => flags.allow.push(value),
                    "--policy" => flags.policy.push(value),
                    "--sbom" => flags.sbom = Some(value),
                    "--provenance" => flags.provenance = Some(value),
                    "--call" => flags.call = Some(value),
                    "--list" => flags.list = Some(value),
                    "--metadata-file" | "--progress" => {}
                    _ => {
                        eprintln!("unknown flag {name}");
                        return ExitCode::FAILURE;
                    }
                }
            }
            _ => flags.targets.push(argument),
        }
    }
    if files.is_empty() {
        let separator = std::env::var("BUILDX_BAKE_PATH_SEPARATOR").unwrap_or_else(|_| ":".into());
        let named = std::env::var("BUILDX_BAKE_FILE").unwrap_or_default();
        files = named.split(&separator).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    }
    let defaults = files.is_empty();
    if defaults {
        files = default_files().map(str::to_owned).to_vec();
    }
    let mut sources = Vec::new();
    for name in files {
        let mut text = Vec::new();
        let read = match name.as_str() {
            "-" => io::stdin().read_to_end(&mut text).map(|_| text),
            name => std::fs::read(name),
        };
        match read {
            Ok(text) => sources.push(Source { name, text }),
            Err(error) if defaults && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                eprintln!("open {name}: {}", error.to_string().to_lowercase());
                return ExitCode::FAILURE;
            }
        }
    }
    let run = run(&flags, &sources, &Machine);
    for warning in &run.warnings {
        eprintln!("{}", render(warning, true, &sources, false));
    }
    match run.outcome {
        Ok(Outcome::Text(text)) => print!("{text}"),
        Ok(Outcome::Build(plan)) => println!("{} targets", plan.selection.targets.len()),
        Err(problem) => {
            eprintln!("{}", render(&problem, false, &sources, false));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
