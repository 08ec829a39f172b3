//! SHELL: what runs the texts of RUN, CMD and ENTRYPOINT.

use super::{Diagnostic, Line, Stage, at_least_one, error, flags};

/// `SHELL ["program", "arg"]`.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    words: Vec<String>,
}

impl Shell {
    pub(super) fn parse(line: &Line) -> Result<Shell, Diagnostic> {
        flags::none(line)?;
        at_least_one(line)?;
        if !line.json {
            let message = format!("SHELL requires the arguments to be in JSON form: {}", line.rest);
            return Err(error(line, "shell-json", message).help("write `SHELL [\"/bin/sh\", \"-c\"]`"));
        }
        Ok(Shell { words: line.args.iter().map(|word| word.text.clone()).collect() })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        stage.config().shell = Some(self.words.clone());
        stage.history(format!("SHELL [{}]", self.words.join(" ")), None);
        Ok(())
    }
}
