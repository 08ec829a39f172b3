//! ENTRYPOINT: what a container runs, before CMD.

use super::{Command, Diagnostic, Line, Stage, flags, go_quoted};

/// `ENTRYPOINT ["a", "b"]` or `ENTRYPOINT text`.
#[derive(Clone, Debug)]
pub(crate) struct Entrypoint {
    command: Command,
}

impl Entrypoint {
    pub(super) fn parse(line: &Line) -> Result<Entrypoint, Diagnostic> {
        flags::none(line)?;
        Ok(Entrypoint { command: Command::of(line) })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        if self.command.shell {
            stage.tell_of_shell_form();
        }
        stage.tell_if_repeated("ENTRYPOINT");
        let empty = self.command.words.is_empty();
        let words = if empty && !self.command.shell { Vec::new() } else { self.command.resolve(stage) };
        stage.history(format!("ENTRYPOINT {}", go_quoted(&words)), None);
        let own_cmd = stage.has_had("CMD");
        let config = stage.config();
        config.entrypoint = Some(words).filter(|words| !words.is_empty());
        if !own_cmd {
            // A CMD of the base was meant for the base's ENTRYPOINT.
            config.cmd = None;
        }
        Ok(())
    }
}
