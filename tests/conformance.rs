//! The recorded outcomes of BuildKit: every case must come out the same, all in one store: at first, again, and after an
//! edit was taken back; and the edited case as in an empty store. `run.py` is the judge.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::{KILN, Space, is_root, needs, registry, repository};
use std::process::Command;

/// Cases that an ordinary user can't pass: the set-up makes directories that only root reads, or the RUN makes devices.
const NEEDS_ROOT: &[&str] =
    &["copy-add/chmod-keeps-source-modes", "copy-add/dir-modes-source", "copy-add/empty-dir", "run/fifo-socket-device"];

#[test]
fn all_cases_come_out_as_in_buildkit() {
    needs!("docker-registry", "busybox");
    let (host, bases) = registry();
    let space = Space::new();
    let corpus = repository().join("testdata/conformance");
    let report = space.path("report.json");
    let output = Command::new("python3")
        .arg(corpus.join("run.py"))
        .args(["--builder", &format!("docker:{KILN}"), "--registry", host, "--jobs", "2", "--again", "--json"])
        .arg(&report)
        .arg("--bases")
        .arg(bases)
        .env("KILN_ROOT", space.path("store"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("FAIL "))
        .filter(|line| is_root() || !NEEDS_ROOT.iter().any(|case| line.starts_with(case)))
        .collect();
    let summary = text.lines().last().unwrap_or_default();
    println!("{summary}");
    assert!(failed.is_empty(), "{summary}\n{}{}", failed.join("\n"), String::from_utf8_lossy(&output.stderr));
    let passed: usize = summary.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    let enough = if is_root() { 331 } else { 280 };
    assert!(passed >= enough, "only {passed} cases ran: {summary}");
    space.assert_whole();
}
