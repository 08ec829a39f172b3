//! `extends`: a service inherits from another, of the same file or another one.

use crate::filepath;
use crate::load::{File, Loader, Scope, clear};
use crate::merge;
use crate::node::{Map, Node, Value};
use crate::path::Path;
use crate::place::Place;
use crate::problem::{Code, Error, Problem, Result};
use crate::read;
use crate::yaml::Document;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The longest chain of services that extend each other.
const LONGEST: usize = 100;

/// A file whose services others extend.
struct BaseFile {
    name: String,
    services: Map,
    cleared: Vec<Vec<String>>,
}

/// The files that were read for `extends`, by their path and the directory that paths are relative
/// to.
#[derive(Default)]
pub(crate) struct BaseFiles(RefCell<HashMap<(String, String), Rc<BaseFile>>>);

/// The chain of services and their files, to find cycles.
type Visited = Vec<(String, String)>;

/// Resolves `extends` of all services of a document.
pub(crate) fn apply(
    loader: &Loader<'_>,
    root: &mut Node,
    file: &File,
    document: &Document,
    scope: &Scope<'_>,
    bases: &BaseFiles,
) -> Result<()> {
    let Some(node) = root.find(&["services"]) else { return Ok(()) };
    let Some(services) = node.as_map() else {
        return Err(mapping("services", node));
    };
    let uses = |(_, entry): &(&str, &crate::node::Entry)| entry.node.find(&["extends"]).is_some();
    let names: Vec<String> = services.iter().filter(uses).map(|(name, _)| name.to_owned()).collect();
    if let Some((name, entry)) =
        services.iter().find(|(_, entry)| !entry.node.is_null() && entry.node.as_map().is_none())
    {
        return Err(mapping(&format!("services.{name}"), &entry.node));
    }
    let extension = Extension { loader, scope, bases };
    let mut resolved = Vec::with_capacity(names.len());
    for name in names {
        let origin = Origin { file: &file.name, services, cleared: &document.cleared };
        let node = extension.resolve(&name, &origin, &mut Vec::new())?;
        resolved.push((name, node));
    }
    let services = root.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut);
    if let Some(services) = services {
        for (name, node) in resolved {
            if let Some(slot) = services.get_mut(&name) {
                *slot = node;
            }
        }
    }
    Ok(())
}

fn mapping(name: &str, node: &Node) -> Error {
    let problem = Problem::at(node.place, Code::Value, format!("{name} must be a mapping"));
    problem.label(format!("this is {}", node.value.kind())).into()
}

struct Extension<'a> {
    loader: &'a Loader<'a>,
    scope: &'a Scope<'a>,
    bases: &'a BaseFiles,
}

/// The services of the file in which a base is looked up.
struct Origin<'a> {
    file: &'a str,
    services: &'a Map,
    cleared: &'a [Vec<String>],
}

