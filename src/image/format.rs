//! Templates of `kiln images --format` and `kiln inspect --format`: docker's fields of an image,
//! and the values behind them. The crate `template` knows the language; this module knows the
//! fields.

use super::refs::{Ref, RefImage};
use base::clock::rfc3339;
use base::error::{Error, Kind, Result};
use serde_json::{Map, Value, json};
use template::{Missing, Template};

/// The fields of a row, with docker's headings.
const HEADINGS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("Digest", "DIGEST"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Platform", "PLATFORM"),
];

/// A line for each image. With `table ` before the template the columns are aligned below a
/// heading.
///
/// # Errors
/// The template is wrong, or names a field that a row does not have.
pub(super) fn rows(template: &str, refs: &[Ref], now: i64) -> Result<String> {
    let (aligned, text) = match template.strip_prefix("table ") {
        Some(text) => (true, text.trim_start()),
        None => (false, template),
    };
    // As in docker, the escapes `\t` and `\n` of a shell are replaced.
    let parsed = parse(&text.replace("\\t", "\t").replace("\\n", "\n"))?;
    let values = refs.iter().flat_map(|one| one.images.iter().map(move |image| row(one, image, now)));
    let mut lines = Vec::new();
    if aligned {
        lines.push(execute(&parsed, &headings())?);
    }
    for value in values {
        lines.push(execute(&parsed, &value)?);
    }
    Ok(if aligned { template::table::align(&lines) } else { lines.iter().map(|line| format!("{line}\n")).collect() })
}

/// A line for each value; the template `json` prints the value itself.
///
/// # Errors
/// The template is wrong, or takes a field of something that has none.
pub(super) fn each(template: &str, values: &[Value]) -> Result<String> {
    let parsed = parse(if template == "json" { "{{json .}}" } else { template })?;
    let line = |value| execute_with(&parsed, value, Missing::NoValue).map(|line| line + "\n");
    values.iter().map(line).collect()
}

/// The fields of an image: docker's, and kiln's own `id`, `name`, `platform`, `layers` and
/// `config`.
pub(super) fn inspected(entry: &Ref, image: &RefImage, config: Value) -> Value {
    let field = |name: &str| config.get(name).cloned().unwrap_or(Value::Null);
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let diff_ids = config.pointer("/rootfs/diff_ids").cloned().unwrap_or_else(|| json!([]));
    let (repository, tag) = short(&entry.name);
    json!({
        "Id": image.config,
        "RepoTags": [format!("{repository}:{tag}")],
        "RepoDigests": image.manifest.iter().map(|digest| format!("{repository}@{digest}")).collect::<Vec<_>>(),
        "Created": field("created"),
        "Author": text("author"),
        "Architecture": text("architecture"),
        "Variant": text("variant"),
        "Os": text("os"),
        "Config": field("config"),
        "RootFS": {"Type": "layers", "Layers": diff_ids},
        "id": image.config,
        "name": entry.name,
        "platform": image.platform,
        "layers": image.layers,
        "config": config,
    })
}

fn parse(text: &str) -> Result<Template> {
    Template::parse(text).map_err(|error| wrong(&error))
}

fn execute(template: &Template, value: &Value) -> Result<String> {
    execute_with(template, value, Missing::Error)
}

fn execute_with(template: &Template, value: &Value, missing: Missing) -> Result<String> {
    template.execute(value, missing).map_err(|error| wrong(&error))
}

fn wrong(error: &template::Error) -> Error {
    Error::new(Kind::Usage, format!("--format: {error}")).hint("a Go template: '{{.ID}}', '{{json .Config}}'")
}

fn headings() -> Value {
    let fields = HEADINGS.iter().map(|(name, heading)| ((*name).to_owned(), Value::from(*heading)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn row(one: &Ref, image: &RefImage, now: i64) -> Value {
    let (repository, tag) = short(&one.name);
    json!({
        "Repository": repository,
        "Tag": tag,
        "ID": image.config.hex().chars().take(12).collect::<String>(),
        "Digest": image.manifest.map_or_else(|| "<none>".to_owned(), |digest| digest.to_string()),
        "CreatedAt": rfc3339(one.at),
        "CreatedSince": since(now.saturating_sub(one.at)),
        "Platform": image.platform,
    })
}

/// Docker's short form of a name, and its tag.
fn short(name: &str) -> (&str, &str) {
    let name = name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "<none>"),
    }
}

/// A duration in docker's words (go-units, `HumanDuration`).
fn since(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let text = match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    };
    format!("{text} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_docker_writes_them() {
        let hour = 3600;
        let cases = [
            (0, "Less than a second ago"),
            (45, "45 seconds ago"),
            (90, "About a minute ago"),
            (1800, "30 minutes ago"),
            (hour, "About an hour ago"),
            (47 * hour, "47 hours ago"),
            (72 * hour, "3 days ago"),
            (24 * 15 * hour, "2 weeks ago"),
            (24 * 100 * hour, "3 months ago"),
            (24 * 800 * hour, "2 years ago"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(since(seconds), expected);
        }
    }

    #[test]
    fn names_are_shortened_as_docker_shortens_them() {
        assert_eq!(short("docker.io/library/app:1"), ("app", "1"));
        assert_eq!(short("docker.io/team/app:1"), ("team/app", "1"));
        assert_eq!(short("localhost:5000/app:latest"), ("localhost:5000/app", "latest"));
    }
}
