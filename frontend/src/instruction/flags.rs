//! The flags of an instruction: each known, given once unless it is a list, with a value of its kind.

use crate::diagnostic::Diagnostic;
use crate::line::{Flag, Line, Span};
use base::words::closest;

/// The value that a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `--x=text`.
    Text,
    /// `--x`, `--x=true`, `--x=false`.
    Switch,
    /// `--x=text`, as often as wished.
    List,
}

/// The flags of one line, checked.
pub(super) struct Flags<'a> {
    line: &'a Line,
}

/// Checks a line's flags against those its instruction has.
pub(super) fn check<'a>(line: &'a Line, known: &[(&str, Kind)]) -> Result<Flags<'a>, Diagnostic> {
    for (at, flag) in line.flags.iter().enumerate() {
        let wrong = |message: String| Err(Diagnostic::error("flag", message, Some(flag.span.clone())));
        let Some((_, kind)) = known.iter().find(|(name, _)| *name == flag.name) else {
            return Err(unknown(line, flag, known));
        };
        if *kind != Kind::List && line.flags[..at].iter().any(|other| other.name == flag.name) {
            return wrong(format!("duplicate flag specified: --{}", flag.name));
        }
        match (kind, flag.value.as_deref()) {
            (Kind::Switch, None | Some("true" | "false")) | (Kind::Text | Kind::List, Some(_)) => {}
            (Kind::Switch, Some(value)) => {
                return wrong(format!("expecting boolean value for flag --{}, not: {value}", flag.name));
            }
            (Kind::Text | Kind::List, None) => return wrong(format!("missing a value on flag: --{}", flag.name)),
        }
    }
    Ok(Flags { line })
}

fn unknown(line: &Line, flag: &Flag, known: &[(&str, Kind)]) -> Diagnostic {
    let message = format!("unknown flag: --{} of {}", flag.name, line.name);
    let error = Diagnostic::error("unknown-flag", message, Some(flag.span.clone()));
    let names: Vec<String> = known.iter().map(|(name, _)| format!("--{name}")).collect();
    match closest(&flag.name, known.iter().map(|(name, _)| *name)) {
        Some(near) => {
            let value = flag.value.as_ref().map_or(String::new(), |value| format!("={value}"));
            error.label(format!("did you mean --{near}?")).fix(flag.span.clone(), format!("--{near}{value}"))
        }
        None if names.is_empty() => error.help(format!("{} has no flags", line.name)),
        None => error.help(format!("{} has {}", line.name, names.join(", "))),
    }
}

/// For instructions without flags.
pub(super) fn none(line: &Line) -> Result<(), Diagnostic> {
    check(line, &[]).map(drop)
}

impl<'a> Flags<'a> {
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &'a Flag> {
        self.line.flags.iter().filter(move |flag| flag.name == name)
    }

    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        self.all(name).next().and_then(|flag| flag.value.clone()).filter(|value| !value.is_empty())
    }

    /// The place of a flag that is there.
    pub(super) fn span(&self, name: &'static str) -> Option<Span> {
        self.all(name).next().map(|flag| flag.span.clone())
    }

    pub(super) fn texts(&self, name: &'static str) -> Vec<String> {
        self.all(name).filter_map(|flag| flag.value.clone()).collect()
    }

    /// None if the flag was not given.
    pub(super) fn switch(&self, name: &'static str) -> Option<bool> {
        self.all(name).next().map(|flag| flag.value.as_deref() != Some("false"))
    }
}
