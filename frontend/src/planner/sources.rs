//! The things behind names: the base of a stage, `--from`, contexts. Asks the resolver; equal sources are one vertex.

use super::Planner;
use crate::check::Fact;
use crate::config::ImageConfig;
use crate::diagnostic::Diagnostic;
use crate::line::{Line, Span};
use crate::op::{Op, Source};
use crate::plan::Past;
use crate::platform::Platform;
use crate::reference::is_reference;
use crate::remote::Remote;
use crate::resolve::{ResolveError, Resolved};
use crate::stage::State;
use base::words::closest;
use solver::{Vertex, VertexId};

/// The place of a stage's FROM among its steps, as BuildKit counts them: a FROM of another stage, or of scratch, is none.
/// One of a named context counts in the total and has no number, for it is not shown as a FROM.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FromSteps {
    /// Numbers that it takes.
    pub(super) numbers: usize,
    /// Its part of the total.
    pub(super) total: usize,
}

impl Planner<'_> {
    /// The state that a stage begins with.
    pub(super) fn base_state(&mut self, index: usize, line: &Line) -> Result<(State, FromSteps), Diagnostic> {
        let definition = &self.stages[index];
        let platform = definition.platform.clone().unwrap_or_else(|| self.request.platform.clone());
        let (base, name, base_stage) = (definition.base.clone(), definition.from.name.clone(), definition.base_stage);
        // A named context of the stage's own name stands for the whole stage.
        if let Some(name) = name {
            let named = self.resolve.named(&name, &platform).map_err(|error| refused(error, line))?;
            if let Some(resolved) = named {
                self.stages[index].instructions.clear();
                return Ok((self.state_of(resolved, &platform, index, true)?, FromSteps::default()));
            }
        }
        if let Some(stage) = base_stage {
            return Ok((self.take_or_clone(stage), FromSteps::default()));
        }
        if base == "scratch" {
            return Ok((State::scratch(&platform), FromSteps::default()));
        }
        let named = self.resolve.named(&base, &platform).map_err(|error| refused(error, line))?;
        let is_named = named.is_some();
        let resolved = match named {
            Some(resolved) => resolved,
            None if is_reference(&base) => self.ask(&base, &platform, line)?,
            None => return Err(no_reference(&base, line)),
        };
        let empty = matches!(&resolved, Resolved::Image { config, .. } if config.rootfs.diff_ids.is_empty());
        let steps = FromSteps { numbers: usize::from(!is_named && !empty), total: 1 };
        Ok((self.state_of(resolved, &platform, index, is_named)?, steps))
    }

    fn ask(&self, name: &str, platform: &Platform, line: &Line) -> Result<Resolved, Diagnostic> {
        let named = self.resolve.named(name, platform).map_err(|error| refused(error, line))?;
        match named {
            Some(resolved) => Ok(resolved),
            None => self.resolve.image(name, platform).map_err(|error| refused(error, line)),
        }
    }

    fn state_of(
        &mut self,
        resolved: Resolved,
        platform: &Platform,
        index: usize,
        named: bool,
    ) -> Result<State, Diagnostic> {
        match resolved {
            Resolved::Image { name, digest, config } => {
                self.check_came(&config, platform, index);
                let total = 1 + self.stages[index].instructions.iter().filter(|(one, _)| one.counts()).count();
                let shown = match named {
                    true => format!("[context {}] {name}@{digest}", self.stages[index].base),
                    // An image without layers is as good as scratch.
                    false if config.rootfs.diff_ids.is_empty() => String::new(),
                    false => self.step_name(index, (1, total), false, &format!("FROM {name}@{digest}")),
                };
                Ok(State::image(*config, self.image(name, digest, platform, shown)))
            }
            Resolved::Context { name } => {
                let context = self.context(&name);
                let sources = vec![crate::op::CopySource::Path { input: 0, path: "/".to_owned() }];
                let copy = crate::op::Copy { link: true, sources, dest: "/".to_owned(), ..Default::default() };
                let shown = format!("[context {name}] load");
                let vertex = Vertex {
                    op: Op::Copy(copy),
                    inputs: vec![context],
                    name: shown,
                    stage: String::new(),
                    lines: None,
                };
                let created_by = format!("FROM {name}");
                let top = self.graph.push(vertex);
                let mut state = State::scratch(platform);
                (state.top, state.history) = (Some(top), vec![Past::New { created_by, vertex: Some(top) }]);
                Ok(state)
            }
        }
    }

    /// Tells which platform came for the one that was asked for.
    fn check_came(&mut self, config: &ImageConfig, wanted: &Platform, index: usize) {
        let (os, architecture) = (config.os.clone(), config.architecture.clone());
        let came = Platform { os, architecture, variant: config.variant.clone() };
        let definition = &self.stages[index];
        let fact = Fact::Resolved { name: &definition.base, wanted, came: &came };
        self.checker.tell(&fact, Some(&definition.line));
    }

    fn image(&mut self, name: String, digest: String, platform: &Platform, shown: String) -> VertexId {
        let key = format!("{platform} {digest}");
        if let Some(known) = self.sources.get(&key) {
            return *known;
        }
        let op = Op::Source(Source::Image { name, digest, platform: platform.clone() });
        let id = self.graph.push(Vertex { op, inputs: Vec::new(), name: shown, stage: String::new(), lines: None });
        self.sources.insert(key, id);
        id
    }

    /// The vertex of a directory of the user.
    pub(crate) fn context(&mut self, name: &str) -> VertexId {
        let key = format!("context {name}");
        if let Some(known) = self.sources.get(&key) {
            return *known;
        }
        let op = Op::Source(Source::Context { name: name.to_owned() });
        let id =
            self.graph.push(Vertex { op, inputs: Vec::new(), name: String::new(), stage: String::new(), lines: None });
        self.sources.insert(key, id);
        id
    }

    /// The directory that holds what lies elsewhere.
    pub(crate) fn remote(&mut self, remote: &Remote, place: &Span) -> Result<VertexId, Diagnostic> {
        let refused = |error: ResolveError| {
            let found = Diagnostic::error("remote", error.message, Some(place.clone()));
            match error.hint {
                Some(hint) => found.help(hint),
                None => found,
            }
        };
        match self.resolve.remote(remote).map_err(refused)? {
            Resolved::Context { name } => Ok(self.context(&name)),
            Resolved::Image { name, .. } => {
                Err(Diagnostic::error("remote", format!("{name} is an image"), Some(place.clone())))
            }
        }
    }

    /// The vertex that `--from=name` or `from=name` means in a stage.
    pub(crate) fn named(&mut self, name: &str, index: usize, line: &Line) -> Result<VertexId, Diagnostic> {
        if let Some(stage) = self.stage_of(name) {
            let Some(top) = self.tops[stage].filter(|_| stage < index) else {
                let message = format!(
                    "cannot copy from stage {name:?}, it needs to be defined before current stage {:?}",
                    self.stage_name(index)
                );
                let error = Diagnostic::error("later-stage", message, Some(line.span.clone()));
                return Err(error.help("move that stage up"));
            };
            return Ok(top.unwrap_or_else(|| self.empty()));
        }
        if name == "scratch" {
            return Ok(self.empty());
        }
        let platform = self.stages[index].platform.clone().unwrap_or_else(|| self.request.platform.clone());
        let resolved = self.ask(name, &platform, line).map_err(|error| {
            match closest(name, self.by_name.keys().map(String::as_str)) {
                Some(near) => error.note(format!("there is a stage `{near}`")),
                None => error,
            }
        })?;
        match resolved {
            Resolved::Image { name, digest, .. } => Ok(self.image(name, digest, &platform, String::new())),
            Resolved::Context { name } => Ok(self.context(&name)),
        }
    }

    /// A rootfs without anything in it.
    fn empty(&mut self) -> VertexId {
        let copy = crate::op::Copy { link: true, dest: "/".to_owned(), ..Default::default() };
        let vertex =
            Vertex { op: Op::Copy(copy), inputs: Vec::new(), name: String::new(), stage: String::new(), lines: None };
        self.graph.push(vertex)
    }
}

fn no_reference(base: &str, line: &Line) -> Diagnostic {
    let place = line.args.first().map_or(&line.span, |word| &word.span);
    let message = format!("failed to parse stage name {base:?}: invalid reference format");
    let error = Diagnostic::error("reference", message, Some(place.clone()));
    match base.to_lowercase() {
        lower if lower != base && is_reference(&lower) => error.help("names of images are written in lower case"),
        _ => error.help("a name looks like `debian:12`, `registry.example.com/team/image:tag` or `image@sha256:...`"),
    }
}

fn refused(error: ResolveError, line: &Line) -> Diagnostic {
    let diagnostic = Diagnostic::error("source", error.message, Some(line.span.clone()));
    match error.hint {
        Some(hint) => diagnostic.help(hint),
        None => diagnostic,
    }
}
