//! LABEL: notes in the image's config.

use super::{Diagnostic, Line, Stage, flags, pairs};

/// `LABEL name=value ...`.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pairs: Vec<(String, String)>,
    legacy: bool,
}

impl Label {
    pub(super) fn parse(line: &Line) -> Result<Label, Diagnostic> {
        flags::none(line)?;
        Ok(Label { pairs: pairs(line)?, legacy: line.args.get(2).is_some_and(|separator| separator.text.is_empty()) })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let mut message = String::from("LABEL");
        for (name, value) in &self.pairs {
            let (name, value) = (stage.expand(name)?, stage.expand(value)?);
            stage.tell_of_pair(&name, self.legacy);
            message.push_str(&format!(" {name}={value}"));
            stage.config().labels.get_or_insert_default().insert(name, value);
        }
        stage.history(message, None);
        Ok(())
    }
}
