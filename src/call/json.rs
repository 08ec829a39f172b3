//! Answers in JSON, with the fields of BuildKit's subrequests.

use super::{Call, Findings};
use base64::Engine as _;
use frontend::check::Rule;
use frontend::diagnostic::Diagnostic;
use frontend::outline::{Need, Outline, Target};
use serde_json::{Value, json};

fn printed(value: &Value) -> String {
    format!("{value:#}\n")
}

fn location((first, last): (u32, u32)) -> Value {
    json!({"ranges": [{"start": {"line": first}, "end": {"line": last}}]})
}

fn data(source: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(source)
}

pub(super) fn findings(findings: &Findings<'_>) -> String {
    let place = |finding: &Diagnostic| finding.span.as_ref().map_or(json!({}), |span| location(span.lines));
    let warning = |finding: &Diagnostic| {
        let rule = Rule::named(finding.code);
        let mut warning = json!({"ruleName": finding.code, "detail": finding.message, "location": place(finding)});
        if let Some(rule) = rule {
            warning["description"] = rule.summary.into();
        }
        if let Some(url) = rule.and_then(Rule::url) {
            warning["url"] = url.into();
        }
        if let Some(help) = &finding.help {
            warning["help"] = help.as_str().into();
        }
        warning
    };
    let mut answer = json!({
        "warnings": findings.warnings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{"filename": findings.file, "language": "Dockerfile", "data": data(findings.source)}],
    });
    if let Some(error) = findings.errors.first() {
        answer["buildError"] = json!({"message": error.message, "location": place(error)});
    }
    printed(&answer)
}

pub(super) fn outline(outline: &Outline, source: &[u8]) -> String {
    let mut answer = json!({});
    let mut put = |key: &str, value: Value| {
        if value != json!("") && value != json!([]) {
            answer[key] = value;
        }
    };
    put("name", outline.name.as_str().into());
    put("description", outline.description.as_str().into());
    let args = outline.args.iter().map(|arg| {
        let mut value = json!({"name": arg.name, "location": location(arg.lines)});
        for (key, text) in [("description", arg.description.as_str()), ("value", arg.value.as_deref().unwrap_or(""))] {
            if !text.is_empty() {
                value[key] = text.into();
            }
        }
        value
    });
    put("args", args.collect());
    let need = |need: &Need| {
        let mut value = json!({"name": need.name, "location": location(need.lines)});
        if need.required {
            value["required"] = true.into();
        }
        value
    };
    put("secrets", outline.secrets.iter().map(need).collect());
    put("ssh", outline.ssh.iter().map(need).collect());
    let cache = |need: &Need| json!({"ID": need.name.trim_start_matches('/'), "location": location(need.lines)});
    put("cache", outline.caches.iter().map(cache).collect());
    answer["sources"] = json!([data(source)]);
    printed(&answer)
}

pub(super) fn targets(targets: &[Target], source: &[u8]) -> String {
    let target = |target: &Target| {
        let mut value = json!({});
        let texts = [
            ("name", target.name.as_deref().unwrap_or("")),
            ("description", &target.description),
            ("base", &target.base),
            ("platform", &target.platform),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value[key] = text.into();
        }
        if target.default {
            value["default"] = true.into();
        }
        value["location"] = location(target.lines);
        value
    };
    printed(&json!({"targets": targets.iter().map(target).collect::<Vec<_>>(), "sources": [data(source)]}))
}

pub(super) fn describe(calls: &[(&str, Call, &str)]) -> String {
    let call = |(name, _, what): &(&str, Call, &str)| json!({"Name": name, "Description": what});
    printed(&calls.iter().map(call).collect())
}
