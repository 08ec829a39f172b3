//! ENV: variables of the image and of the steps that follow.

use super::{Diagnostic, Line, Stage, flags, pairs};

/// `ENV name=value ...` or `ENV name value`.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    pairs: Vec<(String, String)>,
    legacy: bool,
}

impl Env {
    pub(super) fn parse(line: &Line) -> Result<Env, Diagnostic> {
        flags::none(line)?;
        Ok(Env { pairs: pairs(line)?, legacy: line.args.get(2).is_some_and(|separator| separator.text.is_empty()) })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        // All of a line is expanded with the values from before it.
        let expand = |stage: &mut Stage<'_, '_>, (name, value): &(String, String)| {
            Ok((stage.expand(name)?, stage.expand(value)?))
        };
        let pairs: Vec<(String, String)> =
            self.pairs.iter().map(|pair| expand(stage, pair)).collect::<Result<_, _>>()?;
        let mut message = String::from("ENV");
        for (name, value) in pairs {
            stage.tell_of_pair(&name, self.legacy);
            message.push_str(&format!(" {name}={value}"));
            stage.set_env(&name, &value);
        }
        stage.history(message, None);
        Ok(())
    }
}
