//! ONBUILD: an instruction for those who build on this image.

use super::{Diagnostic, Line, Stage, error, flags};

/// `ONBUILD instruction`.
#[derive(Clone, Debug)]
pub(crate) struct Onbuild {
    /// The instruction as text, here-documents included.
    trigger: String,
}

impl Onbuild {
    pub(super) fn parse(line: &Line) -> Result<Onbuild, Diagnostic> {
        let Some(trigger) = &line.trigger else {
            return Err(error(line, "no-argument", "ONBUILD requires at least one argument"));
        };
        flags::none(line)?;
        match trigger.name.as_str() {
            "ONBUILD" => return Err(error(line, "onbuild", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            name @ ("FROM" | "MAINTAINER") => {
                return Err(error(line, "onbuild", format!("{name} isn't allowed as an ONBUILD trigger")));
            }
            _ => {}
        }
        let mut text = line.rest.clone();
        for heredoc in &line.heredocs {
            text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
        }
        Ok(Onbuild { trigger: text })
    }

    /// Recorded in the config alone: BuildKit adds no history for it.
    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        stage.config().on_build.get_or_insert_default().push(self.trigger.clone());
        Ok(())
    }
}
