//! `include`: loads other files with their own directory and variables, and adds their models to a
//! file.

use crate::filepath;
use crate::host::Kind;
use crate::load::{File, Loader, Scope, clear};
use crate::merge;
use crate::node::{Map, Node, Value};
use crate::path::Path;
use crate::place::Place;
use crate::problem::{Code, Problem, Result};
use crate::read;
use crate::yaml::Document;

/// The longest chain of files that include each other.
const LONGEST: usize = 50;

const SECTIONS: [&str; 6] = ["services", "volumes", "networks", "secrets", "configs", "models"];

/// An entry of the list.
struct Include {
    paths: Vec<(String, Place)>,
    directory: Option<String>,
    env_files: Vec<(String, Place)>,
    place: Place,
}

/// Loads the included files of a document into its tree.
pub(crate) fn apply(
    loader: &Loader<'_>,
    root: &mut Node,
    file: &File,
    document: &Document,
    scope: &Scope<'_>,
) -> Result<()> {
    let Some(node) = root.as_map_mut().and_then(|map| map.remove("include")) else { return Ok(()) };
    let mut included = scope.included.clone();
    included.push(file.name.clone());
    for include in entries(&node.node)? {
        let model = load(loader, &include, scope, &included)?;
        if let (Some(model), Some(map)) = (model, root.as_map_mut()) {
            import(model, map, document)?;
        }
    }
    Ok(())
}

fn entries(node: &Node) -> Result<Vec<Include>> {
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::List(list) => list.iter().map(entry).collect(),
        value => {
            let problem = Problem::at(node.place, Code::Value, "`include` must be a list");
            Err(problem.label(format!("this is {}", value.kind())).into())
        }
    }
}

fn entry(node: &Node) -> Result<Include> {
    let place = node.place;
    let wrong = |key: &str, place: Place| {
        Problem::at(place, Code::Value, format!("include.{key} must be a string or a list of strings"))
    };
    let texts = |key: &str, node: Option<&Node>| -> Result<Vec<(String, Place)>> {
        let Some(node) = node.filter(|node| !node.is_null()) else { return Ok(Vec::new()) };
        let list = node.as_list().unwrap_or(std::slice::from_ref(node));
        list.iter()
            .map(|item| Ok((item.as_text().ok_or_else(|| wrong(key, item.place))?.to_owned(), item.place)))
            .collect()
    };
    let Some(map) = node.as_map() else {
        return Ok(Include { paths: texts("path", Some(node))?, directory: None, env_files: Vec::new(), place });
    };
    if let Some((key, entry)) = map.iter().find(|(key, _)| !matches!(*key, "path" | "env_file" | "project_directory")) {
        let message = format!("include: additional property `{key}` is not allowed");
        let near = base::words::closest(key, ["path", "env_file", "project_directory"]);
        let problem = Problem::at(entry.key, Code::Key, message);
        return Err(near.map_or(problem.clone(), |near| problem.help(format!("did you mean `{near}`?"))).into());
    }
    Ok(Include {
        paths: texts("path", map.get("path"))?,
        directory: map.text("project_directory").filter(|text| !text.is_empty()).map(str::to_owned),
        env_files: texts("env_file", map.get("env_file"))?,
        place,
    })
}

