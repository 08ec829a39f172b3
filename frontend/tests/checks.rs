//! Every rule has a golden file (`testdata/checks/RULE.Dockerfile` and what is printed for it) and a section in
//! `docs/checks.md`; what is named `quiet-` has nothing to be said about. `KILN_BLESS=1` writes the expected files anew.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Images, empty};
use frontend::check::{RULES, Rule};
use frontend::config::ImageConfig;
use frontend::diagnostic::Diagnostic;
use frontend::ignore::Ignore;
use frontend::plan::{Checks, Request};
use frontend::platform::Platform;
use frontend::resolve::ResolveError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn image(name: &str, platform: &Platform) -> Result<ImageConfig, ResolveError> {
    let mut config = empty(platform);
    if name.starts_with("only-arm64") {
        config.architecture = "arm64".to_owned();
    }
    Ok(config)
}

fn findings(source: &[u8], asked: bool, args: &[(&str, &str)]) -> (Vec<Diagnostic>, bool) {
    let ignore = Ignore::parse(b"*.log\n").ok();
    findings_in(source, asked, args, ignore, vec![".git".to_owned(), "src".to_owned(), "node_modules".to_owned()])
}

/// All stages, without a context.
fn lint_as_recorded(source: &[u8]) -> (Vec<Diagnostic>, bool) {
    findings_in(source, true, &[], None, Vec::new())
}

fn findings_in(
    source: &[u8],
    asked: bool,
    args: &[(&str, &str)],
    ignore: Option<Ignore>,
    top: Vec<String>,
) -> (Vec<Diagnostic>, bool) {
    let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Request { build_args, checks: Checks { asked, ignore, top }, ..common::request() };
    let (found, plan) = frontend::check(&frontend::read(source).unwrap(), &request, &Images(image));
    (found, plan.is_ok())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/checks")
}

#[test]
fn every_rule_has_a_golden_file() {
    let mut wrong = Vec::new();
    for rule in RULES {
        let path = folder().join(rule.name).with_extension("Dockerfile");
        let source = std::fs::read(&path).unwrap_or_else(|_| panic!("{} has no fixture", rule.name));
        let (found, _) = findings(&source, true, &[]);
        let own: Vec<_> = found.iter().filter(|found| found.code == rule.name).collect();
        assert!(!own.is_empty(), "{} finds nothing in its fixture: {found:?}", rule.name);
        let pictures: Vec<String> = own.iter().map(|found| found.render("Dockerfile", &source, false)).collect();
        let (text, expected) = (pictures.join("\n\n") + "\n", path.with_extension("txt"));
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", rule.name));
        }
    }
    assert!(wrong.is_empty(), "{}\nKILN_BLESS=1 writes them anew", wrong.join("\n"));
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("quiet-") {
            let (found, _) = findings(&std::fs::read(&path).unwrap(), true, &[]);
            let own: Vec<_> = found
                .iter()
                .filter(|found| {
                    Rule::named(found.code).is_some_and(|rule| rule.own) && found.code != "MissingIgnoreFile"
                })
                .collect();
            assert!(own.is_empty(), "{}: {own:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 5);
}

#[test]
fn an_ordinary_build_hears_buildkits_rules_alone() {
    for rule in RULES.iter().filter(|rule| rule.own) {
        let source = std::fs::read(folder().join(rule.name).with_extension("Dockerfile")).unwrap();
        assert!(findings(&source, false, &[]).0.iter().all(|found| found.code != rule.name), "{}", rule.name);
    }
}

#[test]
fn rules_are_skipped_and_made_errors_by_the_directive_and_the_build_arg() {
    let source = |check: &str| format!("{check}FROM busybox AS Build\nWORKDIR app\n").into_bytes();
    let codes = |(found, _): (Vec<Diagnostic>, bool)| found.iter().map(|found| found.code).collect::<Vec<_>>();
    let all = ["StageNameCasing", "WorkdirRelativePath"];
    assert_eq!(codes(findings(&source(""), false, &[])), all);
    assert_eq!(codes(findings(&source("# check=skip=StageNameCasing\n"), false, &[])), all[1..]);
    assert_eq!(codes(findings(&source("# check=skip=all\n"), false, &[])), [""; 0]);
    let (found, well) = findings(&source("# check=error=true\n"), false, &[]);
    assert_eq!((found.len(), well), (2, false));
    assert!(findings(&source("# check=skip=all;error=true\n"), false, &[]).1);
    // The argument stands in the directive's place.
    let given = [("BUILDKIT_DOCKERFILE_CHECK", "skip=WorkdirRelativePath")];
    assert_eq!(codes(findings(&source("# check=skip=all\n"), false, &given)), all[..1]);
    let comment = b"FROM busybox\n# check=skip=WorkdirRelativePath\nWORKDIR app\nCMD a\n";
    assert_eq!(codes(findings(comment, false, &[])), ["JSONArgsRecommended"]);
}

#[test]
fn the_table_and_its_documentation_agree() {
    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len(), "names are unique");
    assert_eq!(RULES.iter().filter(|rule| !rule.own).count(), 22);
    let docs = std::fs::read_to_string(folder().join("../../../docs/checks.md")).unwrap();
    let documented: BTreeSet<&str> = docs.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(names, documented);
    assert!(RULES.iter().all(|rule| docs.contains(rule.summary)), "summaries stand in docs/checks.md");
    let url = Rule::named("JSONArgsRecommended").and_then(Rule::url);
    assert_eq!(url.as_deref(), Some("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"));
    let url = Rule::named("UndefinedArgInFrom").and_then(Rule::url);
    assert_eq!(url.as_deref(), Some("https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"));
}

/// `testdata/vectors/lint.json`: four hundred Dockerfiles and what BuildKit's linter (frontend 1.26) says of them.
#[test]
fn buildkits_rules_find_what_buildkit_finds() {
    let path = folder().join("../../../testdata/vectors/lint.json");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(rows.len(), 400);
    let mut wrong = Vec::new();
    for row in &rows {
        let source = row["dockerfile"].as_str().unwrap();
        let (found, well) = lint_as_recorded(source.as_bytes());
        assert!(well, "{source}");
        let mut found: Vec<_> = found
            .iter()
            .filter(|found| Rule::named(found.code).is_some_and(|rule| !rule.own))
            .map(|found| serde_json::json!([found.code, found.message, found.span.as_ref().unwrap().lines.0]))
            .collect();
        found.sort_by_key(ToString::to_string);
        found.dedup();
        if row["warnings"] != serde_json::json!(found) {
            wrong.push(format!("{source}\nwanted {}\nfound  {}", row["warnings"], serde_json::json!(found)));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n\n"));
}