impl Extension<'_> {
    fn resolve(&self, name: &str, origin: &Origin<'_>, visited: &mut Visited) -> Result<Node> {
        let Some(entry) = origin.services.entry(name) else { return Ok(Node::new(Value::Null, no_place(origin))) };
        let Some(service) = entry.node.as_map() else {
            return if entry.node.is_null() {
                Ok(entry.node.clone())
            } else {
                Err(mapping(&format!("services.{name}"), &entry.node))
            };
        };
        let Some(extends) = service.get("extends") else { return Ok(entry.node.clone()) };
        self.note(name, origin.file, extends.place, visited)?;
        let (base, file) = reference(name, extends)?;
        let loaded;
        let below = match file {
            None => origin,
            Some(file) => {
                loaded = self.base_file(name, &file)?;
                &Origin { file: &loaded.name, services: &loaded.services, cleared: &loaded.cleared }
            }
        };
        let Some(target) = below.services.entry(&base.0) else {
            let message = format!(
                "cannot extend service \"{name}\" in {}: service \"{}\" not found in {}",
                origin.file, base.0, below.file
            );
            let near = base::words::closest(&base.0, below.services.iter().map(|(name, _)| name));
            let problem = Problem::at(base.1, Code::Extends, message);
            return Err(near.map_or(problem.clone(), |near| problem.help(format!("did you mean `{near}`?"))).into());
        };
        let mut node = self.resolve(&base.0, below, visited)?;
        if node.is_null() {
            return Ok(entry.node.clone());
        }
        node.place = target.node.place;
        clear_service(&mut node, name, origin.cleared);
        let mut merged = merge::extend(node, entry.node.clone())?;
        merged.place = entry.node.place;
        if let Some(map) = merged.as_map_mut() {
            map.remove("extends");
        }
        Ok(merged)
    }

    fn note(&self, name: &str, file: &str, place: Place, visited: &mut Visited) -> Result<()> {
        let here = (name.to_owned(), file.to_owned());
        let again = visited.contains(&here);
        visited.push(here);
        if !again && visited.len() <= LONGEST {
            return Ok(());
        }
        let problem = if again {
            Problem::at(place, Code::Cycle, format!("circular reference: service \"{name}\" extends itself"))
        } else {
            Problem::at(place, Code::Limit, format!("more than {LONGEST} services extend each other in a chain"))
        };
        let chain = visited.iter().take(10).map(|(name, file)| format!("{name} in {file}"));
        Err(problem.note(chain.collect::<Vec<_>>().join(" extends ")).into())
    }

    fn base_file(&self, name: &str, file: &(String, Place)) -> Result<Rc<BaseFile>> {
        let (path, place) = file;
        if read::is_remote(path) {
            let message = format!("{path}: files of other machines can't be extended");
            return Err(Problem::at(*place, Code::Extends, message).help("fetch the file and name its path").into());
        }
        let local = filepath::absolute(&self.scope.files, path);
        let directory = self.relative_directory(&local);
        let key = (local.clone(), directory.clone());
        if let Some(known) = self.bases.0.borrow().get(&key) {
            return Ok(known.clone());
        }
        let file = self.loader.read(&local, Some(*place))?;
        let mut root: Option<Node> = None;
        let mut cleared = Vec::new();
        for document in file.documents.iter() {
            let over = self.loader.interpolated(document, self.scope)?;
            root = Some(match root {
                None => over,
                Some(mut root) => {
                    clear(&mut root, &document.cleared);
                    merge::merge(root, over, &Path::ROOT)?
                }
            });
            cleared.clone_from(&document.cleared);
        }
        let missing = || {
            let message = format!("cannot extend service \"{name}\" in {local}: no services section");
            Error::from(Problem::at(*place, Code::Extends, message))
        };
        let mut root = root.ok_or_else(missing)?;
        crate::unicity::enforce(&mut root, &Path::ROOT)?;
        self.loader.long_form(&mut root)?;
        let absolute = filepath::parent(&local);
        self.loader.base(&directory, &absolute).rebase(&mut root, &Path::ROOT)?;
        let services = match root.find(&["services"]).map(|node| &node.value) {
            Some(Value::Map(services)) => services.clone(),
            Some(_) => return Err(mapping("services", root.find(&["services"]).unwrap_or(&root))),
            None => return Err(missing()),
        };
        let base = Rc::new(BaseFile { name: local, services, cleared });
        self.bases.0.borrow_mut().insert(key, base.clone());
        Ok(base)
    }

    /// The directory of a file, relative to the one that file names are relative to.
    fn relative_directory(&self, local: &str) -> String {
        let folder = filepath::parent(local);
        filepath::relative(&self.scope.files, &folder).unwrap_or(folder)
    }
}

fn no_place(origin: &Origin<'_>) -> Place {
    origin.services.iter().next().map_or(Place::new(crate::place::FileId::NONE, 0, 0), |(_, entry)| entry.key)
}

type Named = (String, Place);

/// The name of a service's base, and the file that it is in.
fn reference(name: &str, extends: &Node) -> Result<(Named, Option<Named>)> {
    if let Some(service) = extends.as_text() {
        return Ok(((service.to_owned(), extends.place), None));
    }
    let text = |key: &str| extends.find(&[key]).and_then(|node| Some((node.as_text()?.to_owned(), node.place)));
    let Some(service) = text("service") else {
        let message = format!("services.{name}.extends: `service` is required");
        return Err(Problem::at(extends.place, Code::Extends, message).into());
    };
    match extends.find(&["file"]) {
        Some(file) if !file.is_null() && file.as_text().is_none() => {
            Err(Problem::at(file.place, Code::Extends, format!("services.{name}.extends.file must be a string")).into())
        }
        _ => Ok((service, text("file"))),
    }
}

/// Removes the values that the extending file resets.
fn clear_service(node: &mut Node, name: &str, cleared: &[Vec<String>]) {
    let below = |path: &Vec<String>| match path.as_slice() {
        [services, service, rest @ ..] if services == "services" && service == name && !rest.is_empty() => {
            Some(rest.to_vec())
        }
        _ => None,
    };
    let paths: Vec<Vec<String>> = cleared.iter().filter_map(below).collect();
    clear(node, &paths);
}
