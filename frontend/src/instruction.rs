//! THE TABLE: one row an instruction. Each has a file of its own that reads its line into a typed form (`parse`) and
//! lowers that through the narrow surface of [`Stage`] (`lower`).

mod add;
mod arg;
mod cmd;
mod copy;
mod entrypoint;
mod env;
mod expose;
mod flags;
pub(crate) mod from;
mod healthcheck;
mod label;
mod maintainer;
mod onbuild;
mod run;
mod shell;
mod stopsignal;
mod user;
mod volume;
mod workdir;

use crate::diagnostic::Diagnostic;
use crate::line::Line;
use crate::stage::Stage;

macro_rules! table {
    ($($name:literal $variant:ident $module:ident)*) => {
        /// An instruction in its typed form.
        #[derive(Clone, Debug)]
        pub(crate) enum Instruction {
            $(#[doc = $name] $variant($module::$variant),)*
        }

        /// Reads a line by the rules of its instruction.
        pub(crate) fn parse(line: &Line) -> Result<Instruction, Diagnostic> {
            match line.name.as_str() {
                $($name => $module::$variant::parse(line).map(Instruction::$variant),)*
                _ => Err(error(line, "unknown-instruction", format!("unknown instruction: {}", line.written))),
            }
        }

        /// Does to the stage what the instruction says.
        pub(crate) fn lower(instruction: &Instruction, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
            match instruction {
                $(Instruction::$variant(instruction) => instruction.lower(stage),)*
            }
        }

        /// The names in the table.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

table! {
    "ADD" Add add
    "ARG" Arg arg
    "CMD" Cmd cmd
    "COPY" Copy copy
    "ENTRYPOINT" Entrypoint entrypoint
    "ENV" Env env
    "EXPOSE" Expose expose
    "FROM" From from
    "HEALTHCHECK" Healthcheck healthcheck
    "LABEL" Label label
    "MAINTAINER" Maintainer maintainer
    "ONBUILD" Onbuild onbuild
    "RUN" Run run
    "SHELL" Shell shell
    "STOPSIGNAL" Stopsignal stopsignal
    "USER" User user
    "VOLUME" Volume volume
    "WORKDIR" Workdir workdir
}

impl Instruction {
    /// The stages or images it takes files from, by name.
    pub(crate) fn sources(&self) -> Vec<&str> {
        match self {
            Instruction::Copy(copy) => copy.from.iter().map(String::as_str).collect(),
            Instruction::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_deref()).collect(),
            _ => Vec::new(),
        }
    }

    /// True if it makes a vertex of its own: such are counted for people.
    pub(crate) fn counts(&self) -> bool {
        matches!(self, Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_))
    }
}

/// An error about a whole instruction.
fn error(line: &Line, code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, message, Some(line.span.clone()))
}

/// How an instruction is written.
fn usage(name: &str) -> String {
    let arguments = match name {
        "ADD" | "COPY" => "source... destination",
        "ARG" => "name[=default]",
        "ENV" | "LABEL" => "name=value",
        "EXPOSE" => "80",
        "HEALTHCHECK" => "CMD command",
        "MAINTAINER" => "name",
        "ONBUILD" => "instruction",
        "SHELL" => "[\"/bin/bash\", \"-c\"]",
        "STOPSIGNAL" => "SIGTERM",
        "USER" => "name[:group]",
        "VOLUME" | "WORKDIR" => "/path",
        _ => "command",
    };
    format!("write `{name} {arguments}`")
}

fn at_least_one(line: &Line) -> Result<(), Diagnostic> {
    if line.args.is_empty() {
        let error = error(line, "no-argument", format!("{} requires at least one argument", line.name));
        return Err(error.help(usage(&line.name)));
    }
    Ok(())
}

fn exactly_one(line: &Line) -> Result<String, Diagnostic> {
    match line.args.as_slice() {
        [one] => Ok(one.text.clone()),
        _ => {
            let error = error(line, "one-argument", format!("{} requires exactly one argument", line.name));
            Err(error.help(usage(&line.name)))
        }
    }
}

/// Names and values of ENV and LABEL.
fn pairs(line: &Line) -> Result<Vec<(String, String)>, Diagnostic> {
    at_least_one(line)?;
    let mut pairs = Vec::new();
    for triple in line.args.chunks(3) {
        match triple {
            [name, value, _] if !name.text.is_empty() => pairs.push((name.text.clone(), value.text.clone())),
            _ => {
                let error = error(line, "blank-name", format!("{} names can not be blank", line.name));
                return Err(error.help(usage(&line.name)));
            }
        }
    }
    Ok(pairs)
}

/// A command as it was written: a list, or a text for the shell.
#[derive(Clone, Debug)]
struct Command {
    words: Vec<String>,
    shell: bool,
}

impl Command {
    fn of(line: &Line) -> Command {
        Command { words: line.args.iter().map(|word| word.text.clone()).collect(), shell: !line.json }
    }

    /// The list that is run: with the shell before a text.
    fn resolve(&self, stage: &Stage<'_, '_>) -> Vec<String> {
        if self.shell { stage.with_shell(&self.words.join(" ")) } else { self.words.clone() }
    }
}

/// A list as Go prints it with `%q`.
fn go_quoted(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| go_quote(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A text as Go's `strconv.Quote` has it.
fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => quoted.push(c),
            c if c as u32 <= 0xffff => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    quoted + "\""
}

/// Go's `strconv.IsPrint`: the standard library has nearly the same table behind `escape_debug`, which escapes marks that
/// combine with the character before them too; of those the usual accents are let through.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{300}'..='\u{36f}') || c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        assert_eq!(go_quote("a\u{1}\u{7f}\u{b}\"\\"), r#""a\x01\x7f\v\"\\""#);
        assert_eq!(go_quote("ä€\u{301}\u{a0}\u{feff}\u{10ffff}"), "\"ä€\u{301}\\u00a0\\ufeff\\U0010ffff\"");
    }

    #[test]
    fn the_table_and_the_syntax_know_the_same_instructions() {
        let syntax: Vec<&str> = crate::text::instruction_names().collect();
        assert_eq!(NAMES, syntax);
    }
}
