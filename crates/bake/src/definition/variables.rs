//! Variables: types, defaults, values from outside, validation.

use super::{Definition, Place, Trouble};
use crate::ast::{Block, Expr};
use crate::csv;
use crate::eval::{Evaluator, Scope};
use crate::number::Number;
use crate::problem::{Problem, Span};
use crate::types::type_of;
use crate::value::{Text, Type, Value, convert, from_json, to_json};
use base::words::bool_of;
use std::rc::Rc;

/// The end of the name that gives a value as JSON.
const JSON: &str = "_JSON";

/// A variable.
pub(super) struct Variable {
    pub name: String,
    pub span: Span,
    description: String,
    kind: Option<Rc<Expr>>,
    default: Option<Rc<Expr>>,
    validations: Vec<Rc<Block>>,
    constraint: Option<Type>,
}

/// A variable as `--list` shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its type; empty where none was given.
    pub kind: String,
    /// Its value; none for null.
    pub value: Option<String>,
}

impl Definition<'_> {
    pub(super) fn add_variable(&mut self, block: &Rc<Block>) -> Result<(), Problem> {
        let attribute = |name| block.body.attribute(name).map(|attribute| attribute.value.clone());
        let mut description = String::new();
        if let Some(expr) = attribute("description") {
            let value = Evaluator::constant(&expr, self.eval.host)?;
            let unsuitable = |why| Problem::at(expr.span, "Unsuitable value type", format!("Unsuitable value: {why}"));
            let value = convert(&value, &Type::String).map_err(unsuitable)?;
            description = value.as_str().unwrap_or_default().into();
        }
        let mut validations = Vec::new();
        for inner in &block.body.blocks {
            match inner.kind.as_str() {
                "validation" => validations.push(inner.clone()),
                kind => {
                    let what = format!("a variable has no block {kind:?}: it has no effect");
                    let near = base::words::closest(kind, ["validation"]);
                    self.warn(inner.span, what, near);
                }
            }
        }
        const KNOWN: [&str; 3] = ["default", "description", "type"];
        for attribute in &block.body.attributes {
            if !KNOWN.contains(&attribute.name.as_str()) {
                let what = format!("attribute {:?} of a variable is not known and has no effect", attribute.name);
                self.warn(attribute.span, what, base::words::closest(&attribute.name, KNOWN));
            }
        }
        let name = block.label().to_owned();
        self.variables.retain(|known| known.name != name);
        let (kind, default) = (attribute("type"), attribute("default"));
        let span = block.name_span();
        self.variables.push(Variable { name, span, description, kind, default, validations, constraint: None });
        Ok(())
    }

    pub(super) fn resolve_variables(&mut self) -> Result<Vec<Listed>, Problem> {
        let mut listed = Vec::new();
        for at in 0..self.variables.len() {
            let (name, span) = (self.variables[at].name.clone(), self.variables[at].span);
            let resolved = self.resolve_value(&Place::default(), &name);
            resolved.map_err(|trouble| trouble.at("Invalid value", span))?;
            let variable = &self.variables[at];
            let value = self.eval.globals.borrow().get(&name).cloned();
            let value = value.filter(|value| !value.is_null()).map(|value| shown(&value, variable.constraint.as_ref()));
            let kind = variable.constraint.as_ref().map(Type::constraint_name).unwrap_or_default();
            listed.push(Listed { name, description: variable.description.clone(), kind, value });
        }
        Ok(listed)
    }

    /// Evaluates a variable or constant, unless it is known.
    pub(super) fn resolve_value(&mut self, place: &Place, name: &str) -> Result<(), Trouble> {
        if self.eval.globals.borrow().contains_key(name) || place.variables.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let step = (place.id, format!("variable {name}"));
        if self.progress.contains(&step) {
            return Err(Problem::plain(format!("variable cycle not allowed for {name}")).into());
        }
        let constant = self.constants.iter().find(|constant| constant.name == name).map(|found| found.value.clone());
        let variable = self.variables.iter().position(|variable| variable.name == name);
        if constant.is_some() || variable.is_some() {
            self.progress.insert(step);
        }
        let value = match (constant, variable) {
            (Some(expr), at) => {
                let value = self.evaluate_at(place, &expr)?;
                match at {
                    Some(_) => self.overridden(name, Some(value), None)?,
                    None => value,
                }
            }
            (None, Some(at)) => self.variable_value(at)?,
            (None, None) => return Err(Trouble::Missing(format!("variable {name:?} does not exist"))),
        };
        self.eval.globals.borrow_mut().insert(name.to_owned(), value);
        Ok(())
    }

    fn variable_value(&mut self, at: usize) -> Result<Value, Trouble> {
        let variable = &self.variables[at];
        let (name, default) = (variable.name.clone(), variable.default.clone());
        let kind = variable.kind.as_ref().filter(|expr| !is_null(expr)).map(|expr| type_of(expr)).transpose()?;
        self.variables[at].constraint.clone_from(&kind);
        let value = match &default {
            None => None,
            Some(expr) => {
                let value = self.evaluate_at(&Place::default(), expr)?;
                let want = kind.clone().unwrap_or(Type::Dynamic);
                let converted = convert(&value, &want).map_err(|why| {
                    let detail = format!("invalid type {} for variable {name} default value: {why}", want.name());
                    Problem::at(expr.span, "Invalid value", detail)
                })?;
                Some(converted)
            }
        };
        self.overridden(&name, value, kind.as_ref())
    }

    /// The value from outside, where there is one, else the default.
    fn overridden(&self, name: &str, default: Option<Value>, kind: Option<&Type>) -> Result<Value, Trouble> {
        let plain = |text: &str| Problem::plain(text.to_owned());
        let Some((text, json)) = self.outside(name, kind.is_some()) else {
            let nothing = || kind.map_or_else(|| Value::string(""), |kind| Value::Null(kind.without_optional()));
            return Ok(default.unwrap_or_else(nothing));
        };
        let unsupported = |kind: &Type| plain(&format!("unsupported type {} for variable {name}", kind.name()));
        match (kind, default) {
            (Some(kind), _) if json => from_json(&text, kind)
                .map_err(|why| plain(&format!("failed to convert variable {name} from JSON: {why}")).into()),
            (Some(kind @ (Type::List(_) | Type::Set(_) | Type::Tuple(_) | Type::Map(_))), _) => {
                from_csv(name, &text, kind)
                    .map_err(|why| plain(&format!("failed to convert variable {name} from CSV: {why}")).into())
            }
            (Some(kind), _) if kind.is_primitive() => Ok(primitive(name, &text, kind).map_err(|why| plain(&why))?),
            (Some(kind), _) => Err(unsupported(kind).into()),
            (None, None | Some(Value::Null(Type::Dynamic))) => Ok(Value::string(text)),
            (None, Some(default)) if default.kind().is_primitive() => {
                Ok(primitive(name, &text, &default.kind()).map_err(|why| plain(&why))?)
            }
            (None, Some(default)) => Err(unsupported(&default.kind()).into()),
        }
    }

    /// The text from outside, and whether it is JSON.
    fn outside(&self, name: &str, typed: bool) -> Option<(String, bool)> {
        let lookup = |name: &str| {
            let given = self.inputs.overrides.get(name).cloned();
            given.or_else(|| if self.inputs.environment { self.eval.host.variable(name) } else { None })
        };
        let plain = lookup(name);
        let json = format!("{name}{JSON}");
        let taken = self.variables.iter().any(|known| known.name == json) || self.inputs.builtin.contains_key(&json);
        if (plain.is_none() || typed)
            && !taken
            && let Some(text) = lookup(&json)
        {
            return Some((text, true));
        }
        plain.map(|text| (text, false))
    }

    pub(super) fn validate(&mut self) -> Result<(), Problem> {
        const INVALID: &str = "Invalid condition result";
        for variable in &self.variables {
            for block in &variable.validations {
                let Some(condition) = block.body.attribute("condition").map(|attribute| &attribute.value) else {
                    let detail = "Condition expression must return either true or false, not null.";
                    return Err(Problem::at(block.span, INVALID, detail));
                };
                let value = self.eval.eval(condition, &Scope::default())?;
                if value.is_null() {
                    let detail = "Condition expression must return either true or false, not null.";
                    return Err(Problem::at(condition.span, INVALID, detail));
                }
                let value = convert(&value, &Type::Bool).map_err(|why| {
                    Problem::at(condition.span, INVALID, format!("Invalid condition result value: {why}"))
                })?;
                if !matches!(value, Value::Bool(true)) {
                    let message = block.body.attribute("error_message").map(|attribute| &attribute.value);
                    let message = message.map(|expr| self.eval.eval(expr, &Scope::default())).transpose()?;
                    let message = message.as_ref().and_then(Value::as_str).map(str::to_owned);
                    let message =
                        message.unwrap_or_else(|| "This check failed, but has an invalid error message.".into());
                    let found = Problem::at(condition.span, "Validation failed", message);
                    return Err(found.help(format!("set {} by --var or in the environment", variable.name)));
                }
            }
        }
        Ok(())
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(&expr.kind, crate::ast::Kind::Literal(Value::Null(_)))
}

