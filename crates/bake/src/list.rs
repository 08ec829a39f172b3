//! `--list`: targets or variables, as a table or as JSON.

use crate::csv;
use crate::definition::{Config, Listed};
use serde_json::{Map, Value as Json};

/// The things that are listed, and the form of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    variables: bool,
    json: bool,
}

/// Reads `targets`, `variables` or `type=…,format=…`.
pub fn parse(text: &str) -> Result<Wanted, String> {
    let fields = csv::fields(text, ',')?;
    let (mut kind, mut format) = (String::new(), "table".to_owned());
    match fields.as_slice() {
        [only] if only == text && !text.starts_with("type=") => kind.clone_from(only),
        fields => {
            for field in fields {
                let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
                match key.to_lowercase().trim() {
                    "type" => kind = value.into(),
                    "format" if value.is_empty() => {}
                    "format" => format = value.into(),
                    key => return Err(format!("unexpected key '{key}' in '{field}'")),
                }
            }
        }
    }
    if !matches!(kind.as_str(), "targets" | "variables") {
        return Err(format!("invalid list type {kind:?}"));
    }
    if !matches!(format.as_str(), "table" | "json") {
        return Err(format!("invalid list format {format:?}"));
    }
    Ok(Wanted { variables: kind == "variables", json: format == "json" })
}

/// The list.
pub fn show(wanted: &Wanted, config: &Config, variables: &[Listed]) -> String {
    let rows = if wanted.variables { variable_rows(variables) } else { target_rows(config) };
    if wanted.json {
        let all = if rows.is_empty() && !wanted.variables {
            Json::Null
        } else {
            Json::Array(rows.into_iter().map(|row| row.json).collect())
        };
        return escape(&serde_json::to_string_pretty(&all).unwrap_or_default()) + "\n";
    }
    let header: &[&str] =
        if wanted.variables { &["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"] } else { &["TARGET", "DESCRIPTION"] };
    let mut lines = vec![header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.into_iter().map(|row| row.cells));
    table(&lines)
}

struct Row {
    cells: Vec<String>,
    json: Json,
}

fn variable_rows(variables: &[Listed]) -> Vec<Row> {
    let mut sorted: Vec<&Listed> = variables.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let row = |variable: &Listed| {
        let mut json = Map::new();
        json.insert("name".into(), Json::from(variable.name.as_str()));
        for (key, value) in [("description", &variable.description), ("type", &variable.kind)] {
            if !value.is_empty() {
                json.insert(key.into(), Json::from(value.as_str()));
            }
        }
        if let Some(value) = &variable.value {
            json.insert("value".into(), Json::from(value.as_str()));
        }
        let value = variable.value.clone().unwrap_or_else(|| "<null>".into());
        let cells = vec![variable.name.clone(), variable.kind.clone(), value, variable.description.clone()];
        Row { cells, json: Json::Object(json) }
    };
    sorted.into_iter().map(row).collect()
}

fn target_rows(config: &Config) -> Vec<Row> {
    let mut all: Vec<(String, String, bool)> = Vec::new();
    for target in &config.targets {
        all.push((target.name.clone(), target.description.clone(), false));
    }
    for group in &config.groups {
        let mut names = group.targets.clone();
        names.sort();
        let members = names.join(", ");
        let description = match (group.description.as_str(), members.as_str()) {
            (text, "") => text.to_owned(),
            ("", members) => members.to_owned(),
            (text, members) => format!("{text} ({members})"),
        };
        all.push((group.name.clone(), description, true));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |(name, description, group): (String, String, bool)| {
        let mut json = Map::new();
        json.insert("name".into(), Json::from(name.as_str()));
        if !description.is_empty() {
            json.insert("description".into(), Json::from(description.as_str()));
        }
        if group {
            json.insert("group".into(), Json::Bool(true));
        }
        Row { cells: vec![name, description], json: Json::Object(json) }
    };
    // A name with a leading underscore is private.
    all.into_iter().filter(|(name, ..)| !name.starts_with('_')).map(row).collect()
}

/// Columns aligned by tabs of 8, as Go's tabwriter does it.
fn table(lines: &[Vec<String>]) -> String {
    const TAB: usize = 8;
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let longest = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        (longest + 1).div_ceil(TAB) * TAB
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < columns {
                let missing = widths[column] - cell.chars().count();
                text.push_str(&"\t".repeat(missing.div_ceil(TAB)));
            }
        }
        text.push('\n');
    }
    text
}

/// Escapes in JSON what Go's encoder does.
pub fn escape(json: &str) -> String {
    let mut made = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => made.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => made.push(c),
        }
    }
    made
}
