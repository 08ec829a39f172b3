//! From lines to a plan: stages, which of them the target needs, names, and the lowering of each in turn.
//!
//! Stages are lowered in the order of the file, without recursion, so ten thousand in a row are no matter. What
//! nobody needs is parsed (its syntax errors are errors) but neither expanded nor resolved.

use crate::diagnostic::{Diagnostic, closest};
use crate::expand::Expander;
use crate::instruction::from::From;
use crate::instruction::{self, Instruction};
use crate::line::{Document, Line};
use crate::op::{Op, Source};
use crate::plan::{Past, Plan, Request};
use crate::platform::Platform;
use crate::resolve::{Resolve, ResolveError, Resolved};
use crate::stage::{Stage, State, not_expanded};
use crate::text;
use solver::{Graph, Vertex, VertexId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Reads a Dockerfile: its lines, or everything that is wrong with them, in the order of the file.
pub fn read(source: &[u8]) -> Result<Document, Vec<Diagnostic>> {
    let (document, mut errors) = text::read(source);
    if errors.is_empty() {
        return Ok(document);
    }
    errors.extend(document.lines.iter().filter_map(|line| instruction::parse(line).err()));
    errors.sort_by_key(|error| error.span.as_ref().map_or(0, |span| span.bytes.start));
    Err(errors)
}

/// Makes the plan of a Dockerfile.
pub fn plan(document: &Document, request: &Request, resolve: &dyn Resolve) -> Result<Plan, Vec<Diagnostic>> {
    let (globals, stages) = stages(document)?;
    let mut planner = Planner {
        request,
        resolve,
        escape: document.escape,
        graph: Graph::default(),
        warnings: Vec::new(),
        by_name: BTreeMap::new(),
        states: stages.iter().map(|_| None).collect(),
        tops: vec![None; stages.len()],
        users: vec![0; stages.len()],
        stages,
        globals: defaults(request),
        sources: HashMap::new(),
    };
    for span in &document.empty_continuations {
        planner.warn(Diagnostic::warning("NoEmptyContinuation", "Empty continuation line", Some(span.clone())));
    }
    planner.plan(&globals).map_err(|error| vec![error])
}

/// A stage as it is written.
struct Definition {
    from: From,
    line: Line,
    instructions: Vec<(Instruction, Line)>,
    /// After expansion.
    base: String,
    platform: Option<Platform>,
    /// The stage that `base` names.
    base_stage: Option<usize>,
}

/// Everything that is known while a plan is made.
pub(crate) struct Planner<'a> {
    pub(crate) request: &'a Request,
    resolve: &'a dyn Resolve,
    pub(crate) escape: char,
    pub(crate) graph: Graph<Op>,
    warnings: Vec<Diagnostic>,
    stages: Vec<Definition>,
    by_name: BTreeMap<String, usize>,
    /// What a stage amounts to, until the last that stands on it has taken it.
    states: Vec<Option<State>>,
    /// The rootfs of a stage that is lowered; within, none for scratch without a layer.
    tops: Vec<Option<Option<VertexId>>>,
    /// How many will still ask for a stage's state.
    users: Vec<usize>,
    globals: Vec<(String, String)>,
    /// Vertices of images and contexts, by platform and name.
    sources: HashMap<String, VertexId>,
}

type Globals = Vec<(Instruction, Line)>;

/// Cuts the instructions into stages; every line that can't be read is an error.
fn stages(document: &Document) -> Result<(Globals, Vec<Definition>), Vec<Diagnostic>> {
    let (mut globals, mut stages, mut errors) = (Vec::new(), Vec::<Definition>::new(), Vec::new());
    for line in &document.lines {
        match (instruction::parse(line), stages.last_mut()) {
            (Err(error), _) => errors.push(error),
            (Ok(Instruction::From(from)), _) => stages.push(Definition {
                base: from.base.clone(),
                from,
                line: line.clone(),
                instructions: Vec::new(),
                platform: None,
                base_stage: None,
            }),
            (Ok(parsed), Some(stage)) => stage.instructions.push((parsed, line.clone())),
            (Ok(parsed @ Instruction::Arg(_)), None) => globals.push((parsed, line.clone())),
            (Ok(_), None) => {
                let message = format!("no build stage in current context: {} stands before the first FROM", line.name);
                errors.push(
                    Diagnostic::error("before-from", message, Some(line.span.clone())).help("only ARG may stand there"),
                );
            }
        }
    }
    if stages.is_empty() && errors.is_empty() {
        let error = Diagnostic::error("no-stage", "dockerfile contains no stages to build", None);
        errors.push(error.help("a Dockerfile needs at least one FROM"));
    }
    if errors.is_empty() { Ok((globals, stages)) } else { Err(errors) }
}

