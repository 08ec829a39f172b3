//! A build, from the request to the exported image: parse, plan, solve, assemble, export. Read this
//! first.

mod call;
mod guess;
mod output;
mod picture;
mod plan;
mod resolver;
mod setup;
mod vet;

pub use call::call;

use crate::engine::{Goal, Host, Job, Memo, pressure};
use crate::export::Exported;
use crate::image::manifest::Packing;
use crate::image::{self, Image};
use crate::progress::timings::Timings;
use crate::request::BuildRequest;
use base::error::{Error, Kind, Result};
use frontend::line::Document;
use frontend::plan::{Past, Plan};
use layer::Layers;
use layer::rootfs::Rootfs;
use sandbox::Stop;
use solver::event::told;
use solver::{Event, Failure, Observer, StepId, Task, VertexId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

/// The number of times that a changed context is read again before the build fails.
const MOST_LOOKS: u32 = 10;

/// The result of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The images, one a platform.
    pub images: Arc<Vec<Image>>,
    /// The metadata, as `--metadata-file` has it.
    pub metadata: serde_json::Value,
}

impl Built {
    /// The id of the first image.
    pub fn id(&self) -> String {
        self.images.first().map(|image| image.id.to_string()).unwrap_or_default()
    }
}

/// Builds what is asked for. `timings` go into the metadata.
pub fn build(
    request: &BuildRequest,
    layers: &Layers,
    stop: &Stop,
    observer: &Arc<dyn Observer>,
    timings: Option<&Timings>,
) -> Result<Built> {
    let mut build = Build::new(request, layers, stop, observer)?;
    let parsed = build.phase("parse", || frontend::read(&request.dockerfile));
    let document = parsed.map_err(|errors| picture::of_dockerfile(request, &errors))?;
    build.warn_of_syntax(&document);
    let built = build.until_sources_hold(|build| build.images(&document));
    build.finish_remote_caches(built.as_ref().ok().map(|(images, _)| images.as_slice()))?;
    let (images, exported) = built?;
    let metadata = output::metadata(&images, &exported, timings);
    build.write_files(&images, &metadata)?;
    Ok(Built { images: Arc::new(images), metadata })
}

struct Build<'a> {
    request: &'a BuildRequest,
    host: Host,
    /// The packing of layers that the outputs need.
    packing: Option<Packing>,
    /// The first id in the stream of events that is free.
    next_step: u32,
    /// True if it was begun before: warnings are not repeated.
    again: bool,
    /// The number of looks at the contexts.
    looks: u32,
}

