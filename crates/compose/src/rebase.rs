//! Makes the relative paths of a tree relative to a directory.

use crate::filepath;
use crate::host::Host;
use crate::node::{Node, Value};
use crate::path::{ITEM, Path};
use crate::problem::{Code, Problem, Result};

/// The directory that paths are relative to.
pub struct Base<'a> {
    /// The machine, to resolve symbolic links in watched paths.
    pub host: &'a dyn Host,
    /// The directory: absolute, or relative to the one of the including file.
    pub directory: &'a str,
    /// The same directory, absolute.
    pub absolute: &'a str,
    /// The user's home.
    pub home: Option<&'a str>,
}

impl Base<'_> {
    /// Rebases all paths of a tree.
    pub fn rebase(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        match &*path.names() {
            ["services", _, rest @ ..] => match rest {
                ["build", "context"] | ["build", "additional_contexts", _] => self.context(node),
                ["build", "ssh", _] => self.text(node, |text| self.unix(text)),
                ["env_file", ITEM, "path"] | ["label_file", ITEM] | ["extends", "file"] => {
                    self.text(node, |text| self.plain(text));
                }
                ["develop", "watch", ITEM, "path"] => return self.watched(node),
                ["volumes", ITEM] => return self.mount(node, path),
                _ => return self.below(node, path),
            },
            ["configs" | "secrets", _, "file"] => self.text(node, |text| self.unix(text)),
            ["volumes", _] => self.device(node),
            _ => return self.below(node, path),
        }
        Ok(())
    }

    fn below(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        match &mut node.value {
            Value::Map(map) => map.iter_mut().try_for_each(|(key, entry)| self.rebase(&mut entry.node, &path.key(key))),
            Value::List(list) => list.iter_mut().try_for_each(|item| self.rebase(item, &path.item())),
            _ => Ok(()),
        }
    }

    fn text(&self, node: &mut Node, rebased: impl Fn(&str) -> String) {
        if let Value::Text(text) = &mut node.value {
            *text = rebased(text);
        }
    }

    fn plain(&self, text: &str) -> String {
        let text = filepath::expand_home(text, self.home);
        if text.starts_with('/') || text.is_empty() { text } else { filepath::join(self.directory, &text) }
    }

    /// Rebases a path, which may be a Windows path.
    fn unix(&self, text: &str) -> String {
        let text = filepath::expand_home(text, self.home);
        let absolute = text.starts_with('/') || filepath::is_windows_absolute(&text);
        if absolute { text } else { filepath::join(self.directory, &text) }
    }

    fn context(&self, node: &mut Node) {
        self.text(node, |text| if is_remote_context(text) { text.to_owned() } else { self.plain(text) });
    }

    fn watched(&self, node: &mut Node) -> Result<()> {
        let place = node.place;
        let Value::Text(text) = &mut node.value else { return Ok(()) };
        let expanded = filepath::expand_home(text, self.home);
        let absolute = filepath::absolute(self.absolute, &expanded);
        *text = self.plain(text);
        let mut link = String::new();
        for name in absolute.split('/').filter(|name| !name.is_empty()) {
            link = format!("{link}/{name}");
            if self.host.is_link(&link) {
                let target = self.host.canonical(&link).map_err(|error| {
                    let message = format!("the link {link} can't be followed: {}", crate::read::words(&error));
                    Problem::at(place, Code::File, message)
                })?;
                *text = absolute.replacen(&link, &target, 1);
                break;
            }
        }
        Ok(())
    }

    fn mount(&self, node: &mut Node, path: &Path<'_>) -> Result<()> {
        let place = node.place;
        let Some(map) = node.as_map_mut().filter(|map| map.text("type") == Some("bind")) else { return Ok(()) };
        let Some(source) = map.get_mut("source") else {
            let message = format!("{path}: invalid mount config for type \"bind\": field source must not be empty");
            return Err(Problem::at(place, Code::Value, message).into());
        };
        self.text(source, |text| self.unix(text));
        Ok(())
    }

    /// Rebases the device of a volume of the local driver that is a bind mount.
    fn device(&self, node: &mut Node) {
        let Some(map) = node.as_map_mut().filter(|map| map.text("driver") == Some("local")) else { return };
        let options = map.get_mut("driver_opts").and_then(Node::as_map_mut).filter(|map| map.text("o") == Some("bind"));
        if let Some(device) = options.and_then(|options| options.get_mut("device")) {
            self.text(device, |text| self.unix(text));
        }
    }
}

/// True if a build context is no path, but a URL, a repository or a service.
pub fn is_remote_context(text: &str) -> bool {
    const PREFIXES: [&str; 4] = ["service:", "github.com/", "git@", "ssh://"];
    text.contains("://") || PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}
