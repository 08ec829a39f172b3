//! A target as the words of `kiln build`: what a target asks for is read as the command line is.

use ::bake::entry::{Attest, Attributes};
use ::bake::target::Target;
use std::path::Path;

/// The words of a target, those of its context and Dockerfile last.
pub(super) fn of(target: &Target) -> Vec<String> {
    let mut words = Words(Vec::new());
    for (name, value) in &target.args {
        words.pair("--build-arg", name, value.as_deref());
    }
    for (name, value) in &target.labels {
        words.pair("--label", name, value.as_deref());
    }
    for (name, value) in &target.extra_hosts {
        words.pair("--add-host", name, value.as_deref());
    }
    for (name, value) in target.contexts.iter().filter(|(_, value)| !value.starts_with("target:")) {
        let value = match value.strip_prefix("cwd://") {
            Some("") => ".",
            Some(local) => local,
            None => value,
        };
        words.flag("--build-context", format!("{name}={value}"));
    }
    words.list("--platform", &target.platforms);
    words.list("--no-cache-filter", &target.no_cache_filter);
    words.list("--ulimit", &target.ulimits);
    words.list("--allow", &target.entitlements);
    words.list("--annotation", &target.annotations);
    words.option("--target", &target.target);
    words.option("--network", &target.network);
    words.option("--shm-size", &target.shm_size);
    words.option("--call", &target.call);
    for (flag, on) in [("--pull", target.pull), ("--no-cache", target.no_cache)] {
        if on == Some(true) {
            words.0.push(flag.to_owned());
        }
    }
    entries(target, &mut words);
    outputs(target, &mut words);
    words.0.push("--".to_owned());
    words.0
}

struct Words(Vec<String>);

impl Words {
    fn flag(&mut self, flag: &str, value: String) {
        self.0.push(format!("{flag}={value}"));
    }

    fn pair(&mut self, flag: &str, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.flag(flag, format!("{name}={value}"));
        }
    }

    fn list(&mut self, flag: &str, list: &Option<Vec<String>>) {
        for text in list.iter().flatten() {
            self.flag(flag, text.clone());
        }
    }

    fn option(&mut self, flag: &str, text: &Option<String>) {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            self.flag(flag, text.clone());
        }
    }
}

fn entries(target: &Target, words: &mut Words) {
    for secret in target.secrets.iter().flatten() {
        let mut fields = vec![("id", secret.id.as_str())];
        if !secret.env.is_empty() {
            fields.push(("env", &secret.env));
        } else if !secret.path.is_empty() {
            fields.push(("src", &secret.path));
        } else if std::env::var_os(&secret.id).is_none() {
            fields.push(("src", &secret.id));
        }
        words.flag("--secret", csv(fields));
    }
    for ssh in target.ssh.iter().flatten() {
        let id = if ssh.id.is_empty() { "default" } else { &ssh.id };
        let paths = ssh.paths.join(",");
        words.flag("--ssh", if paths.is_empty() { id.to_owned() } else { format!("{id}={paths}") });
    }
    for (flag, caches) in [("--cache-from", &target.cache_from), ("--cache-to", &target.cache_to)] {
        for cache in caches.iter().flatten() {
            words.flag(flag, typed(&cache.kind, &cache.attributes, &[]));
        }
    }
    for attest in target.attest.iter().flatten() {
        let Attest { kind, disabled, attributes } = attest;
        if !disabled {
            words.flag("--attest", typed(kind, attributes, &[]));
        }
    }
    if let Some(limits) = &target.resources {
        let texts = [
            ("memory", limits.memory.clone()),
            ("memory-swap", limits.memory_swap.clone()),
            ("cpu-shares", limits.cpu_shares.map(|number| number.to_string())),
            ("cpu-period", limits.cpu_period.map(|number| number.to_string())),
            ("cpu-quota", limits.cpu_quota.map(|number| number.to_string())),
            ("cpuset-cpus", limits.cpuset_cpus.clone()),
            ("cpuset-mems", limits.cpuset_mems.clone()),
        ];
        for (name, value) in texts {
            words.pair("--resource", name, value.as_deref());
        }
    }
}

/// Outputs and names. A target that only others use, and one whose output is the cache alone, goes
/// nowhere.
fn outputs(target: &Target, words: &mut Words) {
    let outputs = target.outputs.as_deref().unwrap_or_default();
    if target.linked || (!outputs.is_empty() && outputs.iter().all(|output| output.kind == "cacheonly")) {
        return;
    }
    words.list("--tag", &target.tags);
    for output in outputs {
        // `docker` without a destination loads into the daemon: the store is what kiln has in its
        // place.
        let loads = output.kind == "docker" && output.destination.is_empty();
        if loads || output.kind == "cacheonly" {
            continue;
        }
        let dest = (!output.destination.is_empty()).then_some(("dest", output.destination.as_str()));
        words.flag("--output", typed(&output.kind, &output.attributes, dest.as_slice()));
    }
}

fn typed(kind: &str, attributes: &Attributes, more: &[(&str, &str)]) -> String {
    let own = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    csv([("type", kind)].into_iter().chain(own).chain(more.iter().copied()))
}

/// Fields behind commas; one with a comma or a quote in it is quoted.
fn csv<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = |(name, value): (&str, &str)| match format!("{name}={value}") {
        field if field.contains([',', '"']) => format!("\"{}\"", field.replace('"', "\"\"")),
        field => field,
    };
    fields.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}

/// The Dockerfile of a target as `--file` names it; none for the usual one of a context elsewhere.
pub(super) fn file(target: &Target, remote: bool) -> Option<String> {
    let file = target.dockerfile.as_deref().unwrap_or("Dockerfile");
    if let Some(local) = file.strip_prefix("cwd://") {
        return Some(local.to_owned());
    }
    if remote {
        return (file != "Dockerfile").then(|| file.to_owned());
    }
    let context = target.context.as_deref().unwrap_or(".");
    Some(Path::new(context).join(file).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::bake::entry::{Export, Secret};

    #[test]
    fn a_target_is_said_in_the_words_of_build() {
        let target = Target {
            args: [("A".to_owned(), Some("x,y".to_owned())), ("N".to_owned(), None)].into(),
            tags: Some(vec!["r/app:1".to_owned()]),
            secrets: Some(vec![Secret { id: "t".into(), path: String::new(), env: "TOK".into() }]),
            outputs: Some(vec![Export { kind: "local".into(), destination: "o,ut".into(), ..Export::default() }]),
            pull: Some(true),
            ..Target::default()
        };
        let words = of(&target);
        let want = [
            "--build-arg=A=x,y",
            "--pull",
            "--secret=id=t,env=TOK",
            "--tag=r/app:1",
            "--output=type=local,\"dest=o,ut\"",
            "--",
        ];
        assert_eq!(words, want);
    }

    #[test]
    fn a_linked_target_goes_nowhere() {
        let target = Target { tags: Some(vec!["x".to_owned()]), linked: true, ..Target::default() };
        assert_eq!(of(&target), ["--"]);
    }
}
