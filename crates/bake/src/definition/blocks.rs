//! Blocks of targets and groups.

use super::{Config, Definition, Place, Trouble};
use crate::ast::{Attribute, Block, Expr, Kind};
use crate::problem::Problem;
use crate::target::{self, Group, Target};
use crate::value::{Type, Value, convert};
use std::collections::HashSet;
use std::rc::Rc;

/// A block and how far it is evaluated.
pub(super) struct State {
    pub block: Rc<Block>,
    /// The places it is evaluated at; with what became of it at each.
    pub places: Option<Vec<Place>>,
    pub outputs: Vec<Output>,
    pub names: Option<Vec<String>>,
    done: Vec<HashSet<String>>,
    progress: Vec<HashSet<String>>,
}

/// The result of a block at a place.
pub(super) enum Output {
    Target(Box<Target>),
    Group(Group),
}

impl Output {
    fn to_value(&self) -> Value {
        match self {
            Output::Target(target) => target.to_value(),
            Output::Group(group) => Value::object(
                [
                    ("name".into(), Value::string(&group.name)),
                    ("description".into(), Value::string(&group.description)),
                    ("targets".into(), Value::strings(&group.targets)),
                ]
                .into(),
            ),
        }
    }

    fn knows(&self, name: &str) -> bool {
        match self {
            Output::Target(_) => Target::knows(name),
            Output::Group(_) => matches!(name, "description" | "targets"),
        }
    }

    fn set(&mut self, attribute: &Attribute, value: &Value) -> Result<(), String> {
        match self {
            Output::Target(target) => {
                if let Some(name) = target::set(target, &attribute.name, value)? {
                    target.spans.insert(name, attribute.span);
                }
            }
            Output::Group(group) if attribute.name == "description" => {
                let text = convert(value, &Type::String)?;
                group.description = text.as_str().ok_or("null value is not allowed")?.to_owned();
            }
            Output::Group(group) => {
                group.span = Some(attribute.span);
                let list = convert(value, &Type::list(Type::String))?;
                let names = list.elements().unwrap_or_default().iter();
                group.targets = names.filter_map(Value::as_str).map(str::to_owned).collect();
            }
        }
        Ok(())
    }
}

impl State {
    pub fn new(block: Rc<Block>) -> State {
        let (outputs, done, progress) = (Vec::new(), Vec::new(), Vec::new());
        State { block, places: None, outputs, names: None, done, progress }
    }
}