fn load(loader: &Loader<'_>, include: &Include, scope: &Scope<'_>, included: &[String]) -> Result<Option<Node>> {
    if included.len() > LONGEST {
        let message = format!("more than {LONGEST} files include each other in a chain");
        return Err(Problem::at(include.place, Code::Limit, message).into());
    }
    if let Some((path, place)) = include.paths.iter().find(|(path, _)| read::is_remote(path)) {
        let message = format!("{path}: files of other machines can't be included");
        return Err(Problem::at(*place, Code::Extends, message).help("fetch the file and name its path").into());
    }
    let paths: Vec<(String, Place)> =
        include.paths.iter().map(|(path, place)| (filepath::absolute(&scope.files, path), *place)).collect();
    let Some((main, place)) = paths.first() else { return Ok(None) };
    if included.contains(main) {
        let chain = included.iter().chain([main]).map(String::as_str).collect::<Vec<_>>().join(" includes ");
        return Err(Problem::at(*place, Code::Cycle, "include cycle detected").note(chain).into());
    }
    let relative = |directory: &str| filepath::relative(&scope.files, directory).unwrap_or(directory.to_owned());
    let (directory, absolute) = match &include.directory {
        None => (relative(&filepath::parent(main)), filepath::parent(main)),
        Some(directory) if directory.starts_with('/') => (directory.clone(), filepath::clean(directory)),
        Some(directory) => {
            let absolute = filepath::absolute(&scope.absolute, directory);
            (relative(&filepath::absolute(&scope.files, directory)), absolute)
        }
    };
    let mut environment = scope.environment.clone();
    let files = environment_files(loader, include, scope, &absolute)?;
    for (name, value) in read::environment_files(loader.host, loader.report, &files, scope.environment)? {
        environment.entry(name).or_insert(value);
    }
    let files = paths.iter().map(|(path, place)| loader.read(path, Some(*place))).collect::<Result<Vec<_>>>()?;
    let inner = Scope {
        environment: &environment,
        directory,
        files: absolute.clone(),
        absolute,
        paths: true,
        included: included.to_vec(),
    };
    loader.model(&files, &inner)
}

fn environment_files(
    loader: &Loader<'_>,
    include: &Include,
    scope: &Scope<'_>,
    directory: &str,
) -> Result<Vec<(String, Option<Place>)>> {
    if include.env_files.is_empty() {
        let default = read::default_environment(loader.host, directory)?;
        return Ok(default.into_iter().map(|path| (path, Some(include.place))).collect());
    }
    let mut files = Vec::new();
    for (path, place) in include.env_files.iter().filter(|(path, _)| path != "/dev/null") {
        let absolute = filepath::absolute(&scope.absolute, path);
        let fault = |what: String| Problem::at(*place, Code::File, format!("{absolute}: {what}"));
        match loader.host.kind(&absolute) {
            Err(error) => return Err(fault(read::words(&error)).into()),
            Ok(Kind::Directory) => return Err(fault("is a directory, not a file".to_owned()).into()),
            Ok(_) => files.push((absolute, Some(*place))),
        }
    }
    Ok(files)
}

/// Adds the parts of a model to a tree. Parts that the tree has too override those of the model.
fn import(mut model: Node, target: &mut Map, document: &Document) -> Result<()> {
    let Some(source) = model.as_map_mut() else { return Ok(()) };
    for section in SECTIONS {
        let Some(from) = source.remove(section) else { continue };
        let Value::Map(from) = from.node.value else { continue };
        if target.get(section).is_none_or(Node::is_null) {
            target.insert(section, Node::new(Value::Map(Map::default()), model_place(&from)));
        }
        let Some(node) = target.get_mut(section) else { continue };
        let place = node.place;
        let Some(into) = node.as_map_mut() else {
            return Err(Problem::at(place, Code::Value, format!("{section} must be a mapping")).into());
        };
        for (name, mut entry) in from {
            let Some(own) = into.remove(&name) else {
                into.put(name, entry);
                continue;
            };
            let within: Vec<Vec<String>> =
                document.cleared.iter().filter_map(|path| below(path, section, &name)).collect();
            clear(&mut entry.node, &within);
            let root = Path::ROOT.key(section);
            let node = merge::merge(entry.node, own.node, &root.key(&name))?;
            into.put(name, crate::node::Entry { key: own.key, node });
        }
    }
    Ok(())
}

fn below(path: &[String], section: &str, name: &str) -> Option<Vec<String>> {
    match path {
        [first, second, rest @ ..] if first == section && second == name && !rest.is_empty() => Some(rest.to_vec()),
        _ => None,
    }
}

fn model_place(map: &Map) -> Place {
    map.iter().next().map_or(Place::new(crate::place::FileId::NONE, 0, 0), |(_, entry)| entry.key)
}
