//! The account of a step, field by field, made by the same walk as its key.

use super::{ARGUMENT, BASE, ENVIRONMENT, INSTRUCTION, MOUNT, OPTION};
use base::digest::Digest;
use frontend::check::looks_secret;
use serde::{Deserialize, Serialize};
use solver::{Describe, Difference, Manifest};
use std::collections::BTreeSet;

/// The longest value; a longer one is cut and gets its digest appended.
const LONGEST_VALUE: usize = 300;

/// A step as it ran, or was tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Account {
    /// `RUN make`: the name without its `[build 2/4]`.
    pub text: String,
    /// The stage of the step.
    pub stage: String,
    /// Its position in the stage.
    pub number: usize,
    /// The written key.
    pub written: String,
    /// The time in milliseconds since 1970.
    pub at: i64,
    /// True if it had a result.
    pub done: bool,
    /// The op's description.
    pub fields: Vec<Field>,
    /// For each input that is a step's output, a name for all its layers; empty for others.
    pub inputs: Vec<String>,
    /// The digest of the selection of a copy.
    pub selection: Option<String>,
}

/// One part of a description, in the user's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Field {
    /// A word of [`solver::Miss::cause`].
    pub what: String,
    /// The name of the part.
    pub name: String,
    /// The value of the part.
    pub value: String,
}

impl Account {
    /// The similarity of another account; 0 means another step.
    pub(super) fn likeness(&self, other: &Account, strangers: bool) -> usize {
        let text = self.text == other.text;
        let place = self.stage == other.stage && self.number == other.number;
        if self.text.split(' ').next() != other.text.split(' ').next()
            || (!text && (strangers || !(place || alike(&self.text, &other.text))))
        {
            return 0;
        }
        let equal = self.fields.iter().filter(|field| other.fields.contains(field)).count();
        let parts = 8 * equal / self.fields.len().max(other.fields.len()).max(1);
        let exact = usize::from(self.selection == other.selection) + usize::from(self.inputs == other.inputs);
        1 + parts
            + 8 * usize::from(text)
            + 4 * usize::from(place)
            + 2 * usize::from(self.stage == other.stage)
            + exact
            + 16 * usize::from(self.written == other.written)
    }

    /// The fields that differ, the most relevant first.
    pub(super) fn compare(&self, old: &Account) -> Vec<Difference> {
        let mut all = Vec::new();
        for cause in [BASE, INSTRUCTION, ARGUMENT, ENVIRONMENT, MOUNT, OPTION] {
            let of = |account: &Account| -> Vec<Field> {
                account.fields.iter().filter(|field| field.what == cause).cloned().collect()
            };
            let (before, now) = (of(old), of(self));
            if cause == INSTRUCTION && before != now {
                let (old, new) = match old.text == self.text {
                    false => (old.text.clone(), self.text.clone()),
                    true => (joined(&before), joined(&now)),
                };
                all.push(Difference { cause, name: String::new(), old: Some(old), new: Some(new) });
                continue;
            }
            let value = |fields: &[Field], name: &str| {
                fields.iter().find(|field| field.name == name).map(|field| field.value.clone())
            };
            let gone = before.iter().filter(|field| value(&now, &field.name).is_none());
            for field in now.iter().chain(gone) {
                let (old, new) = (value(&before, &field.name), value(&now, &field.name));
                if old != new {
                    all.push(Difference { cause, name: field.name.clone(), old, new });
                }
            }
        }
        if all.is_empty() && self.fields != old.fields {
            all.push(Difference { cause: OPTION, name: "order".to_owned(), old: None, new: None });
        }
        all
    }
}

fn joined(fields: &[Field]) -> String {
    fields.iter().map(|field| field.value.as_str()).collect::<Vec<_>>().join(" ")
}

/// True if two texts share their first half.
fn alike(one: &str, two: &str) -> bool {
    let shared = one.bytes().zip(two.bytes()).take_while(|(one, two)| one == two).count();
    shared * 2 > one.len().max(two.len())
}

/// The description of an op as fields. `arguments` are the names that are build arguments.
pub(super) fn fields(op: &impl Describe, arguments: &BTreeSet<String>) -> Vec<Field> {
    let mut reader =
        Reader { arguments, fields: Vec::new(), groups: Vec::new(), parts: Vec::new(), name: String::new() };
    op.describe(&mut reader);
    reader.fields
}

/// A base image as a field. Its position identifies it, because its name may change too.
pub(super) fn base(place: usize, name: &str, digest: &str) -> Field {
    let value = format!("{}@{digest}", name.split('@').next().unwrap_or(name));
    Field { what: BASE.to_owned(), name: place.to_string(), value }
}

struct Reader<'a> {
    arguments: &'a BTreeSet<String>,
    fields: Vec<Field>,
    groups: Vec<&'static str>,
    /// The parts of the open group, if it becomes one field.
    parts: Vec<String>,
    /// The first text of a pair or a mount.
    name: String,
}

impl Reader<'_> {
    fn push(&mut self, what: &str, name: &str, value: &str) {
        let value = if matches!(what, ARGUMENT | ENVIRONMENT) && looks_secret(name) {
            format!("(hidden, {})", short(value))
        } else {
            cut(value)
        };
        self.fields.push(Field { what: what.to_owned(), name: name.to_owned(), value });
    }
}

