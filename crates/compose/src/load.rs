//! Turns the files of a project into one tree. Each file is interpolated, its includes and
//! extensions are resolved, then it is merged into the earlier ones, validated and brought to the
//! long form.

use crate::dotenv::Environment;
use crate::extends::{self, BaseFiles};
use crate::host::Host;
use crate::node::{Map, Node, Value};
use crate::path::Path;
use crate::place::Place;
use crate::problem::{Code, Problem, Report, Result};
use crate::rebase::Base;
use crate::yaml::{self, Document};
use crate::{canonical, defaults, include, interpolate, merge, normalize, read, schema, unicity};
use std::cell::Cell;
use std::rc::Rc;

/// The most files of a project. A file that is read again counts again.
const MOST_FILES: usize = 2000;

/// The passes that run.
#[derive(Clone, Copy, Debug)]
pub struct Passes {
    /// Resolve variables.
    pub interpolation: bool,
    /// Make relative paths absolute.
    pub paths: bool,
    /// Add implied keys.
    pub normalization: bool,
    /// Validate against the schema.
    pub validation: bool,
}

/// A compose file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Its absolute path, or `-`.
    pub name: String,
    /// Its documents.
    pub documents: Rc<[Document]>,
}

/// Loads trees through a host.
pub(crate) struct Loader<'a> {
    pub host: &'a dyn Host,
    pub report: &'a Report,
    pub home: Option<String>,
    pub passes: Passes,
    files: Cell<usize>,
}

/// The context of a file: of the main files, or of those of an include.
pub(crate) struct Scope<'a> {
    /// The variables for interpolation.
    pub environment: &'a Environment,
    /// The directory that its paths are relative to: absolute, or relative to the directory of the
    /// including file.
    pub directory: String,
    /// The same directory, absolute.
    pub absolute: String,
    /// The absolute directory that file names of `include` and `extends` are relative to.
    pub files: String,
    /// True if paths are rebased.
    pub paths: bool,
    /// The files that include this one, the outermost first.
    pub included: Vec<String>,
}

impl<'a> Loader<'a> {
    pub fn new(host: &'a dyn Host, report: &'a Report, home: Option<String>, passes: Passes) -> Loader<'a> {
        Loader { host, report, home, passes, files: Cell::new(0) }
    }

    /// Reads and parses a file.
    pub fn read(&self, path: &str, place: Option<Place>) -> Result<File> {
        self.files.set(self.files.get() + 1);
        if self.files.get() > MOST_FILES {
            let message = format!("the project has too many files: more than {MOST_FILES} were read");
            return Err(Problem { place, ..Problem::new(Code::Limit, message) }.into());
        }
        let (id, text) = read::file(self.host, self.report, path, yaml::LARGEST, place)?;
        Ok(File { name: path.to_owned(), documents: yaml::parse(&text, id)?.into() })
    }

    /// The tree of several files: merged, validated, and with its paths rebased.
    pub fn model(&self, files: &[File], scope: &Scope<'_>) -> Result<Option<Node>> {
        let mut root = None;
        let bases = BaseFiles::default();
        for file in files {
            for document in file.documents.iter() {
                root = Some(self.document(root, file, document, scope, &bases)?);
            }
        }
        let Some(mut root) = root.filter(|root| root.as_map().is_some_and(|map| !map.is_empty())) else {
            return Ok(None);
        };
        defaults::set(&mut root, &Path::ROOT);
        if self.passes.validation {
            defaults::check(&root, &Path::ROOT)?;
        }
        if scope.paths {
            self.base(&scope.directory, &scope.absolute).rebase(&mut root, &Path::ROOT)?;
        }
        normalize::resolve_environment(&mut root, scope.environment);
        Ok(Some(root))
    }

    /// The base for paths relative to a directory.
    pub fn base<'b>(&'b self, directory: &'b str, absolute: &'b str) -> Base<'b> {
        Base { host: self.host, directory, absolute, home: self.home.as_deref() }
    }

    fn document(
        &self,
        earlier: Option<Node>,
        file: &File,
        document: &Document,
        scope: &Scope<'_>,
        bases: &BaseFiles,
    ) -> Result<Node> {
        let mut root = self.interpolated(document, scope)?;
        include::apply(self, &mut root, file, document, scope)?;
        let mut earlier = earlier.unwrap_or_else(|| Node::new(Value::Map(Map::default()), root.place));
        clear(&mut earlier, &document.cleared);
        extends::apply(self, &mut root, file, document, scope, bases)?;
        let mut merged = merge::merge(earlier, root, &Path::ROOT)?;
        unicity::enforce(&mut merged, &Path::ROOT)?;
        if self.passes.validation {
            schema::validate(&merged)?;
            self.drop_version(&mut merged, file);
        }
        self.long_form(&mut merged)?;
        Ok(merged)
    }

    /// The tree of a document with its variables resolved.
    pub fn interpolated(&self, document: &Document, scope: &Scope<'_>) -> Result<Node> {
        let mut root = document.root.clone();
        if root.as_map().is_none() {
            let message = "the top level of a compose file must be a mapping";
            let problem = Problem::at(root.place, Code::Value, message);
            return Err(problem.label(format!("this is {}", root.value.kind())).into());
        }
        if self.passes.interpolation {
            interpolate::interpolate(&mut root, scope.environment, self.report)?;
        }
        Ok(root)
    }

    /// Brings a tree to the long form. Items that then have the same key are merged.
    pub fn long_form(&self, root: &mut Node) -> Result<()> {
        canonical::canonical(root, !self.passes.interpolation, self.report)?;
        drop_empty_servers(root);
        unicity::enforce(root, &Path::ROOT)
    }

    fn drop_version(&self, root: &mut Node, file: &File) {
        if let Some(version) = root.as_map_mut().and_then(|map| map.remove("version")) {
            let message = format!(
                "{}: the attribute `version` is obsolete, it will be ignored, please remove it to avoid potential confusion",
                file.name
            );
            self.report.warn(Problem::at(version.key, Code::Deprecated, message));
        }
    }
}

/// Removes the values at paths.
pub(crate) fn clear(root: &mut Node, paths: &[Vec<String>]) {
    for path in paths {
        let Some((last, above)) = path.split_last() else { continue };
        let parent = above.iter().try_fold(&mut *root, |node, key| node.as_map_mut()?.get_mut(key));
        if let Some(map) = parent.and_then(Node::as_map_mut) {
            map.remove(last);
        }
    }
}

/// Removes empty entries of `dns`.
fn drop_empty_servers(root: &mut Node) {
    let Some(services) = root.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut) else {
        return;
    };
    for (_, entry) in services.iter_mut() {
        let servers = entry.node.as_map_mut().and_then(|service| service.get_mut("dns"));
        if let Some(Value::List(list)) = servers.map(|node| &mut node.value) {
            list.retain(|server| !server.is_null() && server.as_text() != Some(""));
        }
    }
}
