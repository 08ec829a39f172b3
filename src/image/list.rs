//! `kiln images`, `kiln inspect`, `kiln rmi`.

use super::refs::{Ref, RefImage};
use super::{Refs, format};
use base::clock::{now, rfc3339};
use base::error::{Error, Kind, Result};
use serde_json::{Value, json};
use std::io::Write;
use store::Store;

fn failed(cause: impl std::fmt::Display + 'static) -> Error {
    Error::new(Kind::Export, "cannot write the answer").because(cause)
}

fn found(store: &Store, name: &str) -> Result<Ref> {
    Refs::new(store).get(name)?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::Usage, format!("there is no image `{name}`")).hint("`kiln images` lists them")
}

/// Prints the IDs alone, JSON, a table, or a template for each image.
pub fn images(store: &Store, quiet: bool, format: &str, out: &mut dyn Write) -> Result<()> {
    let all = Refs::new(store).list()?;
    if quiet {
        let ids = all.iter().flat_map(|one| &one.images).map(|image| image.config);
        return ids.into_iter().try_for_each(|id| writeln!(out, "{id}")).map_err(failed);
    }
    match format {
        "json" => {
            let rows: Vec<Value> = all.iter().map(as_json).collect();
            writeln!(out, "{}", Value::Array(rows)).map_err(failed)
        }
        "table" => table(&all, out),
        template => {
            let text = format::rows(template, &all, now())?;
            out.write_all(text.as_bytes()).map_err(failed)
        }
    }
}

fn as_json(one: &Ref) -> Value {
    let image = |image: &RefImage| json!({"platform": image.platform, "id": image.config});
    json!({
        "name": one.name,
        "created": rfc3339(one.at),
        "images": one.images.iter().map(image).collect::<Vec<_>>(),
    })
}

fn table(all: &[Ref], out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{:<50} {:<14} {:<16} CREATED", "NAME", "IMAGE ID", "PLATFORM").map_err(failed)?;
    for one in all {
        for image in &one.images {
            let id: String = image.config.hex().chars().take(12).collect();
            let time = rfc3339(one.at);
            writeln!(out, "{:<50} {id:<14} {:<16} {time}", one.name, image.platform).map_err(failed)?;
        }
    }
    Ok(())
}

/// Prints the images as a JSON list, or a template for each.
pub fn inspect(store: &Store, names: &[String], template: Option<&str>, out: &mut dyn Write) -> Result<()> {
    let refs = Refs::new(store);
    let mut images = Vec::new();
    for name in names {
        let entry = found(store, name)?;
        for image in &entry.images {
            let config: Value = serde_json::from_slice(&refs.image(image)?.config).map_err(failed)?;
            images.push(format::inspected(&entry, image, config));
        }
    }
    let text = match template {
        Some(template) => format::each(template, &images)?,
        None => serde_json::to_string_pretty(&images).map_err(failed)? + "\n",
    };
    out.write_all(text.as_bytes()).map_err(failed)
}

/// Removes names. As in Docker, an ID removes names in several repositories only with `--force`.
pub fn remove(store: &Store, words: &[String], force: bool, out: &mut dyn Write) -> Result<()> {
    let refs = Refs::new(store);
    for word in words {
        let found = refs.find(word)?;
        let Some(first) = found.first() else { return Err(unknown(word)) };
        if !force && found.iter().any(|entry| repository(&entry.name) != repository(&first.name)) {
            let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
            let text = format!("the image {word} has names in several repositories: {}", names.join(", "));
            return Err(Error::new(Kind::Usage, text).hint("name one of them, or add --force to take all away"));
        }
        for entry in &found {
            refs.remove(entry)?;
            writeln!(out, "{}", entry.name).map_err(failed)?;
        }
    }
    Ok(())
}

/// A name without its tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}
