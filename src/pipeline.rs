//! The whole build on one screen: text, plan, solve, image, export. Read this first.

mod guess;
mod picture;
mod resolver;

use crate::call::{Call, Findings};
use crate::engine::pressure::{self, Brake};
use crate::engine::{Goal, Known, Machine};
use crate::explain::{self, Explainer};
use crate::export::{self, Exported};
use crate::image::{self, Image};
use crate::progress::timings::Timings;
use crate::request::{BuildRequest, NamedContext};
use crate::source::context::{Context, ignore_of};
use crate::source::image::Images;
use base::attributes::Attributes;
use base::clock::now;
use base::error::{At, Error, Kind, Result};
use base::outside;
use cache::{self, Caches};
use frontend::diagnostic::Diagnostic;
use frontend::line::Document;
use frontend::op::{Network, Op, Security};
use frontend::plan::{Checks, Past, Plan, Request};
use frontend::platform::Platform;
use frontend::resolve::Resolve as _;
use guess::{Guess, takes_the_same};
use layer::Layers;
use layer::rootfs::Rootfs;
use resolver::Resolver;
use sandbox::Stop;
use sandbox::cgroup::Groups;
use sandbox::emulate::Emulation;
use sandbox::network::Networks;
use sandbox::running::Steps;
use serde_json::json;
use solver::event::told;
use solver::{Event, Failure, Graph, Observer, StepId, Task, VertexId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// How often the contexts are looked at before a build gives up because they change all the time.
const MOST_LOOKS: u32 = 10;

/// Builds what is asked for. The id of the image comes back. `timings` go into the metadata file.
pub fn build(
    request: &BuildRequest,
    layers: &Layers,
    stop: &Stop,
    observer: &Arc<dyn Observer>,
    timings: Option<&Timings>,
) -> Result<String> {
    let mut build = Build::new(request, layers, stop, observer)?;
    build.machine.goal.blob = export::packs(&request.outputs)?.map(|packing| (packing.compression, packing.force));
    let document = build
        .phase("parse", || frontend::read(&request.dockerfile))
        .map_err(|errors| picture::of_dockerfile(request, &errors))?;
    build.tell_of_syntax(&document);
    let built = loop {
        match build.images(&document) {
            // A cache did not keep a promise. It is forgotten, so that this comes to an end.
            Err(error) if error.kind() == Kind::Lost && stop.go_on() => build.again = true,
            Err(error) if error.kind() == Kind::Changed && build.looks < MOST_LOOKS && stop.go_on() => {
                build.look_again(&error);
            }
            Err(error) if error.kind() == Kind::Changed => {
                let why = format!("the build context changed each of the {} times that it was looked at", build.looks);
                break Err(error.because(why));
            }
            built => break built,
        }
    };
    let images = built.as_ref().map_or(&[][..], |(images, _)| images);
    build.finish_caches(images, built.is_ok())?;
    let (images, exported) = built?;
    build.write_files(&images, &exported, timings)?;
    Ok(images.first().map(|image| image.id.to_string()).unwrap_or_default())
}

/// Answers `--call`: the text to print, and whether all is well.
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
    let resolver = Resolver::new(request, &build.machine, observer);
    let (warnings, plan) = frontend::check(&document, &build.request_for(&platform), &resolver);
    match plan {
        Ok(_) if request.asked.call == Call::Check => Ok(answer(&warnings, &[])),
        Err(errors) if request.asked.call == Call::Check => Ok(answer(&warnings, &errors)),
        Ok(plan) => Ok((request.asked.outline(&plan.outline, source), true)),
        Err(errors) => Err(picture::of_dockerfile(request, &errors)),
    }
}

struct Build<'a> {
    request: &'a BuildRequest,
    machine: Machine,
    caches: Arc<Caches>,
    observer: Arc<dyn Observer>,
    next_step: u32,
    /// It was begun before: what was told then is not told again.
    again: bool,
    /// How often the contexts were looked at.
    looks: u32,
}

