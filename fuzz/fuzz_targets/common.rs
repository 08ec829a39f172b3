//! Plans for the targets: one image of a given config stands behind every name.

use frontend::config::ImageConfig;
use frontend::op::Network;
use frontend::plan::Request;
use frontend::platform::Platform;
use frontend::resolve::{Resolve, ResolveError, Resolved};

pub struct Images(pub ImageConfig);

impl Resolve for Images {
    fn named(&self, _: &str, _: &Platform) -> Result<Option<Resolved>, ResolveError> {
        Ok(None)
    }
    fn image(&self, name: &str, _: &Platform) -> Result<Resolved, ResolveError> {
        Ok(Resolved::Image { name: name.to_owned(), digest: "sha256:0".to_owned(), config: Box::new(self.0.clone()) })
    }
}

/// Reads and plans a Dockerfile; what is wrong is drawn.
pub fn plan(source: &[u8], config: ImageConfig) {
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
    let request = Request {
        target: None,
        platform: platform.clone(),
        build_platform: platform,
        build_args: Default::default(),
        labels: Vec::new(),
        network: Network::Default,
        hosts: Vec::new(),
        checks: Default::default(),
        several_platforms: false,
    };
    let plan = frontend::read(source).and_then(|document| frontend::plan(&document, &request, &Images(config)));
    let found = match plan {
        Ok(plan) => plan.warnings,
        Err(errors) => errors,
    };
    for diagnostic in found.iter().take(20) {
        let picture = diagnostic.render("Dockerfile", source, false);
        assert!(!picture.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
    }
}