/// The value as `--list` shows it.
fn shown(value: &Value, kind: Option<&Type>) -> String {
    match (kind, value) {
        (Some(Type::String), Value::String(_)) => to_json(value).trim_matches('"').to_owned(),
        (None, Value::String(text)) => text.to_string(),
        (None, Value::Number(number)) => number.text_fixed(None),
        _ => to_json(value),
    }
}

fn primitive(name: &str, text: &str, kind: &Type) -> Result<Value, String> {
    match kind {
        Type::Bool => bool_of(text).map(Value::Bool).ok_or_else(|| {
            format!("failed to parse {name} as bool: strconv.ParseBool: parsing {text:?}: invalid syntax")
        }),
        Type::Number => {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite()).and_then(Number::from_f64);
            number.map(Value::Number).ok_or_else(|| {
                format!("failed to parse {name} as number: strconv.ParseFloat: parsing {text:?}: invalid syntax")
            })
        }
        _ => Ok(Value::string(text)),
    }
}

fn from_csv(name: &str, text: &str, kind: &Type) -> Result<Value, String> {
    let fields = csv::fields(text, ',').map_err(|why| format!("failed to parse {text} as CSV: {why}"))?;
    let unsupported = || format!("unsupported type {} for CSV specification", kind.name());
    let one = |field: &str, element: &Type| match element.is_primitive() {
        true => primitive(name, field, element)
            .map_err(|why| format!("failed to parse element of type {}: {why}", kind.name())),
        false => Err(unsupported()),
    };
    let all = |element: &Type| fields.iter().map(|field| one(field, element)).collect::<Result<Vec<_>, _>>();
    match kind {
        Type::List(element) => Ok(Value::list((**element).clone(), all(element)?)),
        Type::Set(element) => Ok(Value::set((**element).clone(), all(element)?)),
        Type::Tuple(elements) if elements.len() != fields.len() => {
            let (wanted, given) = (elements.len(), fields.len());
            Err(format!("{} expects {wanted} elements but only {given} provided", kind.name()))
        }
        Type::Tuple(elements) => {
            let values = fields.iter().zip(elements.iter()).map(|(field, element)| one(field, element));
            Ok(Value::tuple(values.collect::<Result<_, _>>()?))
        }
        Type::Map(element) => {
            let mut values = std::collections::BTreeMap::new();
            for field in &fields {
                let pair = csv::fields(field, ':')
                    .map_err(|why| format!("failed to parse {field} as k/v for variable {name}: {why}"))?;
                let [key, value] = pair.as_slice() else {
                    return Err(format!("expected one k/v pair but got {} pieces from {field}", pair.len()));
                };
                values.insert(Text::from(key.as_str()), one(value, element)?);
            }
            Ok(Value::map((**element).clone(), values))
        }
        _ => Err(unsupported()),
    }
}
