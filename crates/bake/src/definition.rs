//! A definition in HCL or JSON: variables, functions, constants and blocks of several files, evaluated to targets and
//! groups.
//!
//! Evaluation is buildx's: before an expression is evaluated all that it names is, each attribute of a block by itself,
//! so that blocks may refer to each other in any order; a cycle is an error.

mod blocks;
mod depends;
mod names;
mod variables;

pub use names::valid as valid_name;
pub use variables::Listed;

use crate::ast::{Attribute, Block, Body, Kind};
use crate::eval::Evaluator;
use crate::host::Host;
use crate::problem::{Problem, Span};
use crate::target::{self, Group, Target};
use crate::value::Value;
use base::words::closest;
use blocks::State;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// Groups and targets.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Groups.
    pub groups: Vec<Group>,
    /// Targets.
    pub targets: Vec<Target>,
}

/// Values from outside.
pub struct Inputs<'a> {
    /// `--var`.
    pub overrides: &'a BTreeMap<String, String>,
    /// The environment sets variables.
    pub environment: bool,
    /// Built-in variables.
    pub builtin: &'a BTreeMap<String, String>,
    /// Folders of the files, for paths that are relative to them.
    pub folders: &'a [Option<String>],
}

/// Results of the evaluation beside targets and groups.
#[derive(Default)]
pub struct Evaluated {
    /// Variables, in the order of the files.
    pub variables: Vec<Listed>,
    /// Findings that are no errors.
    pub warnings: Vec<Problem>,
}

/// Blocks that a file may have.
const BLOCKS: &[&str] = &["function", "group", "target", "variable"];

/// Evaluates the bodies of all files, over what compose files made.
pub fn evaluate(
    bodies: &[Body],
    host: &dyn Host,
    inputs: &Inputs<'_>,
    config: &mut Config,
) -> Result<Evaluated, Problem> {
    let mut definition = Definition::new(host, inputs);
    definition.gather(bodies)?;
    let variables = definition.resolve_variables()?;
    definition.validate()?;
    definition.resolve_functions()?;
    definition.resolve_blocks(config)?;
    definition.resolve_constants()?;
    Ok(Evaluated { variables, warnings: definition.warnings })
}

/// The variables of one target of a matrix.
type Local = Rc<Vec<(String, Value)>>;

/// The place where an expression is evaluated: the file, or one target of a matrix.
#[derive(Clone, Default)]
struct Place {
    /// 0 for the file, else a number of its own.
    id: usize,
    variables: Local,
}

struct Definition<'a> {
    eval: Evaluator<'a>,
    inputs: &'a Inputs<'a>,
    variables: Vec<variables::Variable>,
    constants: Vec<Attribute>,
    functions: HashMap<String, Rc<Block>>,
    function_order: Vec<String>,
    blocks: Vec<State>,
    /// Blocks of a kind and name, known once all names are.
    named: HashMap<(String, String), Vec<usize>>,
    /// Variables and functions that are being evaluated, by place.
    progress: HashSet<(usize, String)>,
    places: usize,
    /// Expressions refer to blocks.
    referenced: bool,
    /// Evaluations that led to each other.
    depth: usize,
    warnings: Vec<Problem>,
}

/// A problem, or a name that does not exist: where that is allowed the evaluation itself will say so, or not need it.
enum Trouble {
    Missing(String),
    Problem(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        Trouble::Problem(problem)
    }
}

impl Trouble {
    fn at(self, summary: &str, span: Span) -> Problem {
        match self {
            Trouble::Missing(what) => Problem::at(span, summary, format!("{what}: undefined")),
            Trouble::Problem(problem) => problem.or_summary(summary).or_at(Some(span)),
        }
    }
}

