//! `--output` and `--push`: where images go, as plain data.

use super::args;
use crate::attributes::Attributes;
use crate::error::{Error, Kind, Result};
use crate::export::Wanted;
use crate::registry::Settings;

/// All outputs, each with what it needs of the rest of the command line.
pub fn outputs(args: &args::Build, now: i64, settings: &Settings) -> Result<Vec<Wanted>> {
    let mut all: Vec<Attributes> = args.output.iter().map(|text| output(text)).collect::<Result<_>>()?;
    if args.push && !all.iter().any(|output| output.kind == "registry") {
        match all.iter_mut().find(|output| output.kind == "image") {
            Some(image) => image.set("push", "true"),
            None => all.push(Attributes::new("registry", [])),
        }
    }
    let wanted = |attributes| {
        let wanted = Wanted { attributes, names: args.tag.clone(), now, settings: settings.clone() };
        // Asked for early: a wrong attribute is no reason to build first.
        crate::export::exporter(&wanted).map(|_| wanted)
    };
    all.into_iter().map(wanted).collect()
}

/// `type=oci,dest=x`, a directory, or `-`.
fn output(text: &str) -> Result<Attributes> {
    let output = match text {
        "-" => Attributes::new("tar", [("dest", text)]),
        _ if text.contains('=') => Attributes::parse(text),
        _ => Attributes::new("local", [("dest", text)]),
    };
    if output.kind.is_empty() {
        return Err(Error::new(Kind::Usage, format!("--output {text}: there is no type="))
            .hint("for example `type=oci,dest=image.tar`"));
    }
    Ok(output)
}
