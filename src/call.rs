//! `kiln build --call`: what a Dockerfile is instead of what it builds. Results are text or JSON with BuildKit's fields
//! (`frontend/subrequests`); findings of checks also SARIF, and annotations of GitHub. Knows no files: it is given what was
//! found.
//!
//! | new | file | row |
//! |---|---|---|
//! | format of findings | `src/call/x.rs` | `CHECK_FORMATS` |

mod github;
mod json;
mod sarif;
mod text;

use base::error::{Error, Result};
use frontend::diagnostic::Diagnostic;
use frontend::outline::{Outline, Target};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// An image.
    Build,
    /// What checks find.
    Check,
    /// What the target takes.
    Outline,
    /// Which targets there are.
    Targets,
    /// What can be asked.
    Describe,
}

/// What can be asked, with its name and what it gives.
const CALLS: &[(&str, Call, &str)] = &[
    ("build", Call::Build, "an image"),
    ("check", Call::Check, "what is suspicious about the Dockerfile"),
    ("outline", Call::Outline, "arguments, secrets, ssh agents and cache mounts that the target takes"),
    ("targets", Call::Targets, "the stages that can be built"),
    ("subrequests.describe", Call::Describe, "what can be asked"),
];

/// Findings of checks.
pub struct Findings<'a> {
    /// The Dockerfile's name.
    pub file: &'a str,
    /// Its bytes.
    pub source: &'a [u8],
    /// In the order of the file.
    pub warnings: &'a [Diagnostic],
    /// Why it can't be built.
    pub errors: &'a [Diagnostic],
    /// Whether text may be coloured.
    pub color: bool,
}

type Format = fn(&Findings<'_>) -> String;

/// Formats of findings.
const CHECK_FORMATS: &[(&str, Format)] =
    &[("text", text::findings), ("json", json::findings), ("sarif", sarif::findings), ("github", github::findings)];

/// A call with the format of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is asked.
    pub call: Call,
    format: &'static str,
}

impl Default for Asked {
    fn default() -> Self {
        Asked { call: Call::Build, format: "text" }
    }
}

impl Asked {
    /// Reads `check`, `check,format=json`, `lint`.
    pub fn parse(text: &str) -> Result<Asked> {
        let mut fields = text.split(',');
        let name = fields.next().unwrap_or("");
        let name = name.strip_prefix("frontend.").unwrap_or(name);
        let name = if name == "lint" { "check" } else { name };
        let row = CALLS.iter().find(|(known, ..)| *known == name);
        let (_, call, _) = row.ok_or_else(|| Error::unknown("call", name, CALLS.iter().map(|(name, ..)| *name)))?;
        let mut asked = Asked { call: *call, format: "text" };
        for field in fields {
            let format = field.strip_prefix("format=");
            let format =
                format.ok_or_else(|| Error::unknown("key of --call", field, ["format=text", "format=json"]))?;
            let known: Vec<&'static str> = match call {
                Call::Check => CHECK_FORMATS.iter().map(|(name, _)| *name).collect(),
                _ => vec!["text", "json"],
            };
            let found = known.iter().find(|name| **name == format);
            asked.format = found.copied().ok_or_else(|| Error::unknown("format", format, known.iter().copied()))?;
        }
        Ok(asked)
    }

    /// Findings as they are printed.
    pub fn findings(&self, findings: &Findings<'_>) -> String {
        let row = CHECK_FORMATS.iter().find(|(name, _)| *name == self.format);
        row.map_or(text::findings as Format, |(_, format)| *format)(findings)
    }

    /// An outline as it is printed.
    pub fn outline(&self, outline: &Outline, source: &[u8]) -> String {
        if self.format == "json" { json::outline(outline, source) } else { text::outline(outline) }
    }

    /// Targets as they are printed.
    pub fn targets(&self, targets: &[Target], source: &[u8]) -> String {
        if self.format == "json" { json::targets(targets, source) } else { text::targets(targets) }
    }

    /// What can be asked, as it is printed.
    pub fn describe(&self) -> String {
        if self.format == "json" { json::describe(CALLS) } else { text::describe(CALLS) }
    }
}

/// The line to name for a finding, from 1.
fn line(finding: &Diagnostic) -> u32 {
    finding.span.as_ref().map_or(1, |span| span.lines.0.max(1))
}

#[cfg(test)]
mod tests;
