//! Formats a cause as one line.

use super::{ARGUMENT, BASE, ENVIRONMENT, FILE, INPUT, MOST_DIFFERENCES, MOUNT, NEW, OPTION, REMOTE};
use cache::Elsewhere;
use solver::{Difference, Miss};

/// A difference in words. `root` is the cause behind a changed input.
pub(super) fn of(one: &Difference, root: Option<&str>) -> String {
    let Difference { cause, name, old, new } = one;
    let what = match *cause {
        INPUT => {
            let root = root.map(|root| format!(" ({root})")).unwrap_or_default();
            return if name.is_empty() { format!("follows{root}") } else { format!("follows {name}{root}") };
        }
        FILE if name.is_empty() => return "the files that it copies".to_owned(),
        OPTION if old.is_none() && new.is_none() => return "the order of its variables or flags".to_owned(),
        FILE => format!("file {name}"),
        BASE => "base image".to_owned(),
        ARGUMENT => format!("build argument {name}"),
        ENVIRONMENT => format!("variable {name}"),
        MOUNT => format!("mount {name}"),
        OPTION => name.clone(),
        _ => "instruction".to_owned(),
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            let (old, new) = match *cause {
                FILE => parts(old, new, ", "),
                BASE => parts(old, new, "@"),
                _ => (format!("`{old}`"), format!("`{new}`")),
            };
            format!("{what}: {old} -> {new}")
        }
        (None, Some(_)) => format!("{what} is new"),
        _ => format!("{what} is gone"),
    }
}

/// Only the parts that differ; a digest is shortened.
fn parts(old: &str, new: &str, between: &str) -> (String, String) {
    let short = |part: &str| match part.starts_with("sha256:") && part.len() == 71 {
        true => part.chars().take(19).collect(),
        false => part.to_owned(),
    };
    let list = |text: &str| -> Vec<String> { text.split(between).map(short).collect() };
    let (old, new) = (list(old), list(new));
    let pick = |of: &[String], other: &[String]| {
        of.iter().filter(|part| !other.contains(part)).cloned().collect::<Vec<_>>().join(between)
    };
    match (pick(&old, &new), pick(&new, &old)) {
        (one, two) if one.is_empty() || two.is_empty() => (old.join(between), new.join(between)),
        picked => picked,
    }
}

/// Reports that another cache has the result, before the cause on this machine.
pub(super) fn only_in(place: &Elsewhere, here: Miss) -> Miss {
    let why = place.why.as_ref().map_or(String::new(), |why| format!(", not used because {why}"));
    let mut text = format!("only in remote {}{why}: {}", place.title, place.way_out);
    if ![INPUT, NEW].contains(&here.cause) {
        text.push_str(&format!(" (here: {})", here.text));
    }
    let (name, old, new) = (place.title.clone(), place.why.clone(), Some(place.way_out.clone()));
    let mut differences = vec![Difference { cause: REMOTE, name, old, new }];
    differences.extend(here.differences);
    differences.truncate(MOST_DIFFERENCES);
    Miss { cause: REMOTE, text, differences }
}
