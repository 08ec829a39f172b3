//! One stage while it is lowered: the narrow surface through which instructions act, and the state that a stage
//! hands on to those that stand on it.

use crate::check::Fact;
use crate::config::{History, ImageConfig, RunConfig};
use crate::diagnostic::Diagnostic;
use crate::expand::Expander;
use crate::line::{Line, Span, Word};
use crate::op::{self, CopySource, Input, Network, Op};
use crate::outline;
use crate::plan::Past;
use crate::planner::Planner;
use crate::platform::Platform;
use crate::remote::Remote;
use base::words::closest_name;
use solver::{Vertex, VertexId};
use std::collections::BTreeMap;

/// The PATH of images that set none (BuildKit's `system.DefaultPathEnvUnix`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where files come from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// The build context.
    Context,
    /// A stage, an image or a named context.
    Named(String),
}

/// A stage after some of its instructions.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) image: ImageConfig,
    pub(crate) history: Vec<Past>,
    /// The diff ids of the base image's layers.
    pub(crate) base_layers: Vec<String>,
    /// The rootfs; none on scratch before the first layer.
    pub(crate) top: Option<VertexId>,
    /// ENV and ARG values, in order.
    env: Vec<(String, String)>,
    /// ARGs, for the history of RUN.
    args: Vec<(String, Option<String>)>,
    workdir_set: bool,
}

impl State {
    /// The state of `FROM scratch`.
    pub(crate) fn scratch(platform: &Platform) -> State {
        let image = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: RunConfig { working_dir: "/".to_owned(), ..RunConfig::default() },
            ..ImageConfig::default()
        };
        State { image, ..State::default() }.with_path()
    }

    /// The state of a base image.
    pub(crate) fn image(mut image: ImageConfig, top: VertexId) -> State {
        let history: Vec<History> = std::mem::take(&mut image.history);
        let base_layers = std::mem::take(&mut image.rootfs.diff_ids);
        image.created = None;
        image.normalise_platform();
        // As in BuildKit what nobody knows is not taken over: an inline cache would be that of another image.
        image.other.retain(|name, _| matches!(name.as_str(), "os.version" | "os.features"));
        image.config.other.clear();
        let history = history.into_iter().map(Past::Base).collect();
        State { image, history, base_layers, top: Some(top), ..State::default() }.with_path()
    }

    fn with_path(mut self) -> State {
        let env = self.image.config.env.get_or_insert_default();
        if !env.iter().any(|pair| pair.starts_with("PATH=")) {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let pairs = env.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        self.env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self
    }

    /// The first state of a stage on this one, and the triggers that it has to run.
    pub(crate) fn inherited(mut self) -> (State, Vec<String>) {
        let triggers = self.image.config.on_build.take().unwrap_or_default();
        (self, triggers)
    }

    fn set(list: &mut Vec<(String, String)>, name: &str, value: &str) {
        match list.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => list.push((name.to_owned(), value.to_owned())),
        }
    }
}

/// A stage being lowered.
pub(crate) struct Stage<'p, 'a> {
    pub(crate) planner: &'p mut Planner<'a>,
    pub(crate) state: State,
    /// Its number.
    pub(crate) index: usize,
    /// Steps so far and in all, for people.
    pub(crate) count: (usize, usize),
    /// The instruction at hand.
    pub(crate) line: Line,
    /// It came from a base's ONBUILD.
    pub(crate) triggered: bool,
    /// Where instructions that count once were seen.
    pub(crate) had: BTreeMap<&'static str, Line>,
}