impl<'a> Build<'a> {
    fn new(request: &'a BuildRequest, layers: &Layers, stop: &Stop, observer: &Arc<dyn Observer>) -> Result<Build<'a>> {
        let store = layers.store().clone();
        let mut contexts = BTreeMap::new();
        if let Some(context) = &request.context {
            let ignore = ignore_of(context, request.dockerfile_path.as_deref())?;
            contexts.insert("context".to_owned(), Context::open(context, ignore, &store)?);
        } else {
            let empty = store.temp("context");
            std::fs::create_dir(&empty).at("make", &empty)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&empty, mode).at("set the mode of", &empty)?;
            contexts.insert("context".to_owned(), Context::open(&empty, None, &store)?);
        }
        for (name, context) in &request.contexts {
            if let NamedContext::Dir(path) = context {
                contexts.insert(name.clone(), Context::open(path, ignore_of(path, None)?, &store)?);
            }
        }
        let (bases, interrupt) = (Images::new(store.clone(), &request.settings), stop.clone());
        let caches = Arc::new(Caches::open(cache::Plan {
            wanted: &request.caches,
            settings: &request.settings,
            layers,
            observer,
            has_base: Box::new(move |diff_id, blob| bases.has_layer(diff_id, blob)),
            stopped: Arc::new(move || interrupt.is_interrupted()),
        })?);
        let machine = Machine {
            images: Images::new(store.clone(), &request.settings),
            remote: Arc::clone(&caches),
            layers: layers.clone(),
            contexts: contexts.into(),
            secrets: request.secrets.clone(),
            agents: request.agents.clone(),
            limits: request.limits.clone(),
            emulation: Emulation::default(),
            groups: Groups::default(),
            networks: Networks::default(),
            steps: Steps::of(store.root()),
            brake: Brake::default(),
            stop: stop.clone(),
            observer: Arc::clone(observer),
            first_step: 0,
            rootless: *layers.flavour() != layer::Flavour::Root,
            goal: Goal { epoch: request.epoch, ..Goal::default() },
            known: Known::default(),
            explainer: Explainer::new(&store, &request.place),
            must_hit: request.fail_on_miss.clone(),
            store: store.clone(),
        };
        Ok(Build { request, machine, caches, observer: Arc::clone(observer), next_step: 0, again: false, looks: 1 })
    }

    /// A file of a context was not what it had been. What the build would have made of it has another key now.
    fn look_again(&mut self, error: &Error) {
        self.event(&Event::Warning { text: format!("{}; the build looks at it again", error.message()) });
        self.machine.look_again(error.what_changed());
        (self.again, self.looks) = (true, self.looks + 1);
    }

    /// Plan, solve, image, for each platform; then the export.
    fn images(&mut self, document: &Document) -> Result<(Vec<Image>, Exported)> {
        let (request, mut images) = (self.request, Vec::new());
        for platform in &request.platforms {
            let plan = self.phase("plan", || self.plan(document, platform))?;
            self.warn(&plan);
            self.refuse(&plan)?;
            let rootfs = self.solve(&plan)?;
            if let Some(target) = plan.target {
                self.machine.check_chain(&plan.graph, target, &rootfs)?;
            }
            if request.epoch.is_some() {
                // Times are bounded in the bytes: layers of a cache have to be packed anew.
                self.machine.fetch_travelled(&rootfs.layers, self.next_step)?;
            }
            let more = self.caches.inline(&rootfs.layers)?.map(|text| (cache::inline::FIELD, text));
            let (layers, epoch) = (&self.machine.layers, request.epoch);
            let assemble = || image::assemble(&plan, &rootfs.layers, epoch, layers, more);
            images.push(self.phase("assemble", assemble)?);
        }
        self.phase("save", || self.machine.save_contexts());
        let exported = self.export(&images)?;
        Ok((images, exported))
    }

    /// What goes to `--cache-to` is waited for, however the build ended.
    fn finish_caches(&mut self, images: &[Image], well: bool) -> Result<()> {
        let images: Vec<_> = images.iter().map(|image| image.layers.clone()).collect();
        self.caches.begin_end(&images);
        let mounts = self.machine.save_caches(self.next_step);
        self.next_step += 1;
        let open = self.caches.outstanding();
        // After a failure everything else is stopped, but what goes to caches is not; Ctrl-C ends that too.
        let end = || self.caches.end(&|| self.machine.stop.is_interrupted());
        let result = if open.is_empty() {
            end()
        } else {
            let names: Vec<String> = open.iter().map(|(title, count)| format!("{title} ({count} to go)")).collect();
            told(&*self.observer, StepId(self.next_step), format!("exporting cache to {}", names.join(", ")), end)
        };
        let result = result.and(mounts);
        if well { result } else { Ok(()) }
    }

