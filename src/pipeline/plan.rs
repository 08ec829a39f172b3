//! Makes the plan of a parsed Dockerfile. Registries are asked all at once. Meanwhile the files of
//! copies are read, by a plan that is guessed from the registries' earlier answers. If the answers
//! have not changed, that work is done when they arrive.

use super::guess::{Guess, takes_the_same};
use super::resolver::Resolver;
use super::{Build, is_fresh, picture};
use crate::call::Call;
use crate::engine::{Job, Memo};
use base::error::Result;
use cache::record::LocalCache;
use frontend::line::Document;
use frontend::op::{Network, Op};
use frontend::plan::{Checks, Plan, Request};
use frontend::platform::Platform;
use frontend::resolve::Resolve as _;
use solver::{StepId, Task, VertexId};
use std::path::PathBuf;

impl Build<'_> {
    /// The plan for a platform, and the files that were already read for it.
    pub(super) fn plan(&self, document: &Document, platform: &Platform) -> Result<(Plan, Memo)> {
        let request = self.request_for(platform);
        let resolver = Resolver::new(self.request, &self.host, &self.host.observer);
        let guess = Guess::new(&resolver);
        let guessed = frontend::plan(document, &request, &guess).ok();
        let ahead = Job::ahead(&self.host, StepId(self.next_step));
        std::thread::scope(|scope| {
            for (name, platform) in guess.asked() {
                let resolver = &resolver;
                // The real plan asks again and reports a refusal.
                scope.spawn(move || drop(resolver.image(&name, &platform)));
            }
            if let Some(Plan { graph, target: Some(target), .. }) = &guessed {
                ahead.select_ahead(graph, *target);
                if self.will_need_a_network(&ahead, graph, *target) {
                    self.host.networks.expect();
                }
            }
        });
        let plan = frontend::plan(document, &request, &resolver)
            .map_err(|errors| picture::of_dockerfile(self.request, &errors))?;
        let same =
            |id: VertexId| guessed.as_ref().is_some_and(|guessed| takes_the_same(&guessed.graph, &plan.graph, id));
        let memo = ahead.into_memo().selections_of(same);
        Ok((plan, memo))
    }

    /// The frontend's request.
    pub(super) fn request_for(&self, platform: &Platform) -> Request {
        Request {
            target: self.request.target.clone(),
            platform: platform.clone(),
            platform_given: self.request.platform_given,
            build_platform: Platform::host(),
            build_args: self.request.build_args.clone(),
            labels: self.request.labels.clone(),
            network: self.request.network,
            hosts: self.request.hosts.clone(),
            checks: self.checks(),
            several_platforms: self.request.multi || self.request.platforms.len() > 1,
        }
    }

    /// True if a step with a network will most likely run, as far as this machine knows. Remote
    /// caches are not asked for a guess.
    fn will_need_a_network(&self, ahead: &Job<'_>, graph: &solver::Graph<Op>, target: VertexId) -> bool {
        if self.request.caches.iter().any(|wanted| wanted.way == cache::Way::From) {
            return false;
        }
        let fresh = |id: VertexId| is_fresh(self.request, &graph.get(id).stage);
        let task = Task { graph, targets: &[target], fresh: &fresh, jobs: &|| 1, first_step: 0 };
        let missing = solver::missing(&task, ahead, &LocalCache::new(&self.host.store));
        let needs = |id: &VertexId| matches!(&graph.get(*id).op, Op::Exec(exec) if exec.network == Network::Default);
        missing.is_ok_and(|missing| missing.iter().any(needs))
    }

    /// The facts of the context that checks need.
    fn checks(&self) -> Checks {
        let asked = self.request.asked.call == Call::Check;
        let context = self.host.context("context");
        let ignore = context.and_then(|context| context.ignore().cloned());
        let names = |path: &PathBuf| {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let top = self.request.context.as_ref().filter(|_| asked && ignore.is_none()).map(names);
        Checks { asked, ignore, top: top.unwrap_or_default() }
    }
}
