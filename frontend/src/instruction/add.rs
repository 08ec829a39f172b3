//! ADD: like COPY, and archives are unpacked.

use super::copy::{Common, FLAGS};
use super::flags::{self, Kind};
use super::{Diagnostic, Line, Stage};
use crate::op::Unpack;
use crate::stage::Origin;

/// `ADD [flags] source... destination`.
#[derive(Clone, Debug)]
pub(crate) struct Add {
    checksum: Option<String>,
    unpack: Unpack,
    common: Common,
}

impl Add {
    pub(super) fn parse(line: &Line) -> Result<Add, Diagnostic> {
        let own = [("keep-git-dir", Kind::Switch), ("checksum", Kind::Text), ("unpack", Kind::Switch)];
        let flags = flags::check(line, &[FLAGS, &own].concat())?;
        let unpack = match flags.switch("unpack") {
            Some(false) => Unpack::Never,
            Some(true) | None => Unpack::Archives,
        };
        Ok(Add { checksum: flags.text("checksum"), unpack, common: Common::parse("ADD", line, &flags)? })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        if self.checksum.is_some() {
            let message = match self.common.sources.as_slice() {
                [source] if source.text.contains("://") || source.text.contains('$') => None,
                [_] => Some("checksum requires HTTP(S) or Git sources"),
                _ => Some("checksum can't be specified for multiple sources"),
            };
            if let Some(message) = message {
                let error = stage.error_at("checksum", self.checksum.as_deref().unwrap_or(""), message);
                return Err(error.help("write an ADD of its own for each URL that has a checksum"));
            }
        }
        self.common.lower(stage, &Origin::Context, false, self.unpack)
    }
}
