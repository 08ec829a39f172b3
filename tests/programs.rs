//! Random programs with outcomes recorded from BuildKit, before and after an edit, all in one store: every image must
//! come out the same. `testdata/programs/run.py` is the judge.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::{KILN, Space, by_root, needs, registry, repository};
use std::process::Command;

#[test]
fn all_programs_come_out_as_in_buildkit() {
    needs!("docker-registry", "busybox");
    if !by_root("unpack archives of other owners") {
        return;
    }
    let (host, bases) = registry();
    let space = Space::new();
    let output = Command::new("python3")
        .arg(repository().join("testdata/programs/run.py"))
        .args(["--builder", &format!("docker:{KILN}"), "--registry", host, "--jobs", "2", "--bases"])
        .arg(bases)
        .env("KILN_ROOT", space.path("store"))
        .env("KILN_GC", "off")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let passed: usize = text.lines().last().and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0);
    assert!(passed >= 420, "only {passed} programs ran");
    space.assert_whole();
}
