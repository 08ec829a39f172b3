//! Checks a plan before it runs: prints warnings, and refuses steps that may not or cannot run
//! here.

use super::{Build, picture};
use crate::explain;
use base::error::{Error, Kind, Result};
use frontend::line::Document;
use frontend::op::{Exec, Network, Op, Security};
use frontend::plan::Plan;
use frontend::platform::Platform;
use solver::Event;

impl Build<'_> {
    /// Warns once if the Dockerfile asks for a frontend that does more than kiln's own.
    pub(super) fn warn_of_syntax(&self, document: &Document) {
        let given = self.request.build_args.get("BUILDKIT_SYNTAX");
        let written = document.directives.syntax.as_ref().map(|word| &word.text);
        if let Some(syntax) = given.or(written).filter(|syntax| !frontend::syntax::is_known(syntax)) {
            let text = format!(
                "`syntax={syntax}` is not fetched: kiln reads the Dockerfile itself, as frontend {} does",
                frontend::syntax::VERSION
            );
            self.event(&Event::Warning { text });
        }
    }

    pub(super) fn warn(&self, plan: &Plan) {
        if self.again {
            return;
        }
        for warning in &plan.warnings {
            let text = picture::warning(self.request, warning);
            self.event(&Event::Warning { text });
        }
    }

    /// An error for steps that need an entitlement or another machine, and for a `--fail-on-miss`
    /// that names no step.
    pub(super) fn refuse(&self, plan: &Plan) -> Result<()> {
        let named =
            |wanted: &&String| plan.graph.iter().any(|(_, vertex)| explain::names(wanted, &vertex.name, &vertex.stage));
        if let Some(unknown) = self.request.fail_on_miss.iter().find(|wanted| !named(wanted)) {
            return Err(Error::new(Kind::Usage, format!("--fail-on-miss {unknown}: this build has no such step"))
                .hint("name a stage, a number as shown (`2/4`), or a part of the instruction"));
        }
        for (id, vertex) in plan.graph.iter() {
            let Op::Exec(exec) = &vertex.op else { continue };
            let error = if exec.network == Network::Host && !self.request.allow.network_host {
                Error::new(Kind::Dockerfile, "network.host is not allowed")
                    .hint("add `--allow network.host` if you trust this Dockerfile")
            } else if exec.security == Security::Insecure && !self.request.allow.security_insecure {
                Error::new(Kind::Dockerfile, "security.insecure is not allowed")
                    .hint("add `--allow security.insecure` if you trust this Dockerfile")
            } else if let Some(device) = self.refused_device(exec) {
                Error::new(Kind::Dockerfile, format!("device {device} is not allowed"))
                    .hint(format!("add `--allow device={device}` if you trust this Dockerfile"))
            } else if let Err(why) = self.host.emulation.can(&exec.platform.architecture) {
                Error::new(
                    Kind::Dockerfile,
                    format!("RUN for {} does not work on {}: {why}", exec.platform, Platform::host()),
                )
                .hint("install qemu-user-static, or let the stages that have a RUN be `FROM --platform=$BUILDPLATFORM`")
            } else {
                continue;
            };
            return Err(picture::at_vertex(self.request, plan, id, error));
        }
        Ok(())
    }

    fn refused_device<'e>(&self, exec: &'e Exec) -> Option<&'e str> {
        let allowed = |name: &str| self.request.allow.devices.iter().any(|known| known.is_empty() || known == name);
        exec.devices.iter().map(|device| device.name.as_str()).find(|name| !allowed(name))
    }
}
