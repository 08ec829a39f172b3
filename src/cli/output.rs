//! `--output` and `--push`: where images go, as plain data.

use super::args;
use crate::error::{Error, Kind, Result};
use crate::export::Wanted;
use crate::registry::Settings;

/// All outputs, each with what it needs of the rest of the command line.
pub fn outputs(args: &args::Build, now: i64, settings: &Settings) -> Result<Vec<Wanted>> {
    let mut all: Vec<Wanted> = args.output.iter().map(|text| output(text)).collect::<Result<_>>()?;
    if args.push && !all.iter().any(|wanted| wanted.kind == "registry") {
        match all.iter_mut().find(|wanted| wanted.kind == "image") {
            Some(image) => drop(image.attributes.insert("push".to_owned(), "true".to_owned())),
            None => all.push(Wanted { kind: "registry".to_owned(), ..Wanted::default() }),
        }
    }
    for wanted in &mut all {
        (wanted.names, wanted.now, wanted.settings) = (args.tag.clone(), now, settings.clone());
        // Asked for early: a wrong attribute is no reason to build first.
        crate::export::exporter(wanted)?;
    }
    Ok(all)
}

/// `type=oci,dest=x`, a directory, or `-`.
fn output(text: &str) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    if !text.contains('=') {
        wanted.kind = if text == "-" { "tar" } else { "local" }.to_owned();
        wanted.attributes.insert("dest".to_owned(), text.to_owned());
        return Ok(wanted);
    }
    for field in fields(text) {
        let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
        match key.trim() {
            "type" => wanted.kind = value.to_owned(),
            key => drop(wanted.attributes.insert(key.to_owned(), value.to_owned())),
        }
    }
    if wanted.kind.is_empty() {
        return Err(Error::new(Kind::Usage, format!("--output {text}: there is no type="))
            .hint("for example `type=oci,dest=image.tar`"));
    }
    Ok(wanted)
}

/// What stands between commas. Quotes hold a field together, as in `"name=a,b"`; behind `name=` a field that is no
/// `key=value` is another name.
pub(super) fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    let mut joined: Vec<String> = Vec::new();
    for field in fields {
        match joined.last_mut().filter(|last| last.starts_with("name=") && is_name(&field)) {
            Some(last) => *last = format!("{last},{field}"),
            None => joined.push(field),
        }
    }
    joined
}

/// Flags such as `push` may stand alone, so that a further name must look like one.
fn is_name(field: &str) -> bool {
    !field.contains('=') && field.contains(['/', ':', '.'])
}
