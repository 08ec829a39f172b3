//! ARG: a name that the user may give a value.

use super::{Diagnostic, Line, Stage, at_least_one, error};
use crate::check::Fact;

/// `ARG name[=default] ...`.
#[derive(Clone, Debug)]
pub(crate) struct Arg {
    /// Names with their defaults, as written.
    pub(crate) args: Vec<(String, Option<String>)>,
}

impl Arg {
    pub(super) fn parse(line: &Line) -> Result<Arg, Diagnostic> {
        // BuildKit passes over flags of an ARG, whatever they are.
        at_least_one(line)?;
        let mut args = Vec::new();
        for word in &line.args {
            match word.text.split_once('=') {
                Some(("", _)) => {
                    let error = error(line, "blank-name", "ARG names can not be blank");
                    return Err(error.help(super::usage(&line.name)));
                }
                Some((name, default)) => args.push((name.to_owned(), Some(default.to_owned()))),
                None => args.push((word.text.clone(), None)),
            }
        }
        Ok(Arg { args })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let mut words = vec!["ARG".to_owned()];
        for (name, default) in &self.args {
            stage.tell(&Fact::Declared { name });
            let global = stage.global_arg(name);
            let (value, taken) = match (stage.build_arg(name), default) {
                (Some(given), _) => (Some(given), false),
                (None, Some(default)) => (Some(stage.expand(default)?), false),
                (None, None) => (global.clone(), global.is_some()),
            };
            words.push(value.as_ref().map_or(name.clone(), |value| format!("{name}={value}")));
            stage.declare(name, value, taken);
        }
        stage.history(words.join(" "), None);
        Ok(())
    }
}
