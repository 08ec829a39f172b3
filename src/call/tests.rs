//! Every format of every answer, from constructed findings.

use super::*;
use frontend::line::Span;

fn check(call: &str) -> String {
    let span = Span { bytes: 13..21, lines: (2, 2) };
    let warnings = [
        Diagnostic::warning("StageNameCasing", "Stage name 'B, c' should be lowercase", Some(span.clone())),
        Diagnostic::warning("AlwaysLatest", "100%\nsure", Some(span)).help("pin it"),
    ];
    let findings = Findings {
        file: "a:b/Dockerfile",
        source: b"FROM scratch\nFROM x AS B\n",
        warnings: &warnings,
        errors: &[],
        color: false,
    };
    Asked::parse(call).expect("a call").findings(&findings)
}

#[test]
fn findings_are_printed_in_every_format() {
    let text = check("check");
    assert!(text.starts_with("Check complete, 2 warnings have been found!"), "{text}");
    assert!(text.contains("docs.docker.com/go/dockerfile/rule/stage-name-casing/") && text.contains("Dockerfile:2:1"));

    let json: serde_json::Value = serde_json::from_str(&check("check,format=json")).expect("JSON");
    assert_eq!(json["warnings"][0]["ruleName"], "StageNameCasing");
    assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(json["sources"][0]["data"], "RlJPTSBzY3JhdGNoCkZST00geCBBUyBCCg==");

    let sarif: serde_json::Value = serde_json::from_str(&check("lint,format=sarif")).expect("JSON");
    let result = &sarif["runs"][0]["results"][1];
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!((&result["ruleId"], &result["level"]), (&"AlwaysLatest".into(), &"warning".into()));
    let rules = &sarif["runs"][0]["tool"]["driver"]["rules"];
    assert_eq!(rules[result["ruleIndex"].as_u64().expect("an index") as usize]["id"], "AlwaysLatest");

    let github = check("check,format=github");
    assert!(
        github.contains("::warning file=a%3Ab/Dockerfile,line=2,endLine=2,title=AlwaysLatest::100%25%0Asure%0Apin it")
    );
}

#[test]
fn nothing_in_a_dockerfile_drives_the_terminal() {
    let evil = "a\u{1b}]0;title\u{7}\u{1b}[2Jb\u{9b}31m".to_owned();
    let need = frontend::outline::Need { name: evil.clone(), required: true, lines: (1, 1) };
    let arg = frontend::outline::Arg {
        name: evil.clone(),
        value: Some(evil.clone()),
        description: evil.clone(),
        lines: (1, 1),
    };
    let (args, needs) = (vec![arg], vec![need]);
    let outline = Outline {
        name: evil.clone(),
        description: evil.clone(),
        args,
        secrets: needs.clone(),
        ssh: needs.clone(),
        caches: needs,
    };
    let target = Target {
        name: Some(evil.clone()),
        description: evil.clone(),
        default: true,
        base: evil.clone(),
        platform: evil.clone(),
        lines: (1, 1),
    };
    let source = format!("FROM {evil}\n");
    let findings = Findings {
        file: &evil,
        source: source.as_bytes(),
        warnings: &[Diagnostic::warning("AlwaysLatest", &evil, Some(Span { bytes: 5..6, lines: (1, 1) })).help(&evil)],
        errors: &[],
        color: false,
    };
    let asked = |call: &str| Asked::parse(call).expect("a call");
    for text in [
        asked("outline").outline(&outline, b""),
        asked("targets").targets(&[target], b""),
        asked("check").findings(&findings),
    ] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains('a') && text.contains('b'), "{text:?}");
    }
    assert!(asked("outline").outline(&outline, b"").contains("TARGET:      ab\nDESCRIPTION: ab\n"));
}

#[test]
fn what_is_not_known_is_suggested() {
    for (text, hint) in [("chek", "check"), ("check,format=jsn", "json"), ("targets,format=sarif", "text, json")] {
        let error = Asked::parse(text).expect_err("no call");
        assert!(error.hints().iter().any(|got| got.contains(hint)), "{text}: {error:?}");
    }
}