/// The names that have a value without being declared.
fn defaults(request: &Request) -> Vec<(String, String)> {
    let (build, target) = (&request.build_platform, &request.platform);
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let values = [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", String::new()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", String::new()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", request.target.clone().unwrap_or_else(|| "default".to_owned())),
    ];
    let given = |name: &str| request.build_args.get(name).cloned();
    values.into_iter().map(|(name, value)| (name.to_owned(), given(name).unwrap_or(value))).collect()
}

impl Planner<'_> {
    fn plan(mut self, globals: &Globals) -> Result<Plan, Diagnostic> {
        self.add_globals(globals)?;
        for index in 0..self.stages.len() {
            self.define(index)?;
        }
        let target = self.target()?;
        self.users[target] += 1;
        self.lower_needed(target)?;
        let state = self.states[target].take().unwrap_or_default();
        let mut config = state.image;
        for (name, value) in &self.request.labels {
            config.config.labels.get_or_insert_default().insert(name.clone(), value.clone());
        }
        let platform = Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
        };
        let warnings = self.warnings;
        Ok(Plan { graph: self.graph, target: state.top, config, history: state.history, platform, warnings })
    }

    fn add_globals(&mut self, globals: &Globals) -> Result<(), Diagnostic> {
        for (parsed, line) in globals {
            let Instruction::Arg(arg) = parsed else { continue };
            for (name, default) in &arg.args {
                let value = match (self.request.build_args.get(name), default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(self.expand_global(default, line)?),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    match self.globals.iter_mut().find(|(known, _)| known == name) {
                        Some((_, old)) => *old = value,
                        None => self.globals.push((name.clone(), value)),
                    }
                }
            }
        }
        Ok(())
    }

    fn expand_global(&self, word: &str, line: &Line) -> Result<String, Diagnostic> {
        let lookup = |name: &str| self.global(name);
        let expanded = Expander::new(self.escape, &lookup).word(word);
        expanded.map(|expanded| expanded.text).map_err(|error| not_expanded(line, word, &error))
    }

    /// Expands a FROM and finds the stage it stands on.
    fn define(&mut self, index: usize) -> Result<(), Diagnostic> {
        let definition = &self.stages[index];
        let (from, span) = (definition.from.clone(), definition.line.span.clone());
        let base = self.expand_global(&from.base, &definition.line)?;
        if base.is_empty() {
            let message = format!("base name ({}) should not be blank", from.base);
            return Err(Diagnostic::error("blank-base", message, Some(span))
                .help("declare the variable with ARG before the first FROM"));
        }
        let platform = match &from.platform {
            None => None,
            Some(written) => {
                let text = self.expand_global(written, &definition.line)?;
                if text.is_empty() {
                    let message = format!("empty platform value from expression {written}");
                    return Err(Diagnostic::error("platform", message, Some(span)));
                }
                Some(Platform::parse(&text).map_err(|cause| {
                    Diagnostic::error(
                        "platform",
                        format!("failed to parse platform {text}: {cause}"),
                        Some(span.clone()),
                    )
                    .help("write `linux/amd64`, `linux/arm64`, ...")
                })?)
            }
        };
        let base_stage = self.by_name.get(&base.to_lowercase()).copied();
        if let Some(stage) = base_stage {
            self.users[stage] += 1;
        }
        let definition = &mut self.stages[index];
        (definition.base, definition.platform, definition.base_stage) = (base, platform, base_stage);
        if let Some(name) = from.name {
            if from.written_name.as_ref() != Some(&name) {
                let message = format!("Stage name '{}' should be lowercase", from.written_name.unwrap_or_default());
                self.warn(Diagnostic::warning("StageNameCasing", message, Some(span.clone())));
            }
            if self.by_name.insert(name.clone(), index).is_some() {
                let message = format!("Duplicate stage name {name:?}, stage names should be unique");
                self.warn(Diagnostic::warning("DuplicateStageName", message, Some(span)));
            }
        }
        Ok(())
    }

    fn target(&self) -> Result<usize, Diagnostic> {
        let last = self.stages.len() - 1;
        let Some(name) = self.request.target.as_deref().filter(|name| !name.is_empty()) else { return Ok(last) };
        if let Some(index) = self.by_name.get(&name.to_lowercase()) {
            return Ok(*index);
        }
        let error = Diagnostic::error("target", format!("target stage {name:?} could not be found"), None);
        Err(match closest(name, self.by_name.keys().map(String::as_str)) {
            Some(near) => error.help(format!("did you mean `--target {near}`?")),
            None => error.help("give the stage a name: `FROM image AS name`"),
        })
    }

    /// The stage behind a name of `--from`.
    fn stage_of(&self, name: &str) -> Option<usize> {
        let named = self.by_name.get(&name.to_lowercase()).copied();
        named.or_else(|| name.parse().ok().filter(|index| *index < self.stages.len()))
    }

    fn needs(&self, index: usize) -> Vec<usize> {
        let definition = &self.stages[index];
        let sources = definition.instructions.iter().flat_map(|(instruction, _)| instruction.sources());
        sources.filter_map(|name| self.stage_of(name)).chain(definition.base_stage).collect()
    }

    /// Lowers all that a stage needs and that is not lowered yet, and the stage itself.
    fn lower_needed(&mut self, target: usize) -> Result<(), Diagnostic> {
        let mut needed = BTreeSet::from([target]);
        let mut todo = vec![target];
        while let Some(index) = todo.pop() {
            todo.extend(self.needs(index).into_iter().filter(|need| needed.insert(*need)));
        }
        self.refuse_circles(&needed)?;
        for index in needed {
            if self.tops[index].is_none() {
                self.lower(index)?;
            }
        }
        Ok(())
    }

    /// A circle is found by taking away, again and again, what needs nothing that is left.
    fn refuse_circles(&self, needed: &BTreeSet<usize>) -> Result<(), Diagnostic> {
        let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut open: BTreeMap<usize, usize> = BTreeMap::new();
        for &index in needed {
            let needs = self.needs(index);
            open.insert(index, needs.len());
            needs.into_iter().for_each(|need| users.entry(need).or_default().push(index));
        }
        let mut free: Vec<usize> = open.iter().filter(|(_, count)| **count == 0).map(|(index, _)| *index).collect();
        while let Some(index) = free.pop() {
            open.remove(&index);
            for user in users.remove(&index).unwrap_or_default() {
                if let Some(count) = open.get_mut(&user) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(user);
                    }
                }
            }
        }
        match open.keys().next() {
            None => Ok(()),
            Some(&index) => {
                let message = format!("circular dependency detected on stage: {}", self.stage_name(index));
                let error = Diagnostic::error("circular", message, Some(self.stages[index].line.span.clone()));
                Err(error.note(self.circle(index, &open)).help("take the files from a stage before both"))
            }
        }
    }

    /// The way from a stage of a circle back to where it meets itself, in words.
    fn circle(&self, start: usize, open: &BTreeMap<usize, usize>) -> String {
        const MOST_SHOWN: usize = 10;
        let (mut way, mut at) = (vec![self.stage_name(start)], start);
        let mut seen = BTreeSet::from([start]);
        while let Some(next) = self.needs(at).into_iter().find(|need| open.contains_key(need)) {
            way.push(self.stage_name(next));
            at = next;
            if !seen.insert(next) || way.len() > MOST_SHOWN {
                break;
            }
        }
        format!("it needs {}", way[1..].join(", which needs "))
    }

    fn lower(&mut self, index: usize) -> Result<(), Diagnostic> {
        let line = self.stages[index].line.clone();
        let (state, triggers) = self.base_state(index, &line)?.inherited();
        let mut instructions = Vec::new();
        for trigger in &triggers {
            let (instruction, mut parsed) = parse_trigger(trigger, &line)?;
            // A trigger stands nowhere in this file but at its FROM.
            parsed.span = line.span.clone();
            for need in instruction.sources().into_iter().filter_map(|name| self.stage_of(name)).collect::<Vec<_>>() {
                if need < index {
                    self.lower_needed(need)?;
                }
            }
            instructions.push((instruction, parsed, true));
        }
        let own = std::mem::take(&mut self.stages[index].instructions);
        instructions.extend(own.into_iter().map(|(instruction, line)| (instruction, line, false)));
        let total = 1 + instructions.iter().filter(|(instruction, ..)| instruction.counts()).count();
        let had = BTreeMap::new();
        let mut stage = Stage { planner: self, state, index, count: (1, total), line, triggered: false, had };
        for (instruction, line, triggered) in instructions {
            (stage.line, stage.triggered) = (line, triggered);
            instruction::lower(&instruction, &mut stage)?;
        }
        let state = stage.state;
        self.tops[index] = Some(state.top);
        self.states[index] = Some(state);
        Ok(())
    }

    /// What a stage begins with.
    fn base_state(&mut self, index: usize, line: &Line) -> Result<State, Diagnostic> {
        let definition = &self.stages[index];
        let platform = definition.platform.clone().unwrap_or_else(|| self.request.platform.clone());
        let (base, name, base_stage) = (definition.base.clone(), definition.from.name.clone(), definition.base_stage);
        // A named context of the stage's own name stands for the whole stage.
        if let Some(name) = name {
            let named = self.resolve.named(&name, &platform).map_err(|error| refused(error, line))?;
            if let Some(resolved) = named {
                self.stages[index].instructions.clear();
                return self.state_of(resolved, &platform, index);
            }
        }
        if let Some(stage) = base_stage {
            return Ok(self.take_or_clone(stage));
        }
        if base == "scratch" {
            return Ok(State::scratch(&platform));
        }
        let resolved = self.ask(&base, &platform, line)?;
        self.state_of(resolved, &platform, index)
    }

    /// The state of a stage for one that stands on it. The last to ask gets it without a copy: of ten thousand
    /// stages in a row each would otherwise copy the history of all before it.
    fn take_or_clone(&mut self, stage: usize) -> State {
        self.users[stage] = self.users[stage].saturating_sub(1);
        let state = &mut self.states[stage];
        let state = if self.users[stage] == 0 { state.take() } else { state.clone() };
        state.unwrap_or_default()
    }

    fn ask(&self, name: &str, platform: &Platform, line: &Line) -> Result<Resolved, Diagnostic> {
        let named = self.resolve.named(name, platform).map_err(|error| refused(error, line))?;
        match named {
            Some(resolved) => Ok(resolved),
            None => self.resolve.image(name, platform).map_err(|error| refused(error, line)),
        }
    }

    fn state_of(&mut self, resolved: Resolved, platform: &Platform, index: usize) -> Result<State, Diagnostic> {
        match resolved {
            Resolved::Image { name, digest, config } => {
                let shown = format!("FROM {name}@{digest}");
                let total = 1 + self.stages[index].instructions.iter().filter(|(one, _)| one.counts()).count();
                let shown = self.step_name(index, (1, total), false, &shown);
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

    /// What `--from=name` or `from=name` means in a stage.
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

    pub(crate) fn global(&self, name: &str) -> Option<String> {
        self.globals.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn warn(&mut self, warning: Diagnostic) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The stage's name, or `stage-2`.
    pub(crate) fn stage_name(&self, index: usize) -> String {
        self.stages[index].from.name.clone().unwrap_or_else(|| format!("stage-{index}"))
    }

    /// `[build 2/4] RUN make`.
    pub(crate) fn step_name(&self, index: usize, (step, total): (usize, usize), triggered: bool, text: &str) -> String {
        let platform =
            if self.request.several_platforms { format!("{} ", self.request.platform) } else { String::new() };
        let named = self.stages.len() > 1 || self.stages[index].from.name.is_some();
        let stage = if named { self.stage_name(index) + " " } else { String::new() };
        let width = total.to_string().len();
        let trigger = if triggered { "ONBUILD " } else { "" };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("[{platform}{stage}{step:width$}/{total}] {trigger}{text}")
    }
}

fn refused(error: ResolveError, line: &Line) -> Diagnostic {
    let diagnostic = Diagnostic::error("source", error.message, Some(line.span.clone()));
    match error.hint {
        Some(hint) => diagnostic.help(hint),
        None => diagnostic,
    }
}

fn parse_trigger(trigger: &str, line: &Line) -> Result<(Instruction, Line), Diagnostic> {
    let place = |error: Diagnostic| Diagnostic {
        message: format!("in the ONBUILD trigger `{trigger}` of the base: {}", error.message),
        span: Some(line.span.clone()),
        ..error
    };
    let parsed = text::parse_trigger(trigger).map_err(|mut errors| place(errors.remove(0)))?;
    let instruction = instruction::parse(&parsed).map_err(place)?;
    match instruction {
        Instruction::From(_) | Instruction::Onbuild(_) | Instruction::Maintainer(_) => Err(place(Diagnostic::error(
            "onbuild",
            format!("{} isn't allowed as an ONBUILD trigger", parsed.name),
            None,
        ))),
        instruction => Ok((instruction, parsed)),
    }
}
