//! WORKDIR: where what follows runs; the directory is made if it is missing.

use super::{Diagnostic, Line, Stage, exactly_one, flags};
use crate::op::{self, FileAction, Op};
use crate::stage::join;

/// `WORKDIR path`.
#[derive(Clone, Debug)]
pub(crate) struct Workdir {
    path: String,
}

impl Workdir {
    pub(super) fn parse(line: &Line) -> Result<Workdir, Diagnostic> {
        let path = exactly_one(line)?;
        flags::none(line)?;
        Ok(Workdir { path })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let path = stage.expand(&self.path)?;
        stage.tell_of_workdir(&path);
        // An absolute path stays as it is written, as BuildKit has it.
        let dir = if path.starts_with('/') { path.clone() } else { join(&stage.workdir(), &path) };
        stage.config().working_dir.clone_from(&dir);
        let clean = join("/", &dir);
        let made = clean != "/";
        let vertex = made.then(|| {
            let name = format!("WORKDIR {path}");
            let user = stage.config().user.clone();
            stage.push(&name, |base| Op::File(op::File { base, action: FileAction::Mkdir { path: clean, user } }), &[])
        });
        stage.history(format!("WORKDIR {dir}"), vertex);
        Ok(())
    }
}
