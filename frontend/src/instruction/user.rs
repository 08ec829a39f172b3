//! USER: who runs what follows.

use super::{Diagnostic, Line, Stage, exactly_one, flags};

/// `USER name[:group]`.
#[derive(Clone, Debug)]
pub(crate) struct User {
    user: String,
}

impl User {
    pub(super) fn parse(line: &Line) -> Result<User, Diagnostic> {
        let user = exactly_one(line)?;
        flags::none(line)?;
        Ok(User { user })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let user = stage.expand(&self.user)?;
        stage.history(format!("USER {user}"), None);
        stage.config().user = user;
        Ok(())
    }
}
