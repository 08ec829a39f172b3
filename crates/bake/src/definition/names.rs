//! Names of the targets that a block makes: one, or with a matrix one for each combination.

use super::blocks::Output;
use super::{Definition, Place};
use crate::ast::{Block, Expr, Key, Kind};
use crate::problem::Problem;
use crate::value::{Text, Type, Value, convert};
use std::rc::Rc;

/// Targets of one matrix.
const MOST: usize = 4096;

/// True of a name that targets and groups may have.
pub fn valid(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn check(name: &str) -> Result<(), Problem> {
    if valid(name) { Ok(()) } else { Err(Problem::plain("only \"[a-zA-Z0-9_-]+\" are allowed")) }
}

impl Definition<'_> {
    /// The places where a block is evaluated.
    pub(super) fn places(&mut self, block: &Block) -> Result<Vec<Place>, Problem> {
        let Some(matrix) = block.body.attribute("matrix").map(|attribute| attribute.value.clone()) else {
            return Ok(vec![Place::default()]);
        };
        if block.kind == "group" {
            return Err(Problem::plain("matrix is not supported for groups").or_at(Some(matrix.span)));
        }
        let value = self.evaluate_at(&Place::default(), &matrix).map_err(|trouble| trouble.at("", matrix.span))?;
        let plain = |detail: String| Problem::plain(detail).or_at(Some(matrix.span));
        let axes = value.entries().ok_or_else(|| plain("matrix must be a map".into()))?;
        let mut combinations: Vec<Vec<(String, Value)>> = vec![Vec::new()];
        for name in order(&matrix, axes.keys()) {
            let values = axes[&name].pairs().ok_or_else(|| plain("matrix values must be a list".into()))?;
            if combinations.len().saturating_mul(values.len()) > MOST {
                return Err(plain(format!("a matrix makes at most {MOST} targets")));
            }
            let longer = |before: &Vec<(String, Value)>, value: &Value| {
                before.iter().cloned().chain([(name.to_string(), value.clone())]).collect()
            };
            combinations = combinations
                .iter()
                .flat_map(|before| values.iter().map(move |(_, value)| longer(before, value)))
                .collect();
        }
        let place = |variables| {
            self.places += 1;
            Place { id: self.places, variables: Rc::new(variables) }
        };
        Ok(combinations.into_iter().map(place).collect())
    }

    /// The names of a block's targets, in the order of its places.
    pub(super) fn resolve_names(&mut self, at: usize) -> Result<Vec<String>, Problem> {
        self.prepare(at)?;
        let block = self.blocks[at].block.clone();
        let places = self.blocks[at].places.clone().unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        for place in &places {
            check(block.label())?;
            let name = self.name_at(&block, place)?;
            check(&name)?;
            if names.contains(&name) {
                let help = "a matrix needs a name that differs for each combination: name = \"app-${axis}\"";
                return Err(Problem::plain(format!("duplicate name {name:?}")).help(help));
            }
            names.push(name);
        }
        for (output, name) in self.blocks[at].outputs.iter_mut().zip(&names) {
            match output {
                Output::Target(target) => target.name.clone_from(name),
                Output::Group(group) => group.name.clone_from(name),
            }
        }
        self.blocks[at].names = Some(names.clone());
        Ok(names)
    }

    fn name_at(&mut self, block: &Block, place: &Place) -> Result<String, Problem> {
        let Some(name) = block.body.attribute("name") else { return Ok(block.label().to_owned()) };
        let wrong = |detail: &str| Problem::plain(detail).or_at(Some(name.span));
        if block.kind == "group" {
            return Err(wrong("name is not supported for groups"));
        }
        if block.body.attribute("matrix").is_none() {
            return Err(wrong("name requires matrix"));
        }
        let expr = name.value.clone();
        let value = self.evaluate_at(place, &expr).map_err(|trouble| trouble.at("", expr.span))?;
        let value = convert(&value, &Type::String).map_err(|why| Problem::plain(why).or_at(Some(expr.span)))?;
        value.as_str().map(str::to_owned).ok_or_else(|| wrong("a name must not be null"))
    }
}

/// Axes in the order they are written in, where that is known.
fn order<'a>(matrix: &Expr, axes: impl Iterator<Item = &'a Text>) -> Vec<Text> {
    let written = |name: &Text| match &matrix.kind {
        Kind::Object(items) => items.iter().position(|(key, _)| match key {
            Key::Name(key, _) => **key == **name,
            Key::Expr(Expr { kind: Kind::JsonString(key, _), .. }) => **key == **name,
            Key::Expr(Expr { kind: Kind::Literal(key), .. }) => key.as_str() == Some(name),
            Key::Expr(_) => false,
        }),
        _ => None,
    };
    let mut names: Vec<Text> = axes.cloned().collect();
    names.sort_by_key(|name| written(name).unwrap_or(usize::MAX));
    names
}
