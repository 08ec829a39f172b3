//! `--ulimit` and `--shm-size`: what bounds a step's processes, in docker's notation.

use crate::error::{Error, Kind, Result};
use crate::exec::Limits;
use rustix::process::{Resource, Rlimit};

/// Names of limits as docker and ulimit(1) have them (setrlimit(2)).
const NAMES: &[(&str, Resource)] = &[
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Reads both flags.
pub(super) fn of(ulimits: &[String], shm_size: Option<&str>) -> Result<Limits> {
    let mut limits = Limits::default();
    if let Some(text) = shm_size {
        limits.shm_size = bytes(text)
            .filter(|size| *size > 0)
            .ok_or_else(|| usage(format!("--shm-size {text}: no size")).hint("write `64m`, `1g`"))?;
    }
    limits.ulimits = ulimits.iter().map(|text| ulimit(text)).collect::<Result<_>>()?;
    Ok(limits)
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

/// `nofile=1024:4096`; -1 stands for no limit.
fn ulimit(text: &str) -> Result<(Resource, Rlimit)> {
    let wrong = || usage(format!("--ulimit {text}: not of the form NAME=SOFT[:HARD]"));
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let (_, resource) = NAMES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        usage(format!("--ulimit {text}: unknown limit `{name}`")).hint(format!("known are {}", known.join(", ")))
    })?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        text => text.parse::<u64>().map(Some).map_err(|_| wrong()),
    };
    let (current, maximum) = (number(soft)?, number(hard)?);
    if maximum.is_some_and(|maximum| current.is_none_or(|current| current > maximum)) {
        return Err(usage(format!("--ulimit {text}: the soft limit is above the hard one")));
    }
    Ok((*resource, Rlimit { current, maximum }))
}

/// `64m`, `1g`, `67108864`.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, power) = match plain.char_indices().last()? {
        (at, 'k') => (&plain[..at], 10),
        (at, 'm') => (&plain[..at], 20),
        (at, 'g') => (&plain[..at], 30),
        _ => (plain, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let limits = of(&["nofile=10:20".to_owned(), "core=-1".to_owned()], Some("1g")).expect("good");
        assert_eq!(limits.shm_size, 1 << 30);
        assert_eq!(limits.ulimits[0].1, Rlimit { current: Some(10), maximum: Some(20) });
        assert_eq!(limits.ulimits[1].1, Rlimit { current: None, maximum: None });
        for bad in ["nofile", "nofile=x", "files=1", "nofile=20:10", "nofile=-1:5"] {
            assert!(of(&[bad.to_owned()], None).is_err(), "{bad}");
        }
        for bad in ["", "0", "x", "-1", "99999999999g"] {
            assert!(of(&[], Some(bad)).is_err(), "{bad}");
        }
    }
}