impl<'a> Definition<'a> {
    fn new(host: &'a dyn Host, inputs: &'a Inputs<'a>) -> Definition<'a> {
        let eval = Evaluator::new(host);
        for (name, value) in inputs.builtin {
            eval.globals.borrow_mut().insert(name.clone(), Value::string(value));
        }
        Definition {
            eval,
            inputs,
            variables: Vec::new(),
            constants: Vec::new(),
            functions: HashMap::new(),
            function_order: Vec::new(),
            blocks: Vec::new(),
            named: HashMap::new(),
            progress: HashSet::new(),
            places: 0,
            referenced: false,
            depth: 0,
            warnings: Vec::new(),
        }
    }

    fn reserved(&self, name: &str) -> bool {
        matches!(name, "group" | "target") || self.inputs.builtin.contains_key(name)
    }

    /// Sorts what the files hold. A later variable, function or constant replaces an earlier one of its name.
    fn gather(&mut self, bodies: &[Body]) -> Result<(), Problem> {
        self.referenced = bodies.iter().any(depends::refers_to_blocks);
        let blocks = || bodies.iter().flat_map(|body| &body.blocks);
        for block in blocks().filter(|block| matches!(block.kind.as_str(), "variable" | "function")) {
            labeled(block)?;
            if self.reserved(block.label()) {
                continue;
            }
            match block.kind.as_str() {
                "variable" => self.add_variable(block)?,
                _ => self.add_function(block)?,
            }
        }
        for block in blocks() {
            match block.kind.as_str() {
                "variable" | "function" => {}
                "group" | "target" => {
                    labeled(block)?;
                    self.check_attributes(block);
                    self.blocks.push(State::new(block.clone()));
                }
                kind => {
                    let what = format!("block {kind:?} is not known and has no effect");
                    self.warn(block.span, what, closest(kind, BLOCKS.iter().copied()));
                }
            }
        }
        for attribute in bodies.iter().flat_map(|body| &body.attributes) {
            if !self.reserved(&attribute.name) {
                self.constants.retain(|known| known.name != attribute.name);
                self.constants.push(attribute.clone());
            }
        }
        Ok(())
    }

    fn add_function(&mut self, block: &Rc<Block>) -> Result<(), Problem> {
        const KNOWN: [&str; 3] = ["params", "variadic_params", "result"];
        for attribute in &block.body.attributes {
            if !KNOWN.contains(&attribute.name.as_str()) {
                let mut detail = format!("An argument named {:?} is not expected here.", attribute.name);
                if let Some(near) = closest(&attribute.name, KNOWN) {
                    detail.push_str(&format!(" Did you mean {near:?}?"));
                }
                return Err(Problem::at(attribute.span, "Unsupported argument", detail));
            }
        }
        let name = block.label().to_owned();
        if self.functions.insert(name.clone(), block.clone()).is_none() {
            self.function_order.push(name);
        }
        Ok(())
    }

    fn warn(&mut self, span: Span, what: String, near: Option<&str>) {
        let mut warning = Problem::at(span, "", what);
        if let Some(near) = near {
            warning = warning.help(format!("did you mean `{near}`?"));
        }
        self.warnings.push(warning);
    }

    /// Warns of attributes and blocks that have no effect.
    fn check_attributes(&mut self, block: &Block) {
        let known: Vec<&str> = match block.kind.as_str() {
            "target" => (target::NAMES)(),
            _ => vec!["description", "targets", "matrix", "name"],
        };
        let kind = &block.kind;
        for attribute in &block.body.attributes {
            if !known.contains(&attribute.name.as_str()) {
                let what = format!("attribute {:?} of a {kind} is not known and has no effect", attribute.name);
                self.warn(attribute.span, what, closest(&attribute.name, known.iter().copied()));
            }
        }
        for inner in &block.body.blocks {
            let what = format!("a {kind} has no blocks: {:?} has no effect", inner.kind);
            let hint = known.contains(&inner.kind.as_str()).then(|| format!("{} = {{", inner.kind));
            self.warn(inner.span, what, hint.as_deref());
        }
    }

    fn resolve_functions(&mut self) -> Result<(), Problem> {
        for name in self.function_order.clone() {
            let block = self.functions[&name].clone();
            let place = block.body.attribute("params").map_or(block.name_span(), |params| params.span);
            self.resolve_function(&name).map_err(|trouble| trouble.at("Invalid function", place))?;
        }
        Ok(())
    }

    fn resolve_constants(&mut self) -> Result<(), Problem> {
        for constant in self.constants.clone() {
            let resolved = self.resolve_value(&Place::default(), &constant.name);
            resolved.map_err(|trouble| trouble.at("Invalid attribute", constant.span))?;
        }
        Ok(())
    }
}

/// A block must have one label.
fn labeled(block: &Block) -> Result<(), Problem> {
    let kind = &block.kind;
    match block.labels.as_slice() {
        [] => {
            let detail = format!("All {kind} blocks must have 1 labels (name).");
            Err(Problem::at(block.span, format!("Missing name for {kind}"), detail))
        }
        [_] => Ok(()),
        [_, extra, ..] => {
            let detail = format!("Only 1 labels (name) are expected for {kind} blocks.");
            Err(Problem::at(extra.1, format!("Extraneous label for {kind}"), detail))
        }
    }
}

/// The word that an expression is, as names of parameters are written.
fn keyword(expr: &crate::ast::Expr) -> Option<&str> {
    match &expr.kind {
        Kind::Variable(name) => Some(name),
        Kind::JsonString(text, _) => {
            let word = |c: char| c.is_alphanumeric() || "_-".contains(c);
            (!text.is_empty() && text.chars().all(word) && !text.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
                .then_some(text)
        }
        _ => None,
    }
}
