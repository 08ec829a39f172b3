//! SARIF 2.1.0 (OASIS, static analysis results interchange format), which code hosts show beside
//! the lines.

use super::{Findings, line};
use frontend::check::{RULES, Rule};
use frontend::diagnostic::{Diagnostic, Severity};
use serde_json::{Value, json};

pub(super) fn findings(findings: &Findings<'_>) -> String {
    let rules: Vec<Value> = RULES.iter().map(rule).collect();
    let all = findings.warnings.iter().chain(findings.errors);
    let results: Vec<Value> = all.map(|finding| result(findings.file, finding)).collect();
    let driver = json!({
        "name": "kiln",
        "version": env!("CARGO_PKG_VERSION"),
        "rules": rules,
    });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    });
    format!("{log:#}\n")
}

fn rule(rule: &Rule) -> Value {
    let mut value = json!({"id": rule.name, "shortDescription": {"text": rule.summary}});
    if let Some(url) = rule.url() {
        value["helpUri"] = url.into();
    }
    value
}

fn result(file: &str, finding: &Diagnostic) -> Value {
    let level = if finding.severity == Severity::Error { "error" } else { "warning" };
    let help = finding.help.as_ref().map_or(String::new(), |help| format!(". {help}"));
    let last = finding.span.as_ref().map_or(1, |span| span.lines.1.max(1));
    let region = json!({"startLine": line(finding), "endLine": last});
    let mut result = json!({
        "ruleId": finding.code,
        "level": level,
        "message": {"text": format!("{}{help}", finding.message)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": file}, "region": region}}],
    });
    if let Some(at) = RULES.iter().position(|rule| rule.name == finding.code) {
        result["ruleIndex"] = at.into();
    }
    result
}
