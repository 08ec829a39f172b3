//! Build checks: what is no error but not what was meant. The planner tells facts as it meets them; every rule looks at
//! each and reports what it finds. Knows no files: what a rule needs of the context comes with the request.
//!
//! THE TABLE has one row a rule; each has a file of its own. The first 22 are BuildKit's, with its words and conditions
//! (`frontend/dockerfile/linter`); the others are kiln's own and speak only where checks are asked for.

mod always_latest;
mod apt_lists_kept;
mod consistent_instruction_casing;
mod copy_before_install;
mod copy_ignored_file;
mod deleted_later;
mod duplicate_stage_name;
mod expose_invalid_format;
mod expose_proto_casing;
mod from_as_casing;
mod from_platform_flag_const_disallowed;
mod invalid_base_image_platform;
mod invalid_default_arg_in_from;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod missing_ignore_file;
mod multiple_instructions_disallowed;
mod no_empty_continuation;
mod options;
mod pipe_without_pipefail;
mod redundant_target_platform;
mod reserved_stage_name;
mod secret_in_value;
mod secrets_used_in_arg_or_env;
mod shell_words;
mod stage_name_casing;
mod undefined_arg_in_from;
mod undefined_var;
mod workdir_relative_path;

use crate::diagnostic::Diagnostic;
use crate::ignore::Ignore;
use crate::line::{Document, Line};
use crate::platform::Platform;
pub use options::Options;
pub use secrets_used_in_arg_or_env::looks_secret;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// As it is written in `# check=skip=`.
    pub name: &'static str,
    /// The demand of the rule, in one sentence.
    pub summary: &'static str,
    /// Off unless it is named by `experimental=`.
    pub experimental: bool,
    /// kiln's own: BuildKit has no such rule.
    pub own: bool,
    find: fn(&Fact<'_>, &mut Report<'_>),
}

/// THE TABLE.
pub static RULES: &[Rule] = &[
    stage_name_casing::RULE,
    from_as_casing::RULE,
    no_empty_continuation::RULE,
    consistent_instruction_casing::RULE,
    duplicate_stage_name::RULE,
    reserved_stage_name::RULE,
    json_args_recommended::RULE,
    maintainer_deprecated::RULE,
    undefined_arg_in_from::RULE,
    workdir_relative_path::RULE,
    undefined_var::RULE,
    multiple_instructions_disallowed::RULE,
    legacy_key_value_format::RULE,
    invalid_base_image_platform::RULE,
    redundant_target_platform::RULE,
    secrets_used_in_arg_or_env::RULE,
    invalid_default_arg_in_from::RULE,
    from_platform_flag_const_disallowed::RULE,
    copy_ignored_file::RULE,
    invalid_definition_description::RULE,
    expose_proto_casing::RULE,
    expose_invalid_format::RULE,
    always_latest::RULE,
    apt_lists_kept::RULE,
    copy_before_install::RULE,
    deleted_later::RULE,
    missing_ignore_file::RULE,
    pipe_without_pipefail::RULE,
    secret_in_value::RULE,
];

impl Rule {
    /// The rule of a name.
    pub fn named(name: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// Docker's page about it; BuildKit gives none for one of them.
    pub fn url(&self) -> Option<String> {
        if self.own || self.name == "InvalidBaseImagePlatform" {
            return None;
        }
        let mut path = String::new();
        let mut before = 'A';
        for (at, c) in self.name.char_indices() {
            let next = self.name[at..].chars().nth(1);
            let begins = c.is_ascii_uppercase()
                && (before.is_ascii_lowercase() || next.is_some_and(|next| next.is_ascii_lowercase()));
            if at > 0 && begins {
                path.push('-');
            }
            path.push(c.to_ascii_lowercase());
            before = c;
        }
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{path}/"))
    }
}

/// A fact that the planner meets.
pub(crate) enum Fact<'a> {
    /// The whole file before anything is expanded.
    File(&'a Document),
    /// A FROM uses names that have no value; with the names that have one.
    FromNames { undefined: &'a [String], known: &'a [String] },
    /// The base of a FROM without any `--build-arg`.
    DefaultBase { written: &'a str, expanded: &'a str },
    /// A FROM's platform.
    FromPlatform { stage: &'a str, written: &'a str, expanded: &'a str, names: &'a [String], target: &'a str },
    /// The platform that was asked for and the one that came.
    Resolved { name: &'a str, wanted: &'a Platform, came: &'a Platform },
    /// A name without a value, and what may have been meant.
    Undefined { name: &'a str, near: Option<&'a str> },
    /// A WORKDIR; `based` if an earlier one of this file set where it counts from.
    Workdir { path: &'a str, based: bool },
    /// CMD or ENTRYPOINT as a text, with no SHELL set.
    ShellForm { instruction: &'a str },
    /// An instruction that a later one of the same stage makes void.
    Repeated { instruction: &'a str },
    /// A pair of ENV or LABEL.
    Pair { instruction: &'a str, name: &'a str, legacy: bool },
    /// A name of ARG.
    Declared { name: &'a str },
    /// A port of EXPOSE.
    Port { text: &'a str },
    /// A path of the context, and the rules of its ignore file.
    Copied { instruction: &'a str, path: &'a str, ignore: &'a Ignore },
    /// The names at the top of a context that has no ignore file.
    NoIgnoreFile { names: &'a [String] },
}

/// Takes what a rule finds.
pub(crate) struct Report<'a> {
    rule: &'static Rule,
    options: &'a Options,
    /// The line that the fact is about.
    line: Option<&'a Line>,
    found: &'a mut Vec<Diagnostic>,
}

impl Report<'_> {
    /// At the line of the fact.
    fn here(&mut self, message: impl Into<String>) {
        let Some(line) = self.line else { return };
        self.at(line, message, |found| found);
    }

    /// At a line; `more` adds to it.
    fn at(&mut self, line: &Line, message: impl Into<String>, more: impl FnOnce(Diagnostic) -> Diagnostic) {
        let options = self.options.merged(&line.comments);
        if options.allows(self.rule) {
            self.keep(more(Diagnostic::warning(self.rule.name, message, Some(line.span.clone()))));
        }
    }

    /// A finding that belongs to no instruction.
    fn add(&mut self, found: Diagnostic) {
        if self.options.allows(self.rule) {
            self.keep(found);
        }
    }

    fn keep(&mut self, found: Diagnostic) {
        if !self.found.contains(&found) {
            self.found.push(found);
        }
    }
}

/// The findings so far, and the options that chose them.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) options: Options,
    pub(crate) found: Vec<Diagnostic>,
}

/// More findings are dropped: nobody reads them.
const MOST: usize = 1000;

impl Checker {
    /// Tells every rule a fact about a line.
    pub(crate) fn tell(&mut self, fact: &Fact<'_>, line: Option<&Line>) {
        let Checker { options, found } = self;
        for rule in RULES {
            if found.len() < MOST && options.may_allow(rule) {
                (rule.find)(fact, &mut Report { rule, options, line, found });
            }
        }
    }

    /// With `error=true`: the rules that were broken, as BuildKit words it.
    pub(crate) fn refusal(&self) -> Option<Diagnostic> {
        if !self.options.error || self.found.is_empty() {
            return None;
        }
        let mut rules: Vec<&str> = self.found.iter().map(|found| found.code).collect();
        rules.sort_unstable();
        rules.dedup();
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        Some(Diagnostic::error("check", message, None).help("mend them, or take `error=true` out of `# check=`"))
    }
}
