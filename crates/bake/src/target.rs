//! Targets and groups.

mod attributes;
mod merge;
mod print;

pub use attributes::{NAMES, set};
pub use print::{group_json, target_json};

use crate::entry::{self, Attest, Cache, Export, Policy, Resources, Secret, Ssh};
use crate::paths;
use crate::problem::Span;
use std::collections::BTreeMap;

/// Names of targets.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Targets and groups.
    pub targets: Vec<String>,
    /// The list was never set: it is printed as null.
    pub unset: bool,
    /// The place of the list.
    pub span: Option<Span>,
}

/// Text by name; none does not override.
pub type Options = BTreeMap<String, Option<String>>;

/// One build. A list that was not set is none; an empty one that was set overrides.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Targets that it takes over from.
    pub inherits: Vec<String>,
    /// `annotations`
    pub annotations: Option<Vec<String>>,
    /// `attest`
    pub attest: Option<Vec<Attest>>,
    /// `context`
    pub context: Option<String>,
    /// `contexts`
    pub contexts: BTreeMap<String, String>,
    /// `dockerfile`
    pub dockerfile: Option<String>,
    /// `dockerfile-inline`
    pub dockerfile_inline: Option<String>,
    /// `args`
    pub args: Options,
    /// `labels`
    pub labels: Options,
    /// `tags`
    pub tags: Option<Vec<String>>,
    /// `cache-from`
    pub cache_from: Option<Vec<Cache>>,
    /// `cache-to`
    pub cache_to: Option<Vec<Cache>>,
    /// `target`: the stage.
    pub target: Option<String>,
    /// `secret`
    pub secrets: Option<Vec<Secret>>,
    /// `ssh`
    pub ssh: Option<Vec<Ssh>>,
    /// `platforms`
    pub platforms: Option<Vec<String>>,
    /// `output`
    pub outputs: Option<Vec<Export>>,
    /// `pull`
    pub pull: Option<bool>,
    /// `no-cache`
    pub no_cache: Option<bool>,
    /// `network`
    pub network: Option<String>,
    /// `no-cache-filter`
    pub no_cache_filter: Option<Vec<String>>,
    /// `shm-size`
    pub shm_size: Option<String>,
    /// `ulimits`
    pub ulimits: Option<Vec<String>>,
    /// `resources`
    pub resources: Option<Resources>,
    /// `call`
    pub call: Option<String>,
    /// `entitlements`
    pub entitlements: Option<Vec<String>>,
    /// `extra-hosts`
    pub extra_hosts: Options,
    /// `policy`
    pub policy: Option<Vec<Policy>>,
    /// Another target names it as a context: it is built, its result goes nowhere.
    pub linked: bool,
    /// Places of attributes.
    pub spans: BTreeMap<&'static str, Span>,
    /// Folders of files that set the paths.
    pub bases: Bases,
    /// The definition is from a tree elsewhere, and contexts are paths in it.
    pub elsewhere: bool,
    /// The context is such a path.
    pub inside: bool,
}

/// Folders of the files that set a target's paths, for paths that are relative to them.
#[derive(Clone, Debug, Default)]
pub struct Bases {
    /// That of the target itself.
    pub default: Option<String>,
    /// No file set a context: the default one is relative to the target's file.
    pub use_default: bool,
    /// That of the context.
    pub context: Option<String>,
    /// The context is that of another target.
    pub reference: String,
    /// Those of named contexts.
    pub contexts: BTreeMap<String, String>,
}

impl Target {
    /// Says that the definition is from a tree elsewhere. Its root is the context where `.` is.
    pub fn place_in(&mut self, url: &str) {
        let context = self.context.get_or_insert_with(|| ".".to_owned());
        for context in self.contexts.values_mut().chain([context]).filter(|context| *context == ".") {
            url.clone_into(context);
        }
        self.elsewhere = true;
        self.inside = self.context.as_deref().is_some_and(is_path);
    }

    /// The place of an attribute.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.spans.get(name).copied()
    }

    /// Drops what is there twice or empty.
    pub fn normalize(&mut self) {
        for list in
            [&mut self.annotations, &mut self.tags, &mut self.platforms, &mut self.no_cache_filter, &mut self.ulimits]
        {
            unique(list);
        }
        if let Some(attest) = &mut self.attest {
            entry::later_wins(attest, |entry| &entry.kind);
        }
        if let Some(secrets) = &mut self.secrets {
            entry::later_wins(secrets, |entry| &entry.id);
        }
        if let Some(ssh) = &mut self.ssh {
            entry::later_wins(ssh, |entry| &entry.id);
        }
        for caches in [&mut self.cache_from, &mut self.cache_to].into_iter().flatten() {
            entry::without_duplicates(caches);
        }
        if let Some(outputs) = &mut self.outputs {
            entry::without_duplicates(outputs);
        }
        if self.network.as_deref() == Some("host") {
            self.entitlements.get_or_insert_default().push("network.host".into());
        }
        unique(&mut self.entitlements);
        self.contexts.retain(|_, value| !value.is_empty());
    }

    /// Makes the paths relative to the files that set them.
    pub fn rebase(&mut self) {
        match (&mut self.context, &self.bases.context) {
            (Some(context), Some(base)) => *context = rebased(base, context),
            (None, _) if self.bases.default.is_some() => self.bases.use_default = true,
            _ => {}
        }
        for (name, value) in &mut self.contexts {
            if let Some(base) = self.bases.contexts.get(name) {
                *value = rebased(base, value);
            }
        }
    }
}

/// True of a context that is a path of the tree that the definition is from.
pub fn is_path(context: &str) -> bool {
    let special = ["cwd://", "target:", "docker-image:", "oci-layout://"];
    !special.iter().any(|scheme| context.starts_with(scheme)) && !crate::remote::is_remote(context)
}

/// A path of a file in a folder, unless it is no relative path.
pub fn rebased(base: &str, path: &str) -> String {
    if base.is_empty() || path.is_empty() || !is_path(path) || path.starts_with('/') {
        return path.into();
    }
    paths::join(base, path)
}

fn unique(list: &mut Option<Vec<String>>) {
    let Some(list) = list else { return };
    let mut kept: Vec<String> = Vec::with_capacity(list.len());
    for text in list.drain(..) {
        if !text.is_empty() && !kept.contains(&text) {
            kept.push(text);
        }
    }
    *list = kept;
}
