//! VOLUME: paths that a container keeps outside of its layers.

use super::{Diagnostic, Line, Stage, at_least_one, error, flags};
use serde_json::json;

/// `VOLUME /a /b` or `VOLUME ["/a"]`.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    paths: Vec<String>,
}

const EMPTY: &str = "VOLUME specified can not be an empty string";

impl Volume {
    pub(super) fn parse(line: &Line) -> Result<Volume, Diagnostic> {
        at_least_one(line)?;
        flags::none(line)?;
        let paths: Vec<String> = line.args.iter().map(|word| word.text.trim().to_owned()).collect();
        if paths.iter().any(String::is_empty) {
            return Err(error(line, "volume", EMPTY).help("name a path in the image"));
        }
        Ok(Volume { paths })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let mut paths = Vec::new();
        for written in &self.paths {
            let path = stage.expand(written)?;
            if path.is_empty() {
                return Err(stage.error_at("volume", written, EMPTY).help("name a path in the image"));
            }
            stage.config().volumes.get_or_insert_default().insert(path.clone(), json!({}));
            paths.push(path);
        }
        stage.history(format!("VOLUME [{}]", paths.join(" ")), None);
        Ok(())
    }
}
