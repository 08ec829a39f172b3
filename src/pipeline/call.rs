//! `--call`: the build is planned, and not run.

use super::resolver::Resolver;
use super::{Build, picture};
use crate::call::{Call, Findings};
use crate::request::BuildRequest;
use base::error::Result;
use frontend::diagnostic::Diagnostic;
use frontend::platform::Platform;
use layer::Layers;
use sandbox::Stop;
use solver::Observer;
use std::sync::Arc;

/// Answers `--call`: the text to print, and true if there are no findings.
pub fn call(
    request: &BuildRequest,
    layers: &Layers,
    stop: &Stop,
    observer: &Arc<dyn Observer>,
) -> Result<(String, bool)> {
    let build = Build::new(request, layers, stop, observer)?;
    let file = picture::name(request);
    let source = request.dockerfile.as_slice();
    let answer = |warnings: &[Diagnostic], errors: &[Diagnostic]| {
        let findings = Findings { file: &file, source, warnings, errors, color: request.color };
        (request.asked.findings(&findings), warnings.is_empty() && errors.is_empty())
    };
    let document = match frontend::read(source) {
        Err(errors) if request.asked.call == Call::Check => return Ok(answer(&[], &errors)),
        other => other.map_err(|errors| picture::of_dockerfile(request, &errors))?,
    };
    if request.asked.call == Call::Targets {
        return Ok((request.asked.targets(&frontend::outline::targets(&document), source), true));
    }
    if request.asked.call == Call::Describe {
        return Ok((request.asked.describe(), true));
    }
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let resolver = Resolver::new(request, &build.host, observer);
    let (warnings, plan) = frontend::check(&document, &build.request_for(&platform), &resolver);
    match plan {
        Ok(_) if request.asked.call == Call::Check => Ok(answer(&warnings, &[])),
        Err(errors) if request.asked.call == Call::Check => Ok(answer(&warnings, &errors)),
        Ok(plan) => Ok((request.asked.outline(&plan.outline, source), true)),
        Err(errors) => Err(picture::of_dockerfile(request, &errors)),
    }
}
