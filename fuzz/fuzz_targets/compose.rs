//! Any text as a compose file, and as all files that it names: loaded, printed as JSON and YAML, and read again.
#![no_main]

use compose::config::{Format, Request, config};
use compose::host::{Host, Kind};
use compose::options::Options;
use compose::problem::Report;
use compose::project::Steps;
use frontend::diagnostic::Severity;
use std::io;

/// A machine on which all files have the same text.
struct Same<'a>(&'a [u8]);

impl Host for Same<'_> {
    fn directory(&self) -> String {
        "/project".to_owned()
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![("HOME".to_owned(), "/home".to_owned()), ("COMPOSE_DISABLE_ENV_FILE".to_owned(), "1".to_owned())]
    }

    fn kind(&self, _: &str) -> io::Result<Kind> {
        Ok(Kind::File)
    }

    fn read(&self, _: &str, limit: u64, _: bool) -> io::Result<Vec<u8>> {
        if self.0.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(self.0.to_vec()) }
    }

    fn input(&self, limit: u64) -> io::Result<Vec<u8>> {
        self.read("-", limit, true)
    }

    fn is_link(&self, _: &str) -> bool {
        false
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(path.to_owned())
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let host = Same(bytes);
    let options = Options { name: Some("p".to_owned()), files: vec!["compose.yaml".to_owned()], ..Options::default() };
    for format in [Format::Json, Format::Yaml] {
        let report = Report::default();
        let request = Request { format, all_resources: true, ..Request::default() };
        match config(&host, &report, &options, Steps::default(), &request) {
            Err(error) => {
                for problem in error.problems {
                    problem.render(&report.sources, Severity::Error, false);
                }
            }
            Ok(printed) => {
                let printed = printed.replace("$$", "$");
                let file = report.sources.add("printed", &printed);
                compose::yaml::parse(&printed, file).expect("what is printed can be read");
            }
        }
        for warning in report.warnings() {
            warning.render(&report.sources, Severity::Warning, true);
        }
    }
    let mut steps = Steps::default();
    steps.passes.interpolation = false;
    let _ = config(&host, &Report::default(), &options, steps, &Request::default());
});
