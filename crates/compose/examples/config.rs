//! `compose config` from the command line, with the disk as the host: `config [OPTIONS] config [OPTIONS] [SERVICE...]`.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use compose::config::{Format, Print, Request, config};
use compose::host::{Host, Kind};
use compose::options::Options;
use compose::problem::Report;
use compose::project::Steps;
use frontend::diagnostic::Severity;
use std::io::{self, Read};

struct Disk;

impl Host for Disk {
    fn directory(&self) -> String {
        std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn environment(&self) -> Vec<(String, String)> {
        std::env::vars().collect()
    }

    fn kind(&self, path: &str) -> io::Result<Kind> {
        let kind = std::fs::metadata(path)?.file_type();
        Ok(match (kind.is_file(), kind.is_dir()) {
            (true, _) => Kind::File,
            (_, true) => Kind::Directory,
            _ => Kind::Other,
        })
    }

    fn read(&self, path: &str, limit: u64, given: bool) -> io::Result<Vec<u8>> {
        match self.kind(path)? {
            Kind::Directory => return Err(io::Error::other("is a directory")),
            Kind::Other if !given => return Err(io::Error::other("is not a regular file")),
            _ => {}
        }
        bounded(std::fs::File::open(path)?, limit)
    }

    fn input(&self, limit: u64) -> io::Result<Vec<u8>> {
        bounded(io::stdin().lock(), limit)
    }

    fn is_link(&self, path: &str) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(std::fs::canonicalize(path)?.to_string_lossy().into_owned())
    }
}

fn bounded(file: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}

fn main() {
    let mut options = Options::default();
    let (mut steps, mut request) = (Steps::default(), Request::default());
    let (mut format, mut quiet) = (String::new(), false);
    let mut args = std::env::args().skip(1);
    let mut verb = false;
    while let Some(arg) = args.next() {
        let (name, value) =
            arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value.to_owned())));
        let mut next = || value.clone().or_else(|| args.next()).unwrap_or_default();
        match name {
            "-f" | "--file" => options.files.push(next()),
            "-p" | "--project-name" => options.name = Some(next()),
            "--profile" => options.profiles.push(next()),
            "--env-file" => options.env_files.push(next()),
            "--project-directory" => options.directory = Some(next()),
            "--all-resources" => request.all_resources = true,
            "config" if !verb => verb = true,
            "--format" => format = next(),
            "-q" | "--quiet" => quiet = true,
            "--no-interpolate" => steps.passes.interpolation = false,
            "--no-normalize" => steps.passes.normalization = false,
            "--no-path-resolution" => steps.passes.paths = false,
            "--no-consistency" => steps.consistency = false,
            "--no-env-resolution" => steps.environment = false,
            "--services" => request.print = Print::Services,
            "--volumes" => request.print = Print::Volumes,
            "--networks" => request.print = Print::Networks,
            "--models" => request.print = Print::Models,
            "--profiles" => request.print = Print::Profiles,
            "--images" => request.print = Print::Images,
            "--variables" => request.print = Print::Variables,
            "--environment" => request.print = Print::Environment,
            "--hash" => request.print = Print::Hash(next()),
            _ if name.starts_with("--") => {
                eprintln!("unknown flag: {name}");
                std::process::exit(1);
            }
            _ => request.services.push(arg),
        }
    }
    let report = Report::default();
    let result = Format::named(&format).and_then(|format| {
        request.format = format;
        config(&Disk, &report, &options, steps, &request)
    });
    for warning in report.warnings() {
        eprintln!("{}", warning.render(&report.sources, Severity::Warning, false));
    }
    match result {
        Ok(text) if quiet => drop(text),
        Ok(text) => print!("{text}"),
        Err(error) => {
            for problem in error.problems {
                eprintln!("{}", problem.render(&report.sources, Severity::Error, false));
            }
            std::process::exit(1);
        }
    }
}
