//! From lines to a plan: stages, which of them the target needs, names, and the lowering of each in turn.
//!
//! Stages are lowered in the order of the file, without recursion, so ten thousand in a row are no matter. What
//! nobody needs is parsed (its syntax errors are errors) but neither expanded nor resolved.

mod circles;
mod names;
mod sources;

use crate::check::{Checker, Fact, Options};
use crate::diagnostic::Diagnostic;
use crate::instruction::from::From;
use crate::instruction::{self, Instruction};
use crate::line::{Document, Line};
use crate::op::Op;
use crate::outline::{self, Seen};
use crate::plan::{Plan, Request};
use crate::platform::Platform;
use crate::remote::redacted;
use crate::resolve::Resolve;
use crate::stage::{Stage, State};
use crate::text;
use base::words::closest;
use solver::{Graph, VertexId};
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

/// The default of an ARG before the first FROM. None if there is no such ARG, or the Dockerfile can't be read.
pub fn global_default(source: &[u8], name: &str) -> Option<String> {
    let document = read(source).ok()?;
    let (globals, _) = stages(&document).ok()?;
    let args = globals.into_iter().filter_map(|(parsed, _)| match parsed {
        Instruction::Arg(arg) => Some(arg.args),
        _ => None,
    });
    let mut values = args.flatten().filter(|(known, _)| known == name).filter_map(|(_, default)| default);
    values.next_back().filter(|text| !text.is_empty())
}

/// Makes the plan of a Dockerfile.
pub fn plan(document: &Document, request: &Request, resolve: &dyn Resolve) -> Result<Plan, Vec<Diagnostic>> {
    let (plan, warnings) = planned(document, request, resolve);
    plan.map(|plan| Plan { warnings, ..plan })
}

/// The suspicious things of a Dockerfile, and its faults.
pub fn check(
    document: &Document,
    request: &Request,
    resolve: &dyn Resolve,
) -> (Vec<Diagnostic>, Result<Plan, Vec<Diagnostic>>) {
    let (plan, mut warnings) = planned(document, request, resolve);
    warnings.sort_by_key(|found| found.span.as_ref().map_or((0, 0), |span| (span.lines.0, span.bytes.start)));
    (warnings, plan)
}

fn planned(
    document: &Document,
    request: &Request,
    resolve: &dyn Resolve,
) -> (Result<Plan, Vec<Diagnostic>>, Vec<Diagnostic>) {
    let options = match options(document, request) {
        Ok(options) => options,
        Err(error) => return (Err(vec![error]), Vec::new()),
    };
    let mut checker = Checker { options, found: Vec::new() };
    checker.tell(&Fact::File(document), None);
    let (globals, stages) = match stages(document) {
        Ok(parts) => parts,
        Err(errors) => return (Err(errors), checker.found),
    };
    let last = stages.last().and_then(|stage| stage.from.name.as_deref());
    let defaults = names::defaults(request, last);
    let mut planner = Planner {
        request,
        resolve,
        escape: document.escape,
        graph: Graph::default(),
        checker,
        by_name: BTreeMap::new(),
        states: stages.iter().map(|_| None).collect(),
        tops: vec![None; stages.len()],
        users: vec![0; stages.len()],
        seen: vec![Seen::default(); stages.len()],
        stages,
        globals: defaults,
        declared: Vec::new(),
        global_args: BTreeMap::new(),
        sources: HashMap::new(),
    };
    let plan = planner.plan(&globals).map_err(|error| vec![error]);
    (plan, planner.checker.found)
}

