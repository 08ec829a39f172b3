//! `kiln explain`: why steps of a build were not cached.

use super::args;
use crate::explain::builds::{self, Build, Differs, Step};
use crate::explain::names;
use base::clock::rfc3339;
use base::error::{Error, Kind, Result};
use base::text::printable_lines;
use frontend::remote::redacted;
use std::io::Write;
use std::path::Path;

/// The name of the build for the user.
pub fn shown(args: &args::Build) -> String {
    let context = redacted(&args.context);
    match &args.file {
        Some(file) => format!("{file} ({context})"),
        None => context,
    }
}

/// Prints the report of a build, or of one step of it.
pub fn explain(root: &Path, args: &args::Explain, out: &mut dyn Write) -> Result<()> {
    let mut build = builds::load(root, args.build).ok_or_else(|| {
        Error::new(Kind::Usage, "no build is remembered under this number")
            .hint("builds in which every step was cached leave no report, and 32 of the others are kept")
    })?;
    if let Some(wanted) = &args.step {
        build.steps.retain(|step| names(wanted, &step.name, stage(&step.name)));
        if build.steps.is_empty() {
            return Err(Error::new(Kind::Usage, format!("that build had no step `{wanted}`"))
                .hint("name a stage, a number as shown (`2/4`), or a part of the instruction"));
        }
    }
    let failed = |cause| Error::new(Kind::Export, "cannot print the answer").because(cause);
    if args.json {
        let text = serde_json::to_string_pretty(&build)
            .map_err(|cause| Error::new(Kind::Export, "cannot print the answer").because(cause))?;
        return writeln!(out, "{}", redacted(&text)).map_err(failed);
    }
    let mut text = Vec::new();
    print(&build, args.step.is_some(), &mut text).map_err(failed)?;
    // Names and values come from a Dockerfile and may contain escape sequences.
    let text = printable_lines(&redacted(&String::from_utf8_lossy(&text)));
    out.write_all(text.as_bytes()).map_err(failed)
}

/// Returns `build` for `[build 2/4] RUN make`.
fn stage(name: &str) -> &str {
    let number = name.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(number, _)| number);
    number.split_whitespace().rev().nth(1).unwrap_or("")
}

fn print(build: &Build, all: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let missed = build.steps.iter().filter(|step| step.miss.is_some()).count();
    let target = build.target.as_ref().map(|target| format!(", target {target}")).unwrap_or_default();
    let steps = build.steps.iter().filter(|step| step.miss.is_some() || step.state == "cached").count();
    writeln!(
        out,
        "{}{target}: {}, {:.1} s, {missed} of {steps} steps not cached",
        build.dockerfile,
        rfc3339(build.at),
        build.seconds
    )?;
    for step in &build.steps {
        match &step.miss {
            Some(_) => print_missed(step, all, out)?,
            None if step.state == "cached" => writeln!(out, "  cached  {}", step.name)?,
            None => {}
        }
    }
    Ok(())
}

fn print_missed(step: &Step, all: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let Some(miss) = &step.miss else { return Ok(()) };
    writeln!(out, "  {:<8}{}  {:.1}s", step.state, step.name, step.seconds)?;
    writeln!(out, "          {}", miss.text)?;
    for Differs { cause, name, old, new } in miss.differences.iter().filter(|_| all) {
        writeln!(out, "          {cause} {name}")?;
        for (sign, value) in [("-", old), ("+", new)] {
            if let Some(value) = value {
                writeln!(out, "            {sign} {value}")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_stage_of_a_name_is_what_stands_before_its_number() {
        assert_eq!(super::stage("[build 2/4] RUN make"), "build");
        assert_eq!(super::stage("[linux/arm64 build  2/14] RUN make"), "build");
        assert_eq!(super::stage("[2/4] RUN make"), "");
    }
}
