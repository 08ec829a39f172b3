//! Plans for the targets: one image of a given config stands behind every name.

#[path = "../../frontend/tests/common/mod.rs"]
mod shared;

use frontend::config::ImageConfig;
use shared::{Images, request};

/// Reads and plans a Dockerfile; what is wrong is drawn.
pub fn plan(source: &[u8], config: ImageConfig) {
    let images = Images(|_: &_, _: &_| Ok(config.clone()));
    let plan = frontend::read(source).and_then(|document| frontend::plan(&document, &request(), &images));
    let found = match plan {
        Ok(plan) => plan.warnings,
        Err(errors) => errors,
    };
    for diagnostic in found.iter().take(20) {
        let picture = diagnostic.render("Dockerfile", source, false);
        assert!(!picture.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
    }
}