impl Build<'_> {
    /// Plans, solves and assembles an image for each platform, then exports them.
    fn images(&mut self, document: &Document) -> Result<(Vec<Image>, Exported)> {
        let mut images = Vec::new();
        for platform in &self.request.platforms {
            let (plan, memo) = self.phase("plan", || self.plan(document, platform))?;
            self.warn(&plan);
            self.refuse(&plan)?;
            let rootfs = self.solve(&plan, memo)?;
            images.push(self.assemble(&plan, &rootfs)?);
        }
        self.phase("save", || self.host.save_contexts());
        if self.request.linked {
            self.host.fetch_all(&images, &HashSet::new(), StepId(self.next_step))?;
        }
        let exported = self.export(&images)?;
        Ok((images, exported))
    }

    fn solve(&mut self, plan: &Plan, memo: Memo) -> Result<Rootfs> {
        let Some(target) = plan.target else { return Ok(Rootfs::default()) };
        let (request, first) = (self.request, self.next_step);
        self.next_step = first.saturating_add(plan.graph.len() as u32);
        let in_image = |past: &Past| if let Past::New { vertex, .. } = past { *vertex } else { None };
        let layers = plan.history.iter().filter_map(in_image).collect();
        let goal = Goal { layers, blob: self.packing, epoch: request.epoch };
        let arguments = plan.outline.args.iter().map(|arg| arg.name.clone());
        let arguments = arguments.chain(request.build_args.keys().cloned()).collect();
        let job = Job::new(&self.host, goal, memo, StepId(first), arguments);

        let fresh = |id: VertexId| is_fresh(request, &plan.graph.get(id).stage);
        let jobs = || request.jobs.unwrap_or_else(pressure::default_jobs);
        let task = Task { graph: &plan.graph, targets: &[target], fresh: &fresh, jobs: &jobs, first_step: first };
        let solved = solver::solve(&task, &job, &*self.host.remote_caches, &*self.host.observer);
        job.save_misses();
        match solved {
            Ok(mut outputs) => outputs.pop().ok_or_else(|| Error::new(Kind::System, "BUG: a build without a result")),
            Err(Failure::Stopped) => Err(Error::new(Kind::Interrupted, "interrupted; what was done is kept")),
            Err(Failure::Failed { error, .. }) if error.kind() == Kind::Lost => Err(error),
            Err(Failure::Failed { vertex, error }) => Err(picture::at_vertex(request, plan, vertex, error)),
        }
    }

    fn assemble(&self, plan: &Plan, rootfs: &Rootfs) -> Result<Image> {
        if let Some(target) = plan.target {
            self.host.check_chain(&plan.graph, target, rootfs)?;
        }
        let epoch = self.request.epoch;
        if epoch.is_some() {
            // The blobs of remote caches may have later times, so their layers are packed again.
            self.host.fetch_travelled(&rootfs.layers, StepId(self.next_step))?;
        }
        let inline = self.host.remote_caches.inline(&rootfs.layers)?.map(|text| (cache::inline::FIELD, text));
        self.phase("assemble", || image::assemble(plan, &rootfs.layers, epoch, &self.host.layers, inline))
    }

    /// Starts again if a cache has lost layers or a context has changed. A lost layer is forgotten
    /// and finished steps are kept, so this ends.
    fn until_sources_hold<T>(&mut self, attempt: impl Fn(&mut Self) -> Result<T>) -> Result<T> {
        loop {
            match attempt(self) {
                Err(error) if error.kind() == Kind::Lost && self.host.stop.go_on() => self.again = true,
                Err(error) if error.kind() == Kind::Changed && self.looks >= MOST_LOOKS => {
                    let times = self.looks;
                    return Err(error.because(format!("the context changed each of the {times} times it was read")));
                }
                Err(error) if error.kind() == Kind::Changed && self.host.stop.go_on() => {
                    self.event(&Event::Warning { text: format!("{}; the build looks at it again", error.message()) });
                    self.host.look_again(error.what_changed());
                    (self.again, self.looks) = (true, self.looks + 1);
                }
                ended => return ended,
            }
        }
    }

    /// Waits for the export to `--cache-to`. A failed build has no images, but its exports are
    /// waited for too.
    fn finish_remote_caches(&mut self, images: Option<&[Image]>) -> Result<()> {
        let layers: Vec<_> = images.unwrap_or_default().iter().map(|image| image.layers.clone()).collect();
        let (step, caches) = (self.take_step(), &self.host.remote_caches);
        caches.begin_end(&layers);
        let mounts = self.host.save_cache_mounts(step);
        let open = caches.outstanding();
        // A failure stops everything except the export; Ctrl-C ends it.
        let end = || caches.end(&|| self.host.stop.is_interrupted());
        let result = if open.is_empty() {
            end()
        } else {
            let names: Vec<String> = open.iter().map(|(title, count)| format!("{title} ({count} to go)")).collect();
            told(&*self.host.observer, StepId(self.next_step), format!("exporting cache to {}", names.join(", ")), end)
        };
        if images.is_some() { result.and(mounts) } else { Ok(()) }
    }

    fn take_step(&mut self) -> StepId {
        self.next_step += 1;
        StepId(self.next_step - 1)
    }

    /// Runs a phase of the build and reports its duration.
    fn phase<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        solver::phase(&*self.host.observer, None, name, work)
    }

    fn event(&self, event: &Event) {
        self.host.observer.event(SystemTime::now(), event);
    }
}

/// True if `--no-cache` or `--no-cache-filter` names the steps of a stage.
fn is_fresh(request: &BuildRequest, stage: &String) -> bool {
    request.no_cache || request.no_cache_filter.contains(stage)
}
