//! CMD: what a container runs unless told otherwise.

use super::{Command, Diagnostic, Line, Stage, flags, go_quoted};

/// `CMD ["a", "b"]` or `CMD text`.
#[derive(Clone, Debug)]
pub(crate) struct Cmd {
    command: Command,
}

impl Cmd {
    pub(super) fn parse(line: &Line) -> Result<Cmd, Diagnostic> {
        flags::none(line)?;
        Ok(Cmd { command: Command::of(line) })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        if self.command.shell {
            stage.tell_of_shell_form();
        }
        stage.tell_if_repeated("CMD");
        let words = self.command.resolve(stage);
        stage.history(format!("CMD {}", go_quoted(&words)), None);
        stage.config().cmd = Some(words);
        stage.config().args_escaped = true;
        Ok(())
    }
}
