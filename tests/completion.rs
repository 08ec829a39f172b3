//! Completion scripts and manual pages know every verb and every flag that `--help` knows.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

fn kiln(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kiln")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs of `kiln --help`.
fn verbs() -> Vec<String> {
    let help = kiln(&["--help"]);
    let rows = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<String> = rows
        .filter(|row| row.starts_with("  ") && !row.starts_with("   "))
        .filter_map(|row| row.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(verbs.len() > 15, "{verbs:?}");
    verbs
}

/// The long flags of a verb's `--help`.
fn flags(verb: &str) -> Vec<String> {
    let help = kiln(&[verb, "--help"]);
    let rows = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = rows.flat_map(|row| row.split([' ', ',', '=', '[', '<']).filter(|word| word.starts_with("--")));
    words.map(|word| word.trim_end_matches(['.', ']']).to_owned()).filter(|word| word.len() > 2).collect()
}

#[test]
fn the_scripts_know_every_verb_and_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let script = kiln(&["completion", shell]);
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: {verb}");
            for flag in flags(&verb) {
                let known = if shell == "fish" { format!("-l {}", &flag[2..]) } else { flag.clone() };
                assert!(script.contains(&known), "{shell}: {verb} {flag}");
            }
        }
    }
}

#[test]
fn a_script_is_one_that_its_shell_reads() {
    let script = kiln(&["completion", "bash"]);
    let read = Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(read.success());
}

#[test]
fn there_is_a_manual_page_for_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    kiln(&["man", dir.path().to_str().unwrap()]);
    for verb in verbs() {
        let page = std::fs::read_to_string(dir.path().join(format!("kiln-{verb}.1"))).unwrap();
        let page = page.replace("\\-", "-");
        for flag in flags(&verb) {
            assert!(page.contains(&flag), "{verb} {flag}");
        }
    }
    assert!(dir.path().join("kiln.1").is_file());
}
