//! MAINTAINER: the author, as images had it before labels.

use super::{Diagnostic, Line, Stage, exactly_one, flags};

/// `MAINTAINER text`.
#[derive(Clone, Debug)]
pub(crate) struct Maintainer {
    name: String,
}

impl Maintainer {
    pub(super) fn parse(line: &Line) -> Result<Maintainer, Diagnostic> {
        let name = exactly_one(line)?;
        flags::none(line)?;
        Ok(Maintainer { name })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        stage.set_author(&self.name);
        stage.history(format!("MAINTAINER {}", self.name), None);
        Ok(())
    }
}
