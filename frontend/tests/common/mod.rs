//! Shared by tests, benchmarks and fuzz targets: a request for linux/amd64, and a resolver that knows images alone.
#![allow(dead_code, missing_docs)]

use frontend::config::ImageConfig;
use frontend::plan::Request;
use frontend::platform::Platform;
use frontend::resolve::{Resolve, ResolveError, Resolved};

/// A request for linux/amd64 with nothing asked for.
pub fn request() -> Request {
    Request::new(Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None })
}

/// Images by a function from name and platform to config; no contexts. Digests are made of names.
pub struct Images<F>(pub F);

impl<F: Fn(&str, &Platform) -> Result<ImageConfig, ResolveError>> Resolve for Images<F> {
    fn named(&self, _: &str, _: &Platform) -> Result<Option<Resolved>, ResolveError> {
        Ok(None)
    }
    fn image(&self, name: &str, platform: &Platform) -> Result<Resolved, ResolveError> {
        let config = Box::new((self.0)(name, platform)?);
        Ok(Resolved::Image { name: name.to_owned(), digest: format!("sha256:{name}"), config })
    }
}

/// The config of an image of a platform, with nothing in it.
pub fn empty(platform: &Platform) -> ImageConfig {
    ImageConfig { os: platform.os.clone(), architecture: platform.architecture.clone(), ..Default::default() }
}
