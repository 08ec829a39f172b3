//! A target over another: over one that it inherits from, or over an earlier definition of the same.

use super::{Options, Target};
use crate::entry::{self, Resources};

impl Target {
    /// Puts another target over this one.
    pub fn merge(&mut self, other: &Target) {
        self.merge_bases(other);
        over(&mut self.context, &other.context);
        over(&mut self.dockerfile, &other.dockerfile);
        over(&mut self.dockerfile_inline, &other.dockerfile_inline);
        over(&mut self.target, &other.target);
        over(&mut self.call, &other.call);
        over(&mut self.tags, &other.tags);
        over(&mut self.platforms, &other.platforms);
        over(&mut self.cache_to, &other.cache_to);
        over(&mut self.outputs, &other.outputs);
        over(&mut self.pull, &other.pull);
        over(&mut self.no_cache, &other.no_cache);
        over(&mut self.network, &other.network);
        over(&mut self.shm_size, &other.shm_size);
        by_name(&mut self.args, &other.args);
        by_name(&mut self.labels, &other.labels);
        by_name(&mut self.extra_hosts, &other.extra_hosts);
        self.contexts.extend(other.contexts.clone());
        joined(&mut self.annotations, &other.annotations);
        joined(&mut self.policy, &other.policy);
        joined(&mut self.no_cache_filter, &other.no_cache_filter);
        joined(&mut self.ulimits, &other.ulimits);
        joined(&mut self.entitlements, &other.entitlements);
        joined(&mut self.attest, &other.attest);
        joined(&mut self.secrets, &other.secrets);
        joined(&mut self.ssh, &other.ssh);
        joined(&mut self.cache_from, &other.cache_from);
        if let Some(attest) = &mut self.attest {
            entry::later_wins(attest, |entry| &entry.kind);
        }
        if let Some(secrets) = &mut self.secrets {
            entry::later_wins(secrets, |entry| &entry.id);
        }
        if let Some(ssh) = &mut self.ssh {
            entry::later_wins(ssh, |entry| &entry.id);
        }
        if let Some(caches) = &mut self.cache_from {
            entry::without_duplicates(caches);
        }
        if let Some(resources) = &other.resources {
            self.resources.get_or_insert_with(Resources::default).merge(resources);
        }
        if !other.description.is_empty() {
            self.description.clone_from(&other.description);
        }
        self.inherits.extend(other.inherits.iter().cloned());
        self.spans.extend(other.spans.iter().map(|(name, span)| (*name, *span)));
    }

    fn merge_bases(&mut self, other: &Target) {
        if other.bases.default.is_some() {
            self.bases.default.clone_from(&other.bases.default);
            self.bases.use_default = other.bases.use_default;
        }
        if other.context.is_some() {
            self.bases.context.clone_from(&other.bases.context);
            self.bases.reference.clone_from(&other.bases.reference);
        }
        for name in other.contexts.keys() {
            match other.bases.contexts.get(name) {
                Some(base) => drop(self.bases.contexts.insert(name.clone(), base.clone())),
                None => drop(self.bases.contexts.remove(name)),
            }
        }
    }
}

fn over<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
    if other.is_some() {
        own.clone_from(other);
    }
}

fn by_name(own: &mut Options, other: &Options) {
    let set = other.iter().filter(|(_, value)| value.is_some());
    own.extend(set.map(|(name, value)| (name.clone(), value.clone())));
}

fn joined<T: Clone>(own: &mut Option<Vec<T>>, other: &Option<Vec<T>>) {
    if let Some(other) = other {
        own.get_or_insert_default().extend(other.iter().cloned());
    }
}
