//! `kiln build --call`: answers questions about a Dockerfile instead of building it. Answers are
//! text or JSON with BuildKit's fields (`frontend/subrequests`); the findings of checks are also
//! available as SARIF and as GitHub annotations. This module reads no files: the caller passes the
//! findings.
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

/// The kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Build an image.
    Build,
    /// Report the findings of checks.
    Check,
    /// List the arguments and mounts of the target.
    Outline,
    /// List the targets.
    Targets,
    /// List the calls.
    Describe,
}

/// Every call with its name and its description.
const CALLS: &[(&str, Call, &str)] = &[
    ("build", Call::Build, "an image"),
    ("check", Call::Check, "what is suspicious about the Dockerfile"),
    ("outline", Call::Outline, "arguments, secrets, ssh agents and cache mounts that the target takes"),
    ("targets", Call::Targets, "the stages that can be built"),
    ("subrequests.describe", Call::Describe, "what can be asked"),
];

/// The findings of checks.
pub struct Findings<'a> {
    /// The Dockerfile's name.
    pub file: &'a str,
    /// The content of the Dockerfile.
    pub source: &'a [u8],
    /// The warnings in the order of the file.
    pub warnings: &'a [Diagnostic],
    /// The errors that prevent a build.
    pub errors: &'a [Diagnostic],
    /// True if text may be coloured.
    pub color: bool,
}

type Format = fn(&Findings<'_>) -> String;

/// The formats of findings.
const CHECK_FORMATS: &[(&str, Format)] =
    &[("text", text::findings), ("json", json::findings), ("sarif", sarif::findings), ("github", github::findings)];

/// A call with the format of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The call.
    pub call: Call,
    format: &'static str,
}

impl Default for Asked {
    fn default() -> Self {
        Asked { call: Call::Build, format: "text" }
    }
}

impl Asked {
    /// Parses `check`, `check,format=json`, `lint`.
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

    /// Formats findings.
    pub fn findings(&self, findings: &Findings<'_>) -> String {
        let row = CHECK_FORMATS.iter().find(|(name, _)| *name == self.format);
        row.map_or(text::findings as Format, |(_, format)| *format)(findings)
    }

    /// Formats an outline.
    pub fn outline(&self, outline: &Outline, source: &[u8]) -> String {
        if self.format == "json" { json::outline(outline, source) } else { text::outline(outline) }
    }

    /// Formats targets.
    pub fn targets(&self, targets: &[Target], source: &[u8]) -> String {
        if self.format == "json" { json::targets(targets, source) } else { text::targets(targets) }
    }

    /// Formats the list of calls.
    pub fn describe(&self) -> String {
        if self.format == "json" { json::describe(CALLS) } else { text::describe(CALLS) }
    }
}

/// The line number to report for a finding, from 1.
fn line(finding: &Diagnostic) -> u32 {
    finding.span.as_ref().map_or(1, |span| span.lines.0.max(1))
}

#[cfg(test)]
mod tests;
