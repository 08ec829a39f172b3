//! Answers as text: tables, and findings with their source lines.

use super::{Call, Findings};
use base::text::printable;
use frontend::check::Rule;
use frontend::outline::{Need, Outline, Target};

/// A summary, then every finding with its source lines, errors last.
pub(super) fn findings(findings: &Findings<'_>) -> String {
    let mut text = match (findings.warnings.len(), findings.errors.is_empty()) {
        (0, true) => "Check complete, no warnings found.\n".to_owned(),
        (0, false) => "Check failed.\n".to_owned(),
        (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
        (count, _) => format!("Check complete, {count} warnings have been found!\n"),
    };
    for finding in findings.warnings.iter().chain(findings.errors) {
        let mut finding = finding.clone();
        if let Some(url) = Rule::named(finding.code).and_then(Rule::url) {
            finding = finding.note(url);
        }
        text.push_str(&format!("\n{}\n", finding.render(&printable(findings.file), findings.source, findings.color)));
    }
    text
}

pub(super) fn outline(outline: &Outline) -> String {
    let mut text = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)".to_owned() } else { printable(&outline.name) };
        text.push_str(&format!(
            "{:<width$}{name}\n",
            "TARGET:",
            width = if outline.description.is_empty() { 8 } else { 13 }
        ));
        if !outline.description.is_empty() {
            text.push_str(&format!("DESCRIPTION: {}\n", printable(&outline.description)));
        }
        text.push('\n');
    }
    let args = outline
        .args
        .iter()
        .map(|arg| vec![arg.name.clone(), arg.value.clone().unwrap_or_default(), arg.description.clone()]);
    text.push_str(&table(&["BUILD ARG", "VALUE", "DESCRIPTION"], args.collect()));
    let needs = |needs: &[Need]| {
        let row = |need: &Need| vec![need.name.clone(), if need.required { "true" } else { "" }.to_owned()];
        needs.iter().map(row).collect()
    };
    text.push_str(&table(&["SECRET", "REQUIRED"], needs(&outline.secrets)));
    text.push_str(&table(&["SSH", "REQUIRED"], needs(&outline.ssh)));
    let caches = outline.caches.iter().map(|cache| vec![cache.name.trim_start_matches('/').to_owned()]);
    text + &table(&["CACHE MOUNT"], caches.collect())
}

pub(super) fn targets(targets: &[Target]) -> String {
    let row = |target: &Target| {
        let name = target.name.clone().unwrap_or_default();
        let name = match (name.is_empty(), target.default) {
            (true, true) => "(default)".to_owned(),
            (false, true) => format!("{name} (default)"),
            _ => name,
        };
        vec![name, target.description.clone()]
    };
    table(&["TARGET", "DESCRIPTION"], targets.iter().map(row).collect())
}

pub(super) fn describe(calls: &[(&str, Call, &str)]) -> String {
    let row = |(name, _, what): &(&str, Call, &str)| vec![(*name).to_owned(), (*what).to_owned()];
    table(&["NAME", "DESCRIPTION"], calls.iter().map(row).collect())
}

/// Aligned columns with a header, and an empty line; empty without rows.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut all = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    all.extend(rows.into_iter().map(|row| row.iter().map(|cell| printable(cell)).collect()));
    let width =
        |at: usize| all.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("   ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n") + "\n\n"
}
