//! Names before stages: global ARGs, and the FROMs that use them.

use super::{Globals, Planner};
use crate::check::Fact;
use crate::diagnostic::Diagnostic;
use crate::expand::{Expanded, Expander};
use crate::instruction::Instruction;
use crate::instruction::from::From;
use crate::line::Line;
use crate::outline;
use crate::plan::Request;
use crate::platform::Platform;
use crate::stage::not_expanded;

impl Planner<'_> {
    /// Tells what every FROM's base is when nobody gives a `--build-arg`.
    pub(super) fn check_defaults(&mut self, globals: &Globals) {
        let mut values = self.globals.clone();
        let expand = |values: &[(String, String)], word: &str| {
            let lookup = |name: &str| values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            Expander::new(self.escape, &lookup).word(word).map(|expanded| expanded.text)
        };
        for (parsed, _) in globals {
            let Instruction::Arg(arg) = parsed else { continue };
            for (name, default) in &arg.args {
                if let Some(default) = default {
                    // A text that can't be expanded is told as an error soon.
                    let Ok(value) = expand(&values, default) else { return };
                    set(&mut values, name, value);
                }
            }
        }
        for definition in &self.stages {
            let Ok(expanded) = expand(&values, &definition.from.base) else { return };
            let fact = Fact::DefaultBase { written: &definition.from.base, expanded: &expanded };
            self.checker.tell(&fact, Some(&definition.line));
        }
    }

    pub(super) fn add_globals(&mut self, globals: &Globals) -> Result<(), Diagnostic> {
        for (parsed, line) in globals {
            let Instruction::Arg(arg) = parsed else { continue };
            for (name, default) in &arg.args {
                let value = match (self.request.build_args.get(name), default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(self.expand_global(default, line)?.text),
                    (None, None) => None,
                };
                self.keep_global(name, value.as_deref(), default.as_deref(), line);
                match value {
                    Some(value) => set(&mut self.globals, name, value),
                    None => self.declared.push(name.clone()),
                }
            }
        }
        Ok(())
    }

    fn keep_global(&mut self, name: &str, value: Option<&str>, default: Option<&str>, line: &Line) {
        let uses = default.and_then(|default| self.expand_global(default, line).ok()).map(|expanded| expanded.used);
        let arg = outline::Arg {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            description: outline::description(&line.comments, name),
            lines: line.span.lines,
        };
        self.global_args.insert(name.to_owned(), (arg, uses.unwrap_or_default()));
    }

    fn expand_global(&self, word: &str, line: &Line) -> Result<Expanded, Diagnostic> {
        let lookup = |name: &str| self.global(name);
        Expander::new(self.escape, &lookup).word(word).map_err(|error| not_expanded(line, word, &error))
    }

    /// Tells which names of a FROM have no value.
    fn check_names(&mut self, expanded: &Expanded, line: &Line) {
        let known: Vec<String> = self.globals.iter().map(|(name, _)| name).chain(&self.declared).cloned().collect();
        let mut undefined = expanded.undefined.clone();
        undefined.retain(|name| !known.contains(name));
        self.checker.tell(&Fact::FromNames { undefined: &undefined, known: &known }, Some(line));
    }

    /// Expands a FROM and finds the stage it stands on.
    pub(super) fn define(&mut self, index: usize) -> Result<(), Diagnostic> {
        let definition = &self.stages[index];
        let (from, line) = (definition.from.clone(), definition.line.clone());
        let span = line.span.clone();
        let base = self.expand_global(&from.base, &line)?;
        self.check_names(&base, &line);
        self.seen[index].globals.extend(base.used.iter().cloned());
        let base = base.text;
        if base.is_empty() {
            let message = format!("base name ({}) should not be blank", from.base);
            return Err(Diagnostic::error("blank-base", message, Some(span))
                .help("declare the variable with ARG before the first FROM"));
        }
        let platform = match &from.platform {
            None => None,
            Some(written) => {
                let expanded = self.expand_global(written, &line)?;
                self.check_names(&expanded, &line);
                self.check_platform(&from, written, &expanded, &line);
                self.seen[index].globals.extend(expanded.used.iter().cloned());
                let text = expanded.text;
                if text.is_empty() {
                    let message = format!("empty platform value from expression {written}");
                    return Err(Diagnostic::error("platform", message, Some(span)));
                }
                Some(Platform::parse(&text).map_err(|cause| {
                    Diagnostic::error(
                        "platform",
                        format!("failed to parse platform {text}: {cause}"),
                        Some(span.clone()),
                    )
                    .help("write `linux/amd64`, `linux/arm64`, ...")
                })?)
            }
        };
        let base_stage = self.by_name.get(&base.to_lowercase()).copied();
        if let Some(stage) = base_stage {
            self.users[stage] += 1;
        }
        let definition = &mut self.stages[index];
        (definition.base, definition.platform, definition.base_stage) = (base, platform, base_stage);
        if let Some(name) = from.name {
            self.by_name.insert(name, index);
        }
        Ok(())
    }

    fn check_platform(&mut self, from: &From, written: &str, expanded: &Expanded, line: &Line) {
        let mut names: Vec<String> = expanded.used.iter().chain(&expanded.undefined).cloned().collect();
        names.sort();
        names.dedup();
        let (stage, target) = (from.name.as_deref().unwrap_or(""), self.global("TARGETPLATFORM").unwrap_or_default());
        let (expanded, names) = (expanded.text.as_str(), names.as_slice());
        let fact = Fact::FromPlatform { stage, written, expanded, names, target: &target };
        self.checker.tell(&fact, Some(line));
    }
}

fn set(values: &mut Vec<(String, String)>, name: &str, value: String) {
    match values.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => values.push((name.to_owned(), value)),
    }
}

/// The names that have a value without being declared.
pub(super) fn defaults(request: &Request, last_stage: Option<&str>) -> Vec<(String, String)> {
    let (build, target) = (&request.build_platform, &request.platform);
    // Without --target the last stage is built.
    let stage = request.target.as_deref().filter(|name| !name.is_empty()).or(last_stage);
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let values = [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", String::new()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", String::new()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", stage.unwrap_or("default").to_owned()),
    ];
    let given = |name: &str| request.build_args.get(name).cloned();
    values.into_iter().map(|(name, value)| (name.to_owned(), given(name).unwrap_or(value))).collect()
}
