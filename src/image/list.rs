//! `kiln images`, `kiln inspect`, `kiln rmi`.

use super::Refs;
use super::refs::Ref;
use crate::clock::rfc3339;
use crate::error::{Error, Kind, Result};
use crate::store::Store;
use serde_json::{Value, json};
use std::io::Write;

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::new(Kind::Export, "cannot write the answer").because(cause)
}

fn found(store: &Store, name: &str) -> Result<Ref> {
    Refs::new(store).get(name)?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::Usage, format!("there is no image `{name}`")).hint("`kiln images` lists them")
}

/// A table, or JSON, or the ids alone.
pub fn images(store: &Store, quiet: bool, as_json: bool, out: &mut dyn Write) -> Result<()> {
    let all = Refs::new(store).list()?;
    if as_json {
        let rows: Vec<Value> = all.iter().map(|one| json!({"name": one.name, "created": rfc3339(one.at), "images": one.images.iter().map(|image| json!({"platform": image.platform, "id": image.config})).collect::<Vec<_>>()})).collect();
        return writeln!(out, "{}", Value::Array(rows)).map_err(failed);
    }
    if !quiet {
        writeln!(out, "{:<50} {:<14} {:<16} CREATED", "NAME", "IMAGE ID", "PLATFORM").map_err(failed)?;
    }
    for one in &all {
        for image in &one.images {
            let id: String = image.config.hex().chars().take(12).collect();
            let row = if quiet {
                format!("{}", image.config)
            } else {
                format!("{:<50} {id:<14} {:<16} {}", one.name, image.platform, rfc3339(one.at))
            };
            writeln!(out, "{row}").map_err(failed)?;
        }
    }
    Ok(())
}

/// Everything about an image, as JSON.
pub fn inspect(store: &Store, name: &str, out: &mut dyn Write) -> Result<()> {
    let entry = found(store, name)?;
    let refs = Refs::new(store);
    let mut images = Vec::new();
    for image in &entry.images {
        let config: Value = serde_json::from_slice(&refs.image(image)?.config).map_err(failed)?;
        images.push(json!({"id": image.config, "name": entry.name, "platform": image.platform, "layers": image.layers, "config": config}));
    }
    let text = serde_json::to_string_pretty(&images).map_err(failed)?;
    writeln!(out, "{text}").map_err(failed)
}

/// Takes names away. As with Docker an image with names in several repositories loses them by its id only if that is forced.
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
