//! Resolves the variables in the values of a tree, and converts types: a text becomes a number or a
//! boolean where one is required, after its variables are resolved. Keys are not changed.

use crate::dotenv::Environment;
use crate::node::{Node, Value};
use crate::path::{ITEM, Path};
use crate::place::Place;
use crate::problem::{Code, Error, Problem, Report, Result};
use crate::template::{self, Failure, Variables};

/// The most bytes that the values of a project may have.
const LARGEST: usize = 64 << 20;

/// Resolves the variables of a tree. Reports all failures, not only the first.
pub fn interpolate(root: &mut Node, environment: &Environment, report: &Report) -> Result<()> {
    let mut pass = Interpolation { environment, report, problems: Vec::new(), size: 0 };
    pass.visit(root, &Path::ROOT);
    if pass.problems.is_empty() { Ok(()) } else { Err(Error { problems: pass.problems }) }
}

/// Warns about a variable that is not set.
pub fn warn_unset(report: &Report, place: Option<Place>, name: &str) {
    let message = format!("The {name:?} variable is not set. Defaulting to a blank string.");
    report.warn(Problem { place, ..Problem::new(Code::Interpolation, message) });
}

/// The problem of a text whose variables can't be resolved.
pub fn failure(failure: Failure, place: Place, path: &dyn std::fmt::Display) -> Problem {
    match failure {
        Failure::Invalid(text) => {
            Problem::at(place, Code::Interpolation, format!("invalid interpolation format for {path}: {text}"))
                .help("escape a `$` that begins no variable with another `$`")
        }
        Failure::Required(name, reason) => {
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            let message =
                format!("error while interpolating {path}: required variable {name} is missing a value{reason}");
            Problem::at(place, Code::Interpolation, message).help(format!("set {name} in the environment or in .env"))
        }
        Failure::Limit => {
            let message = format!(
                "error while interpolating {path}: the value is too large or its defaults are nested too deeply"
            );
            Problem::at(place, Code::Limit, message)
        }
    }
}

struct Interpolation<'a> {
    environment: &'a Environment,
    report: &'a Report,
    problems: Vec<Problem>,
    size: usize,
}

impl Interpolation<'_> {
    fn visit(&mut self, node: &mut Node, path: &Path<'_>) {
        match &mut node.value {
            Value::Text(_) => self.text(node, path),
            Value::List(list) => list.iter_mut().for_each(|item| self.visit(item, &path.item())),
            Value::Map(map) => map.iter_mut().for_each(|(key, entry)| self.visit(&mut entry.node, &path.key(key))),
            _ => {}
        }
    }

    fn text(&mut self, node: &mut Node, path: &Path<'_>) {
        let Value::Text(text) = &node.value else { return };
        let cast = cast_of(&path.names());
        if cast.is_none() && !text.contains('$') {
            return;
        }
        let scope = Scope { environment: self.environment, report: self.report, place: node.place };
        let text = match template::substitute(text, &scope) {
            Ok(text) => text,
            Err(error) => return self.problems.push(failure(error, node.place, path)),
        };
        self.size += text.len();
        if self.size > LARGEST {
            if self.size - text.len() <= LARGEST {
                self.problems.push(failure(Failure::Limit, node.place, path));
            }
            return;
        }
        match cast.map_or(Ok(Value::Text(text.clone())), |cast| cast.apply(&text)) {
            Ok(value) => {
                self.warn_of_boolean(&text, &value, node.place);
                node.value = value;
            }
            Err(wanted) => {
                let message =
                    format!("error while interpolating {path}: can't cast `{text}` to {wanted}: invalid value");
                self.problems.push(Problem::at(node.place, Code::Value, message).label(format!("must be {wanted}")));
            }
        }
    }

    fn warn_of_boolean(&self, text: &str, value: &Value, place: Place) {
        if let Value::Bool(value) = value
            && !matches!(text.to_lowercase().as_str(), "true" | "false")
        {
            let message = format!("{text:?} for boolean is not supported by YAML 1.2, please use `{value}`");
            self.report.warn(Problem::at(place, Code::Deprecated, message));
        }
    }
}

struct Scope<'a> {
    environment: &'a Environment,
    report: &'a Report,
    place: Place,
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn unset(&self, name: &str) {
        warn_unset(self.report, Some(self.place), name);
    }
}

/// The type that a key requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A boolean.
    Boolean,
}

impl Cast {
    /// Converts a text to this type. The error is the name of the type.
    pub fn apply(self, text: &str) -> Result<Value, &'static str> {
        match self {
            Cast::Integer => text.parse().map(Value::Int).map_err(|_| "an integer number"),
            Cast::Number => text.parse().map(Value::Float).map_err(|_| "a number"),
            Cast::Boolean => boolean(text).map(Value::Bool).ok_or("a boolean (true or false)"),
        }
    }
}

/// A boolean of YAML 1.1.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn cast_of(names: &[&str]) -> Option<Cast> {
    match names {
        ["services", _, rest @ ..] => cast_in_service(rest),
        ["networks", _, "external" | "internal" | "attachable" | "enable_ipv4" | "enable_ipv6"] => Some(Cast::Boolean),
        ["volumes" | "secrets" | "configs", _, "external"] => Some(Cast::Boolean),
        _ => None,
    }
}

fn cast_in_service(names: &[&str]) -> Option<Cast> {
    match names {
        ["cpu_count" | "cpu_period" | "cpu_quota" | "cpu_rt_period" | "cpu_rt_runtime" | "cpu_shares"]
        | ["oom_score_adj" | "pids_limit" | "scale"]
        | ["deploy", "replicas"]
        | ["deploy", "update_config" | "rollback_config", "parallelism"]
        | ["deploy", "restart_policy", "max_attempts"]
        | ["deploy", "placement", "max_replicas_per_node"]
        | ["healthcheck", "retries"]
        | ["ports", ITEM, "target"]
        | ["ulimits", _]
        | ["ulimits", _, "hard" | "soft"] => Some(Cast::Integer),
        ["cpu_percent" | "cpus"] | ["deploy", "update_config" | "rollback_config", "max_failure_ratio"] => {
            Some(Cast::Number)
        }
        ["init" | "oom_kill_disable" | "privileged" | "read_only" | "stdin_open" | "tty"]
        | ["depends_on", _, "required" | "restart"]
        | ["healthcheck", "disable"]
        | ["volumes", ITEM, "read_only"]
        | ["volumes", ITEM, "volume", "nocopy"] => Some(Cast::Boolean),
        _ => None,
    }
}