impl Stage<'_, '_> {
    /// An error at the instruction at hand.
    pub(crate) fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message, Some(self.line.span.clone()))
    }

    /// An error at a word of the instruction at hand.
    pub(crate) fn error_at(&self, code: &'static str, word: &str, message: impl Into<String>) -> Diagnostic {
        let args = self.line.args.iter().map(|arg| (arg.text.as_str(), &arg.span));
        let flags = self.line.flags.iter().filter_map(|flag| Some((flag.value.as_deref()?, &flag.span)));
        let place = args.chain(flags).find(|(text, _)| *text == word).map_or(&self.line.span, |(_, span)| span);
        Diagnostic::error(code, message, Some(place.clone()))
    }

    /// Tells the checks about the instruction at hand.
    pub(crate) fn tell(&mut self, fact: &Fact<'_>) {
        self.planner.checker.tell(fact, Some(&self.line));
    }

    /// Tells the checks where the stage's paths count from; now they count from here.
    pub(crate) fn tell_of_workdir(&mut self, path: &str) {
        let based = std::mem::replace(&mut self.state.workdir_set, true);
        self.tell(&Fact::Workdir { path, based });
    }

    /// A pair of ENV or LABEL; `legacy` without `=`.
    pub(crate) fn tell_of_pair(&mut self, name: &str, legacy: bool) {
        let line = &self.line;
        self.planner.checker.tell(&Fact::Pair { instruction: &line.written, name, legacy }, Some(line));
    }

    /// Notes a need of a RUN that the user or the machine meets.
    pub(crate) fn keep_need(&mut self, mount: &op::Mount) {
        let seen = &mut self.planner.seen[self.index];
        let (list, name, required) = match &mount.kind {
            op::MountKind::Secret { id, required, .. } => (&mut seen.secrets, id, *required),
            op::MountKind::Ssh { id, required, .. } => (&mut seen.ssh, id, *required),
            op::MountKind::Cache { id, .. } => (&mut seen.caches, id, false),
            _ => return,
        };
        list.push(outline::Need { name: name.clone(), required, lines: self.line.span.lines });
    }

    /// True if the stage has had such an instruction.
    pub(crate) fn has_had(&self, name: &str) -> bool {
        self.had.contains_key(name)
    }

    /// Only the last of these has an effect: the one before is told of.
    pub(crate) fn tell_if_repeated(&mut self, name: &'static str) {
        if let Some(before) = self.had.insert(name, self.line.clone()) {
            self.planner.checker.tell(&Fact::Repeated { instruction: &self.line.written }, Some(&before));
        }
    }

    /// A text is run by a shell, which does not pass signals on.
    pub(crate) fn tell_of_shell_form(&mut self) {
        if self.state.image.config.shell.as_ref().is_none_or(Vec::is_empty) {
            self.planner.checker.tell(&Fact::ShellForm { instruction: &self.line.written }, Some(&self.line));
        }
    }

    /// A path is copied from the context.
    pub(crate) fn tell_of_copied(&mut self, path: &str) {
        let request = self.planner.request;
        let line = Some(&self.line);
        if let Some(ignore) = &request.checks.ignore {
            let fact = Fact::Copied { instruction: &self.line.name, path, ignore };
            self.planner.checker.tell(&fact, line);
        }
        if matches!(path, "." | "./" | "/") && !request.checks.top.is_empty() {
            self.planner.checker.tell(&Fact::NoIgnoreFile { names: &request.checks.top }, line);
        }
    }

    /// The config of the image so far.
    pub(crate) fn config(&mut self) -> &mut RunConfig {
        &mut self.state.image.config
    }

    pub(crate) fn set_author(&mut self, name: &str) {
        self.state.image.author = Some(name.to_owned());
    }

    /// A variable of the image and of later steps.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let pairs = self.state.image.config.env.get_or_insert_default();
        let pair = format!("{name}={value}");
        match pairs.iter_mut().find(|old| old.split('=').next() == Some(name)) {
            Some(old) => *old = pair,
            None => pairs.push(pair),
        }
        State::set(&mut self.state.env, name, value);
    }

    /// An ARG: seen by later steps, not by the image; `taken` from before the first FROM.
    pub(crate) fn declare(&mut self, name: &str, value: Option<String>, taken: bool) {
        let seen = &mut self.planner.seen[self.index];
        if taken {
            seen.globals.insert(name.to_owned());
        } else {
            let description = outline::description(&self.line.comments, name);
            let (name, value, lines) = (name.to_owned(), value.clone(), self.line.span.lines);
            seen.args.push(outline::Arg { name, value, description, lines });
        }
        if let Some(value) = &value {
            State::set(&mut self.state.env, name, value);
        }
        self.state.args.push((name.to_owned(), value));
    }

    /// The value that the user gave an ARG.
    pub(crate) fn build_arg(&self, name: &str) -> Option<String> {
        self.planner.request.build_args.get(name).cloned()
    }

    /// The value an ARG has before the first FROM, or that kiln gives it.
    pub(crate) fn global_arg(&self, name: &str) -> Option<String> {
        self.planner.global(name)
    }

    /// A word with quotes resolved and variables replaced.
    pub(crate) fn expand(&mut self, word: &str) -> Result<String, Diagnostic> {
        self.expander(word, |expander| expander.word(word).map(|expanded| (expanded.text, expanded.undefined)))
    }

    /// The body of a here-document with variables replaced.
    pub(crate) fn expand_heredoc(&mut self, text: &str) -> Result<String, Diagnostic> {
        self.expander(text, |expander| expander.heredoc(text).map(|expanded| (expanded.text, expanded.undefined)))
    }

    /// The words a word becomes.
    pub(crate) fn expand_words(&mut self, word: &str) -> Result<Vec<String>, Diagnostic> {
        self.expander(word, |expander| expander.words(word).map(|words| (words, Vec::new())))
    }

    fn expander<T>(
        &mut self,
        word: &str,
        run: impl FnOnce(&Expander<'_>) -> Result<(T, Vec<String>), crate::expand::ExpandError>,
    ) -> Result<T, Diagnostic> {
        let env = &self.state.env;
        let lookup = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let done = run(&Expander::new(self.planner.escape, &lookup));
        match done {
            Ok((value, undefined)) => {
                undefined.iter().for_each(|name| self.warn_of_undefined(name));
                Ok(value)
            }
            Err(error) => Err(not_expanded(&self.line, word, &error)),
        }
    }

    fn warn_of_undefined(&mut self, name: &str) {
        if self.state.args.iter().any(|(known, _)| known == name) || self.triggered {
            return;
        }
        let near = closest_name(name, self.state.env.iter().map(|(known, _)| known.as_str()));
        self.planner.checker.tell(&Fact::Undefined { name, near }, Some(&self.line));
    }

    /// The shell's words before a text.
    pub(crate) fn with_shell(&self, text: &str) -> Vec<String> {
        let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        let mut words = self.state.image.config.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(default);
        words.push(text.to_owned());
        words
    }

    /// The working directory, absolute and clean.
    pub(crate) fn workdir(&self) -> String {
        join("/", &self.state.image.config.working_dir)
    }

    /// The working directory as it is written, absolute: a process is started there, so each `..` counts from where a
    /// link before it leads.
    pub(crate) fn written_workdir(&self) -> String {
        let dir = &self.state.image.config.working_dir;
        if dir.starts_with('/') { dir.clone() } else { join("/", dir) }
    }

    pub(crate) fn top(&self) -> Option<VertexId> {
        self.state.top
    }

    /// The environment of a RUN.
    pub(crate) fn run_env(&self) -> Vec<(String, String)> {
        self.state.env.clone()
    }

    /// The arguments in front of a RUN's command in the history: `|2 A=1 B= `.
    pub(crate) fn run_history(&self, command: &[String]) -> String {
        let mut args: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.state.args {
            let seen = self.state.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            State::set(&mut args, name, &seen.or_else(|| value.clone()).unwrap_or_default());
        }
        let mut words: Vec<String> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !words.is_empty() {
            words.insert(0, format!("|{}", args.len()));
        }
        words.extend(command.iter().cloned());
        words.join(" ")
    }

    /// Proxy variables of the user, in both spellings.
    pub(crate) fn proxy(&self) -> Vec<(String, String)> {
        const NAMES: &[&str] = &["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];
        let given = &self.planner.request.build_args;
        let mut proxy = Vec::new();
        for (name, value) in given.iter().filter(|(name, _)| NAMES.contains(&name.to_lowercase().as_str())) {
            State::set(&mut proxy, &name.to_uppercase(), value);
            State::set(&mut proxy, &name.to_lowercase(), value);
        }
        proxy
    }

    pub(crate) fn network(&self) -> Network {
        self.planner.request.network
    }
    pub(crate) fn hosts(&self) -> Vec<(String, String)> {
        self.planner.request.hosts.clone()
    }
    /// The platform of the rootfs's programs.
    pub(crate) fn platform(&self) -> Platform {
        let image = &self.state.image;
        Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant: image.variant.clone() }
    }
    pub(crate) fn hostname(&self) -> String {
        let given = self.planner.request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").filter(|name| !name.is_empty());
        given.cloned().unwrap_or_else(|| "buildkitsandbox".to_owned())
    }
    /// The name of a cache mount within the user's namespace of such names.
    pub(crate) fn cache_id(&self, id: &str) -> String {
        let namespace = self.planner.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS").map_or("", String::as_str);
        format!("{namespace}/{id}")
    }

    /// Puts an op on the stage: its rootfs is the first input, where there is one.
    pub(crate) fn push(&mut self, name: &str, op: impl FnOnce(Option<Input>) -> Op, inputs: &[VertexId]) -> VertexId {
        self.count.0 += 1;
        let base = self.state.top;
        let inputs: Vec<VertexId> = base.into_iter().chain(inputs.iter().copied()).collect();
        let name = self.planner.step_name(self.index, self.count, self.triggered, name);
        let stage = self.planner.stage_name(self.index);
        let vertex = Vertex { op: op(base.map(|_| 0)), inputs, name, stage, lines: Some(self.line.span.lines) };
        let id = self.planner.graph.push(vertex);
        self.state.top = Some(id);
        id
    }

    /// An op beside the stage's rootfs, without a name for people.
    pub(crate) fn push_internal(&mut self, op: Op, inputs: &[VertexId]) -> VertexId {
        let stage = self.planner.stage_name(self.index);
        let lines = Some(self.line.span.lines);
        self.planner.graph.push(Vertex { op, inputs: inputs.to_vec(), name: String::new(), stage, lines })
    }

    /// Adds to the history; `vertex` is the one that made a layer.
    pub(crate) fn history(&mut self, created_by: String, vertex: Option<VertexId>) {
        self.state.history.push(Past::New { created_by, vertex });
    }

    /// The vertex that files are copied from.
    pub(crate) fn origin(&mut self, origin: &Origin) -> Result<VertexId, Diagnostic> {
        match origin {
            Origin::Context => Ok(self.planner.context("context")),
            Origin::Named(name) => {
                let (line, index) = (self.line.clone(), self.index);
                self.planner.named(name, index, &line)
            }
        }
    }

    /// A source that lies elsewhere, as a directory.
    pub(crate) fn remote(&mut self, remote: &Remote, word: &Word) -> Result<VertexId, Diagnostic> {
        self.planner.remote(remote, &word.span)
    }

    /// The vertex that can be mounted: of a directory of the user, a layer with the part that is asked for.
    pub(crate) fn mountable(&mut self, origin: &Origin, source: &str) -> Result<VertexId, Diagnostic> {
        let from = self.origin(origin)?;
        if !matches!(self.planner.graph.get(from).op, Op::Source(op::Source::Context { .. })) {
            return Ok(from);
        }
        let sources = vec![CopySource::Tree { input: 0, path: source.to_owned() }];
        let copy = op::Copy { link: true, sources, dest: "/".to_owned(), ..op::Copy::default() };
        Ok(self.push_internal(Op::Copy(copy), &[from]))
    }
}