/// The options of checks, from `--build-arg BUILDKIT_DOCKERFILE_CHECK`, else from the directive.
fn options(document: &Document, request: &Request) -> Result<Options, Diagnostic> {
    let given = request.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
    let directive = document.directives.check.as_ref();
    // Text behind a blank is a remark.
    let written = directive.map(|word| word.text.split(' ').next().unwrap_or(""));
    let text = given.map(String::as_str).or(written).unwrap_or("");
    let span = directive.filter(|_| given.is_none()).map(|word| word.span.clone());
    let mut options = Options::parse(text).map_err(|message| {
        Diagnostic::error("check-option", format!("failed to parse check options: {message}"), span)
            .help("write `skip=RULE,RULE`, `error=true` or `experimental=RULE`, with `;` between them")
    })?;
    options.own = request.checks.asked;
    Ok(options)
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
    pub(crate) checker: Checker,
    stages: Vec<Definition>,
    by_name: BTreeMap<String, usize>,
    /// The final state of each stage, until the last that stands on it has taken it.
    states: Vec<Option<State>>,
    /// The rootfs of a stage that is lowered; within, none for scratch without a layer.
    tops: Vec<Option<Option<VertexId>>>,
    /// How many will still ask for a stage's state.
    users: Vec<usize>,
    globals: Vec<(String, String)>,
    /// ARGs before the first FROM without a value.
    declared: Vec<String>,
    /// The inputs of every stage, for people.
    pub(crate) seen: Vec<Seen>,
    /// ARGs before the first FROM, for people.
    global_args: BTreeMap<String, outline::Global>,
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

impl Planner<'_> {
    fn plan(&mut self, globals: &Globals) -> Result<Plan, Diagnostic> {
        self.check_defaults(globals);
        self.add_globals(globals)?;
        for index in 0..self.stages.len() {
            self.define(index)?;
        }
        let target = self.target()?;
        self.users[target] += 1;
        if self.request.checks.asked && self.request.target.is_none() {
            (0..self.stages.len()).try_for_each(|stage| self.lower_needed(stage))?;
        }
        self.lower_needed(target)?;
        if let Some(refusal) = self.checker.refusal() {
            return Err(refusal);
        }
        let state = self.states[target].take().unwrap_or_default();
        let mut config = state.image;
        for (name, value) in &self.request.labels {
            config.config.labels.get_or_insert_default().insert(name.clone(), value.clone());
        }
        if self.request.platform_given {
            config.set_platform(&self.request.platform);
        }
        let platform = Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
        };
        let graph = std::mem::take(&mut self.graph);
        let mut outline = outline::collect(&self.seen, &self.global_args, target);
        let definition = &self.stages[target];
        outline.name = definition.from.name.clone().unwrap_or_default();
        outline.description = outline::description(&definition.line.comments, &outline.name);
        let (target, history, base_layers) = (state.top, state.history, state.base_layers);
        Ok(Plan { graph, outline, target, config, history, base_layers, platform, warnings: Vec::new() })
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

    fn lower(&mut self, index: usize) -> Result<(), Diagnostic> {
        self.seen[index].needs = self.needs(index);
        let line = self.stages[index].line.clone();
        let (state, from) = self.base_state(index, &line)?;
        let (state, triggers) = state.inherited();
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
        // As BuildKit counts them: every trigger, and of the stage's own instructions those that are steps.
        let counts = |(instruction, _, triggered): &&(Instruction, Line, bool)| *triggered || instruction.counts();
        let count = (from.numbers, from.total + instructions.iter().filter(counts).count());
        let had = BTreeMap::new();
        let mut stage = Stage { planner: self, state, index, count, line, triggered: false, had };
        for (instruction, line, triggered) in instructions {
            (stage.line, stage.triggered) = (line, triggered);
            instruction::lower(&instruction, &mut stage)?;
        }
        let state = stage.state;
        self.tops[index] = Some(state.top);
        self.states[index] = Some(state);
        Ok(())
    }

    /// The state of a stage for one that stands on it. The last to ask gets it without a copy: of ten thousand
    /// stages in a row each would otherwise copy the history of all before it.
    fn take_or_clone(&mut self, stage: usize) -> State {
        self.users[stage] = self.users[stage].saturating_sub(1);
        let state = &mut self.states[stage];
        let state = if self.users[stage] == 0 { state.take() } else { state.clone() };
        state.unwrap_or_default()
    }

    pub(crate) fn global(&self, name: &str) -> Option<String> {
        self.globals.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
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
        let text = redacted(&text.split_whitespace().collect::<Vec<_>>().join(" "));
        format!("[{platform}{stage}{step:width$}/{total}] {trigger}{text}")
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
