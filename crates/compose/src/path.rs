//! The path of a value in the model: `services.web.ports`. Passes match it against patterns to find
//! the rule for a key.

use std::fmt::{Display, Formatter, Result};

/// The deepest path that a rule has.
const DEEPEST: usize = 8;

/// The step from a list to an item in patterns.
pub const ITEM: &str = "[]";

/// A path as a chain of names, the last one first.
#[derive(Clone, Copy, Debug)]
pub struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    name: &'p str,
    depth: usize,
}

/// The names of a path in order, to be matched with slice patterns. Deeper paths match nothing.
pub struct Names<'p> {
    names: [&'p str; DEEPEST],
    len: usize,
}

impl<'p> Path<'p> {
    /// The whole file.
    pub const ROOT: Path<'static> = Path { parent: None, name: "", depth: 0 };

    /// The path of a key below.
    pub fn key(&'p self, name: &'p str) -> Path<'p> {
        Path { parent: Some(self), name, depth: self.depth + 1 }
    }

    /// The path of any item of a list below.
    pub fn item(&'p self) -> Path<'p> {
        self.key(ITEM)
    }

    /// The last name.
    pub fn name(&self) -> &'p str {
        self.name
    }

    /// The names in order.
    pub fn names(&self) -> Names<'p> {
        let mut names = Names { names: [""; DEEPEST], len: self.depth };
        let (mut path, mut at) = (self, self.depth);
        while at > 0 {
            at -= 1;
            if let Some(slot) = names.names.get_mut(at) {
                *slot = path.name;
            }
            let Some(parent) = path.parent else { break };
            path = parent;
        }
        names
    }
}

impl<'p> std::ops::Deref for Names<'p> {
    type Target = [&'p str];

    fn deref(&self) -> &[&'p str] {
        if self.len > DEEPEST { &[] } else { &self.names[..self.len] }
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.parent {
            None => Ok(()),
            Some(parent) if parent.depth == 0 => f.write_str(self.name),
            Some(parent) => write!(f, "{parent}.{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_by_its_names() {
        let (root, services) = (Path::ROOT, Path::ROOT.key("services"));
        let web = services.key("web.1");
        let ports = web.key("ports");
        assert!(matches!(&*ports.names(), ["services", _, "ports"]));
        assert!(root.names().is_empty());
        assert_eq!(ports.item().to_string(), "services.web.1.ports.[]");
        let deep = ["x"; 20];
        fn down(path: &Path<'_>, rest: &[&str]) -> usize {
            rest.split_first().map_or(path.names().len(), |(first, rest)| down(&path.key(first), rest))
        }
        assert_eq!(down(&Path::ROOT, &deep), 0);
    }
}