impl Definition<'_> {
    /// Finds the places of a block, once.
    pub(super) fn prepare(&mut self, at: usize) -> Result<(), Problem> {
        let block = self.blocks[at].block.clone();
        self.eval.blocks.borrow_mut().entry(block.kind.clone()).or_default();
        if self.blocks[at].places.is_some() {
            return Ok(());
        }
        let places = self.places(&block)?;
        let state = &mut self.blocks[at];
        let output = || match block.kind.as_str() {
            "target" => Output::Target(Box::new(Target { name: block.label().into(), ..Target::default() })),
            _ => Output::Group(Group { name: block.label().into(), ..Group::default() }),
        };
        state.outputs = places.iter().map(|_| output()).collect();
        state.done = vec![HashSet::new(); places.len()];
        state.progress = vec![HashSet::new(); places.len()];
        state.places = Some(places);
        Ok(())
    }

    /// Evaluates a block, or one attribute of it, at each of its places.
    pub(super) fn resolve_block(&mut self, at: usize, only: Option<&str>) -> Result<(), Trouble> {
        self.prepare(at)?;
        let block = self.blocks[at].block.clone();
        let places = self.blocks[at].places.clone().unwrap_or_default();
        for (index, place) in places.iter().enumerate() {
            let name = self.blocks[at].names.as_ref().map_or(block.label(), |names| &names[index]).to_owned();
            if let Some(only) = only {
                if self.blocks[at].done[index].contains(only) {
                    return Ok(());
                }
                if !self.blocks[at].progress[index].insert(only.to_owned()) {
                    let what = format!("reference cycle not allowed for {}.{name}.{only}", block.kind);
                    return Err(Problem::plain(what).into());
                }
            }
            let wanted: Vec<&Attribute> = block
                .body
                .attributes
                .iter()
                .filter(|attribute| self.blocks[at].outputs[index].knows(&attribute.name))
                .filter(|attribute| match only {
                    Some(only) => attribute.name == only,
                    None => !self.blocks[at].done[index].contains(&attribute.name),
                })
                .collect();
            for attribute in &wanted {
                self.load(place, &attribute.value, &[], true)?;
            }
            for attribute in &wanted {
                let value = self.value_at(place, &attribute.value)?;
                self.blocks[at].outputs[index].set(attribute, &value).map_err(|why| {
                    let detail = format!("Unsuitable value: {why}");
                    let help = format!("this is {:?} of {} {name:?}", attribute.name, block.kind);
                    Problem::at(attribute.value.span, "Unsuitable value type", detail).help(help)
                })?;
            }
            let required = only.is_none() && block.kind == "group" && block.body.attribute("targets").is_none();
            if required {
                let detail = "The argument \"targets\" is required, but no definition was found.";
                return Err(Problem::at(block.name_span(), "Missing required argument", detail).into());
            }
            let done = wanted.iter().map(|attribute| attribute.name.clone()).chain(only.map(str::to_owned));
            self.blocks[at].done[index].extend(done);
            if self.referenced {
                let value = self.blocks[at].outputs[index].to_value();
                let mut blocks = self.eval.blocks.borrow_mut();
                blocks.entry(block.kind.clone()).or_default().insert(name.as_str().into(), value);
            }
        }
        Ok(())
    }

    /// Evaluates all blocks: first their names, then all else.
    pub(super) fn resolve_blocks(&mut self, config: &mut Config) -> Result<(), Problem> {
        let mut named = std::collections::HashMap::<(String, String), Vec<usize>>::new();
        let mut renamed: Vec<(String, Vec<String>)> = Vec::new();
        for at in 0..self.blocks.len() {
            let block = self.blocks[at].block.clone();
            let names = self.resolve_names(at);
            let names = names.map_err(|problem| problem.or_summary("Invalid name").or_at(Some(block.name_span())))?;
            for name in &names {
                named.entry((block.kind.clone(), name.clone())).or_default().push(at);
            }
            match renamed.iter_mut().find(|(label, _)| block.kind == "target" && label == block.label()) {
                Some((_, all)) => all.extend(names),
                None if block.kind == "target" => renamed.push((block.label().into(), names)),
                None => {}
            }
        }
        self.named = named;
        if self.named.is_empty() {
            // A definition without blocks refers to none.
            self.named.insert((String::new(), String::new()), Vec::new());
        }
        for at in 0..self.blocks.len() {
            let block = self.blocks[at].block.clone();
            self.resolve_block(at, None).map_err(|trouble| trouble.at("Invalid block", block.name_span()))?;
            for output in std::mem::take(&mut self.blocks[at].outputs) {
                self.collect(config, &block, &output);
                self.blocks[at].outputs.push(output);
            }
        }
        for (label, mut names) in renamed {
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            if !names.is_empty() && names != [label.clone()] {
                config.groups.push(Group { name: label, targets: names, ..Group::default() });
            }
        }
        Ok(())
    }

    fn collect(&self, config: &mut Config, block: &Block, output: &Output) {
        match output {
            Output::Target(target) => {
                let mut target = (**target).clone();
                self.set_bases(&mut target, block);
                match config.targets.iter_mut().find(|known| known.name == target.name) {
                    Some(known) => known.merge(&target),
                    None => config.targets.push(target),
                }
            }
            Output::Group(group) => match config.groups.iter_mut().find(|known| known.name == group.name) {
                Some(known) => known.clone_from(group),
                None => config.groups.push(group.clone()),
            },
        }
    }

    fn set_bases(&self, target: &mut Target, block: &Block) {
        let folder = self.inputs.folders.get(block.span.file).cloned().flatten();
        let base = folder.unwrap_or_default();
        target.bases.default = Some(base.clone());
        if let Some(context) = block.body.attribute("context") {
            target.bases.context = Some(base.clone());
            target.bases.reference = context_of(&context.value).unwrap_or_default();
        }
        if block.body.attribute("contexts").is_some() {
            target.bases.contexts = target.contexts.keys().map(|name| (name.clone(), base.clone())).collect();
        }
    }
}

/// The target whose context an expression is: `target.NAME.context`.
fn context_of(expr: &Expr) -> Option<String> {
    let Kind::Attribute(source, attribute) = &expr.kind else { return None };
    let (source, name) = match &source.kind {
        Kind::Attribute(source, name) => (source, name.clone()),
        Kind::Index(source, key) => match &key.kind {
            Kind::Literal(key) => (source, key.as_str()?.to_owned()),
            _ => return None,
        },
        _ => return None,
    };
    let root = matches!(&source.kind, Kind::Variable(root) if root == "target");
    (root && attribute == "context").then_some(name)
}