    fn request_for(&self, platform: &Platform) -> Request {
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

    /// Text and names become a graph. Registries are asked all at once, and while they think, what copies read is
    /// looked at: if the names stand for what they stood for last time, that is done when the answers come.
    fn plan(&self, document: &Document, platform: &Platform) -> Result<Plan> {
        let (request, resolver) =
            (self.request_for(platform), Resolver::new(self.request, &self.machine, &self.observer));
        let guess = Guess::new(&resolver);
        let guessed = frontend::plan(document, &request, &guess).ok();
        std::thread::scope(|scope| {
            for (name, platform) in guess.asked() {
                let resolver = &resolver;
                // A refusal is told when the plan asks again.
                scope.spawn(move || drop(resolver.image(&name, &platform)));
            }
            if let Some(Plan { graph, target: Some(target), .. }) = &guessed {
                self.machine.select_ahead(graph, *target);
                if self.will_need_a_network(graph, *target) {
                    self.machine.networks.expect();
                }
            }
        });
        let plan = frontend::plan(document, &request, &resolver)
            .map_err(|errors| picture::of_dockerfile(self.request, &errors))?;
        let same =
            |id: VertexId| guessed.as_ref().is_some_and(|guessed| takes_the_same(&guessed.graph, &plan.graph, id));
        self.machine.known.keep_selections(&same);
        Ok(plan)
    }

    /// Whether a step with a network will most likely run: as far as this machine knows, for what other caches have is
    /// not asked for a guess.
    fn will_need_a_network(&self, graph: &Graph<Op>, target: VertexId) -> bool {
        if self.request.caches.iter().any(|wanted| wanted.way == cache::Way::From) {
            return false;
        }
        let fresh = |id: VertexId| is_fresh(self.request, &graph.get(id).stage);
        let task = Task { graph, targets: &[target], fresh: &fresh, jobs: &|| 1, first_step: 0 };
        let missing = solver::missing(&task, &self.machine, &cache::record::LocalCache::new(&self.machine.store));
        let needs = |id: &VertexId| matches!(&graph.get(*id).op, Op::Exec(exec) if exec.network == Network::Default);
        missing.is_ok_and(|missing| missing.iter().any(needs))
    }

    /// What checks need to know of the context.
    fn checks(&self) -> Checks {
        let asked = self.request.asked.call == Call::Check;
        let context = self.machine.context("context");
        let ignore = context.and_then(|context| context.ignore().cloned());
        let names = |path: &std::path::PathBuf| {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let top = self.request.context.as_ref().filter(|_| asked && ignore.is_none()).map(names);
        Checks { asked, ignore, top: top.unwrap_or_default() }
    }

    /// A part of the build as a whole.
    fn phase<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        solver::phase(&*self.observer, None, name, work)
    }

    fn event(&self, event: &Event) {
        self.observer.event(SystemTime::now(), event);
    }

    /// Says once when the Dockerfile asks for a frontend that does more than kiln does itself.
    fn tell_of_syntax(&self, document: &Document) {
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

    fn warn(&self, plan: &Plan) {
        if self.again {
            return;
        }
        for warning in &plan.warnings {
            let text = picture::warning(self.request, warning);
            self.event(&Event::Warning { text });
        }
    }

    /// What must not begin: steps without leave, or for another machine; a name that stands for no step.
    fn refuse(&self, plan: &Plan) -> Result<()> {
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
            } else if let Err(why) = self.machine.emulation.can(&exec.platform.architecture) {
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

    fn refused_device<'e>(&self, exec: &'e frontend::op::Exec) -> Option<&'e str> {
        let allowed = |name: &str| self.request.allow.devices.iter().any(|known| known.is_empty() || known == name);
        exec.devices.iter().map(|device| device.name.as_str()).find(|name| !allowed(name))
    }

    fn solve(&mut self, plan: &Plan) -> Result<Rootfs> {
        let Some(target) = plan.target else { return Ok(Rootfs::default()) };
        let request = self.request;
        let fresh = |id: VertexId| is_fresh(request, &plan.graph.get(id).stage);
        self.machine.first_step = self.next_step;
        let arguments = plan.outline.args.iter().map(|arg| arg.name.clone());
        self.machine.explainer.begin(arguments.chain(self.request.build_args.keys().cloned()).collect());
        self.machine.goal.layers = plan
            .history
            .iter()
            .filter_map(|past| if let Past::New { vertex, .. } = past { *vertex } else { None })
            .collect();
        let jobs = || self.request.jobs.unwrap_or_else(pressure::default_jobs);
        let task =
            Task { graph: &plan.graph, targets: &[target], fresh: &fresh, jobs: &jobs, first_step: self.next_step };
        let solved = solver::solve(&task, &self.machine, &*self.caches, &*self.observer);
        self.next_step = self.next_step.saturating_add(plan.graph.len() as u32);
        self.machine.known.keep_selections(&|_| false);
        self.machine.explainer.save();
        match solved {
            Ok(mut outputs) => outputs.pop().ok_or_else(|| Error::new(Kind::System, "BUG: a build without a result")),
            Err(Failure::Stopped) => Err(Error::new(Kind::Interrupted, "interrupted; what was done is kept")),
            Err(Failure::Failed { error, .. }) if error.kind() == Kind::Lost => Err(error),
            Err(Failure::Failed { vertex, error }) => Err(picture::at_vertex(self.request, plan, vertex, error)),
        }
    }

    fn export(&mut self, images: &[Image]) -> Result<Exported> {
        self.export_all(images).map_err(|error| error.within(Kind::Export))
    }

    fn export_all(&mut self, images: &[Image]) -> Result<Exported> {
        let mut outputs = self.request.outputs.clone();
        if !self.request.names.is_empty() && !outputs.iter().any(|output| output.attributes.kind == "image") {
            let now = outputs.first().map_or_else(|| self.request.epoch.unwrap_or_else(now), |output| output.now);
            outputs.push(export::Wanted {
                attributes: Attributes::new("image", []),
                names: self.request.names.clone(),
                now,
                ..Default::default()
            });
        }
        let mut exported = Exported::default();
        for output in &outputs {
            let exporter = export::exporter(output)?;
            let step = StepId(self.next_step);
            self.next_step += 1;
            let progress = |what: &str, done: u64, total: u64| {
                self.event(&Event::Transfer { step, what: what.to_owned(), done, total: Some(total) });
            };
            let watch = export::Watch { progress: &progress, stop: &|| self.machine.stop.is_stopped() };
            let made = told(&*self.observer, step, exporter.title().to_owned(), || {
                if exporter.needs_bytes() {
                    let placed = exporter.place(images, &self.machine.layers, &watch);
                    self.machine.fetch_all(images, &placed, step.0)?;
                }
                exporter.export(images, &self.machine.layers, &watch)
            })?;
            exported.descriptor = made.descriptor.or(exported.descriptor);
            exported.names.extend(made.names);
        }
        Ok(exported)
    }

    fn write_files(&self, images: &[Image], exported: &Exported, timings: Option<&Timings>) -> Result<()> {
        let Some(first) = images.first() else { return Ok(()) };
        if let Some(path) = &self.request.iidfile {
            write_file(path, &first.id.to_string())?;
        }
        if let Some(path) = &self.request.metadata_file {
            let mut metadata = json!({"containerimage.config.digest": first.id.to_string()});
            if let Some(descriptor) = &exported.descriptor {
                metadata["containerimage.digest"] = json!(descriptor.digest().to_string());
                metadata["containerimage.descriptor"] = json!(descriptor);
            }
            let mut names = exported.names.clone();
            names.sort();
            names.dedup();
            if !names.is_empty() {
                metadata["image.name"] = json!(names.join(","));
            }
            if let Some(timings) = timings {
                metadata["kiln.timings"] = timings.json();
            }
            let text = serde_json::to_string_pretty(&metadata)
                .map_err(|cause| Error::new(Kind::Export, "cannot write the metadata").because(cause))?;
            write_file(path, &(text + "\n"))?;
        }
        Ok(())
    }
}

/// Writes what the user wants to have beside the image.
fn write_file(path: &Path, text: &str) -> Result<()> {
    outside::write(path, text.as_bytes()).at("write", path).map_err(|error| error.within(Kind::Export))
}

/// Whether the steps of a stage must run whatever the cache holds.
fn is_fresh(request: &BuildRequest, stage: &String) -> bool {
    request.no_cache || request.no_cache_filter.contains(stage)
}