/// True for the index of an input in the graph, which means nothing to the user.
fn is_place(name: &str, value: &str) -> bool {
    matches!(name, "base" | "from") && (value == "none" || value.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Manifest for Reader<'_> {
    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        match (self.groups.last().copied(), name) {
            _ if is_place(name, &value) => {}
            (None, "op") => {}
            (None, "dest" | "path") => self.push(INSTRUCTION, name, &value),
            (None, _) => self.push(OPTION, name, &value),
            (Some("env" | "hosts"), "name") | (Some("mount"), "target") => self.name = value,
            (Some("env"), _) => {
                let name = std::mem::take(&mut self.name);
                let what = if self.arguments.contains(&name) { ARGUMENT } else { ENVIRONMENT };
                self.push(what, &name, &value);
            }
            (Some("hosts"), _) => {
                let name = std::mem::take(&mut self.name);
                self.push(OPTION, &format!("host {name}"), &value);
            }
            (Some("mount"), _) => self.parts.push(format!("{name}={value}")),
            (Some(_), _) => self.parts.push(value),
        }
    }

    fn open(&mut self, name: &'static str) {
        self.groups.push(name);
        self.parts.clear();
    }

    fn close(&mut self) {
        let (group, parts) = (self.groups.pop().unwrap_or(""), std::mem::take(&mut self.parts));
        match group {
            "env" | "hosts" | "mounts" => {}
            "mount" => {
                let name = std::mem::take(&mut self.name);
                self.push(MOUNT, &name, &parts.join(","));
            }
            "args" | "sources" => self.push(INSTRUCTION, group, &parts.join(" ")),
            _ if parts.is_empty() => {}
            _ => self.push(OPTION, group, &parts.join(" ")),
        }
    }
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}... ({} bytes, {})", &value[..end], value.len(), short(value)),
        None => value.to_owned(),
    }
}

fn short(value: &str) -> String {
    Digest::of(value.as_bytes()).to_string().chars().take(19).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontend::op::{Exec, Mount, MountKind, Op};

    fn account(exec: &Exec, text: &str) -> Account {
        let arguments = BTreeSet::from(["VERSION".to_owned()]);
        Account { text: text.to_owned(), fields: fields(&Op::Exec(exec.clone()), &arguments), ..Account::default() }
    }

    fn exec() -> Exec {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Exec {
            args: ["/bin/sh", "-c", "make"].map(str::to_owned).to_vec(),
            env: vec![pair("PATH", "/bin"), pair("VERSION", "1"), pair("API_TOKEN", "hush")],
            mounts: vec![Mount { target: "/tmp".to_owned(), kind: MountKind::Tmpfs { size: None } }],
            ..Exec::default()
        }
    }

    #[test]
    fn every_field_of_a_run_is_named_in_words_of_the_user() {
        let old = account(&exec(), "RUN make");
        let causes = |change: &dyn Fn(&mut Exec)| {
            let mut new = exec();
            change(&mut new);
            let text = if new.args == exec().args { "RUN make" } else { "RUN make all" };
            let all = account(&new, text).compare(&old);
            all.into_iter().map(|one| format!("{} {}", one.cause, one.name)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(causes(&|_| {}), "");
        assert_eq!(causes(&|exec| exec.args[2] = "make all".to_owned()), "instruction ");
        assert_eq!(causes(&|exec| exec.env[1].1 = "2".to_owned()), "argument VERSION");
        assert_eq!(causes(&|exec| exec.env[0].1 = "/".to_owned()), "environment PATH");
        assert_eq!(causes(&|exec| drop(exec.env.remove(0))), "environment PATH");
        assert_eq!(causes(&|exec| exec.env.swap(0, 1)), "option order");
        assert_eq!(causes(&|exec| exec.mounts[0].kind = MountKind::Tmpfs { size: Some(1) }), "mount /tmp");
        assert_eq!(causes(&|exec| exec.cwd = "/x".to_owned()), "option cwd");
        assert_eq!(causes(&|exec| exec.user = "me".to_owned()), "option user");
    }

    #[test]
    fn what_looks_like_a_secret_is_not_kept() {
        let kept = serde_json::to_string(&account(&exec(), "RUN make")).expect("JSON");
        assert!(!kept.contains("hush") && kept.contains("API_TOKEN"), "{kept}");
    }

    #[test]
    fn a_renamed_stage_and_a_changed_text_are_still_near() {
        let make =
            |text: &str, stage: &str, number| Account { stage: stage.to_owned(), number, ..account(&exec(), text) };
        let now = make("RUN make all", "build", 3);
        assert!(
            now.likeness(&make("RUN make all", "other", 7), false) > now.likeness(&make("RUN x", "build", 3), false)
        );
        assert!(now.likeness(&make("RUN make al", "other", 9), false) > 0);
        assert_eq!(now.likeness(&make("RUN x", "other", 9), false), 0);
        assert_eq!(now.likeness(&make("RUN x", "build", 3), true), 0);
        assert_eq!(now.likeness(&make("COPY . .", "build", 3), false), 0);
    }
}
