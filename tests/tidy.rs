//! The rules of the house that the compiler does not know: which module may use which, where `unsafe` stands, how
//! long a file is, and that every file says what it is.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

/// The modules of `src`, lowest first: a module uses only those before it, or itself. The compiler holds the order of
/// the crates.
const RUNGS: &[&[&str]] = &[
    &["source", "copy"],
    &["image"],
    &["explain"],
    &["gc", "doctor"],
    &["engine"],
    &["export", "progress", "call"],
    &["request"],
    &["pipeline"],
    &["cli"],
    &["main", "lib"],
];

/// The crates of the workspace.
const CRATES: &[&str] = &[
    "src",
    "frontend/src",
    "solver/src",
    "crates/base/src",
    "crates/sandbox/src",
    "crates/store/src",
    "crates/layer/src",
    "crates/registry/src",
    "crates/cache/src",
    "crates/bake/src",
    "crates/compose/src",
    "crates/template/src",
];

/// No file is longer.
const LONGEST: usize = 560;

fn sources(dir: &str) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn rung(module: &str) -> usize {
    RUNGS.iter().position(|rung| rung.contains(&module)).unwrap_or_else(|| panic!("`{module}` stands on no rung"))
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let mut wrong = Vec::new();
    for path in sources("src") {
        let (module, text) = (module_of(&path), std::fs::read_to_string(&path).unwrap());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for used in line
                .split("crate::")
                .skip(1)
                .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
            {
                let known = RUNGS.iter().flat_map(|rung| rung.iter()).any(|name| *name == used);
                if known && used != module && rung(used) >= rung(&module) {
                    wrong.push(format!("{}:{}: `{module}` uses `{used}`", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_inner_rooms_touch_no_host() {
    for room in ["frontend/src", "solver/src", "crates/compose/src", "crates/bake/src"] {
        for path in sources(room) {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in ["std::fs", "std::process", "std::net::Tcp", "std::net::Udp", "unsafe "] {
                assert!(!text.contains(word), "{} holds `{word}`", path.display());
            }
        }
    }
}

#[test]
fn only_the_sandbox_has_unsafe_code() {
    for path in CRATES.iter().copied().flat_map(sources) {
        if path.components().any(|part| part.as_os_str() == "sys" || part.as_os_str() == "sys.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let clean = code.all(|line| !line.contains("unsafe ") && !line.contains("unsafe{"));
        assert!(clean, "{} holds unsafe code", path.display());
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for path in CRATES.iter().copied().chain(["tests"]).flat_map(sources) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} has no header", path.display());
        assert!(text.lines().count() <= LONGEST, "{} has {} lines", path.display(), text.lines().count());
        assert!(
            !path.ends_with("mod.rs") || path.components().any(|part| part.as_os_str() == "tests"),
            "{}: `x.rs` stands beside `x/`",
            path.display()
        );
    }
}

#[test]
fn every_instruction_has_a_file_and_a_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfiles: String = sources_of_cases(root);
    for entry in std::fs::read_dir(root.join("frontend/src/instruction")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "flags") else { continue };
        assert!(dockerfiles.contains(&format!("{} ", name.to_uppercase())), "no case uses {}", name.to_uppercase());
    }
}

fn sources_of_cases(root: &Path) -> String {
    let mut all = String::new();
    for area in std::fs::read_dir(root.join("testdata/conformance/cases")).unwrap() {
        for case in std::fs::read_dir(area.unwrap().path()).unwrap() {
            let text = std::fs::read(case.unwrap().path().join("Dockerfile")).unwrap_or_default();
            all.push_str(&String::from_utf8_lossy(&text));
        }
    }
    all
}

#[test]
fn the_tests_that_the_security_page_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let (mut seen, mut open) = (0, 0);
    for row in page.lines().filter(|line| line.starts_with("| S") || line.starts_with("| P")) {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        if cell == "open" {
            open += 1;
            continue;
        }
        let (file, name) = cell.trim_start_matches('`').split_once('`').unwrap();
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("{row}: no file {file}"));
        let name = name.trim();
        assert!(text.contains(&format!("fn {name}(")), "{row}: no test {name}");
        seen += 1;
    }
    assert!(seen >= 28 && open <= 1, "{seen} rows, {open} open");
}
