//! The raw format of environment files: `NAME=value`, where no character of the value is special.

use super::Environment;
use crate::place::{FileId, Place};
use crate::problem::{Code, Problem, Result};

/// Reads a file into `out`. A name alone takes its value from `lookup`.
pub fn parse(text: &str, file: FileId, out: &mut Environment, lookup: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let line = line.trim_end_matches('\n');
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = if start == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let error = |message: String| Problem::at(Place::new(file, start, at), Code::Syntax, message);
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, lookup(line)),
        };
        if name.is_empty() {
            return Err(error(format!("no variable name on line '{line}'")).into());
        }
        if name.contains([' ', '\t']) {
            return Err(error(format!("variable '{name}' contains whitespaces")).into());
        }
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Sources;

    #[test]
    fn values_stay_as_they_are() {
        let text = "# c\n A=\"x\" # y \r\nB\nC\n";
        let (mut out, file) = (Environment::new(), Sources::default().add("e", text));
        parse(text, file, &mut out, &|name| (name == "B").then(|| "b".to_owned())).expect("an environment");
        let pairs: Vec<_> = out.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["A=\"x\" # y ", "B=b"]);
        assert!(parse("A B=1", file, &mut out, &|_| None).is_err());
        assert!(parse("=1", file, &mut out, &|_| None).is_err());
    }
}