/// An error of a word that stands in a line: the caret is under the part that is wrong.
pub(crate) fn not_expanded(line: &Line, word: &str, error: &crate::expand::ExpandError) -> Diagnostic {
    let args = line.args.iter().map(|arg| (arg.text.as_str(), &arg.span));
    let flags = line.flags.iter().filter_map(|flag| Some((flag.value.as_deref()?, &flag.span)));
    // Flags hold the word in fields of a list, ARG behind a name.
    let place = args.chain(flags).find(|(text, _)| text.contains(word)).map(|(text, span)| {
        // As it is written, if it stands on one line without quotes that were taken away.
        let at = text.find(word).unwrap_or(0) + error.part.start;
        let start = (span.bytes.end.saturating_sub(text.len()) + at).max(span.bytes.start);
        let end = (start + error.part.len().max(1)).min(span.bytes.end);
        if span.lines.0 == span.lines.1 { Span { bytes: start.min(end)..end, ..span.clone() } } else { span.clone() }
    });
    let found = Diagnostic::error("expansion", error.to_string(), Some(place.unwrap_or_else(|| line.span.clone())));
    match error.help() {
        Some(help) => found.help(help),
        None => found,
    }
}

/// A path on a directory, cleaned: never with a slash at the end, never above the root.
pub(crate) fn join(dir: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{dir}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            let _at_the_root_there_is_none = parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}
