//! ADD: like COPY, and archives are unpacked.

use super::copy::{Common, FLAGS};
use super::flags::{self, Kind};
use super::{Diagnostic, Line, Stage};
use crate::remote;
use crate::stage::Origin;

/// `ADD [flags] source... destination`.
#[derive(Clone, Debug)]
pub(crate) struct Add {
    checksum: Option<String>,
    unpack: Option<bool>,
    common: Common,
}

impl Add {
    pub(super) fn parse(line: &Line) -> Result<Add, Diagnostic> {
        let own = [("keep-git-dir", Kind::Switch), ("checksum", Kind::Text), ("unpack", Kind::Switch)];
        let flags = flags::check(line, &[FLAGS, &own].concat())?;
        let mut common = Common::parse("ADD", line, &flags)?;
        (common.checksum, common.keep_git_dir) = (flags.text("checksum"), flags.switch("keep-git-dir"));
        Ok(Add { checksum: flags.text("checksum"), unpack: flags.switch("unpack"), common })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        if self.checksum.is_some() {
            let remote = |text: &str| remote::http(text).is_some() || matches!(remote::git(text), Ok(Some(_)) | Err(_));
            let message = match self.common.sources.as_slice() {
                [source] if remote(&stage.expand(&source.text)?) => None,
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
