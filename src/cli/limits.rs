//! `--ulimit`, `--shm-size` and `--resource`: the limits of a step's processes, in docker's
//! notation.

use super::args;
use base::error::{Error, Kind, Result};
use base::size;
use clap::Args;
use rustix::process::{Resource, Rlimit};
use sandbox::Limits;
use sandbox::cgroup::Resources;

/// The names of limits in docker and ulimit(1), for setrlimit(2).
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

/// The flags of `docker build` that equal `--resource NAME=VALUE`.
#[derive(Debug, Default, Args)]
pub struct Older {
    #[arg(short, long, hide = true)]
    memory: Option<String>,
    #[arg(long, hide = true)]
    memory_swap: Option<String>,
    #[arg(short, long, hide = true)]
    cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    cpu_period: Option<String>,
    #[arg(long, hide = true)]
    cpu_quota: Option<String>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
}

impl Older {
    /// The flags as pairs for `--resource`.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let given = [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// Reads the limits from the flags.
pub(super) fn of(args: &args::Build) -> Result<Limits> {
    let mut limits = Limits { resources: resources(args)?, ..Limits::default() };
    if let Some(text) = &args.shm_size {
        limits.shm_size = size::parse(text)
            .filter(|size| *size > 0)
            .ok_or_else(|| usage(format!("--shm-size {text}: no size")).hint("write `64m`, `1g`"))?;
    }
    limits.ulimits = args.ulimit.iter().map(|text| ulimit(text)).collect::<Result<_>>()?;
    Ok(limits)
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

fn resources(args: &args::Build) -> Result<Resources> {
    let mut all = Resources { parent: args.cgroup_parent.clone(), ..Resources::default() };
    for pair in args.resource.iter().flat_map(|text| split(text)) {
        let parts = pair.split_once('=');
        let (name, value) = parts.ok_or_else(|| usage(format!("--resource {pair}: not of the form NAME=VALUE")))?;
        resource(&mut all, name, value)?;
    }
    for (name, value) in args.older.pairs() {
        resource(&mut all, name, value)?;
    }
    Ok(all)
}

/// Splits at commas, except inside a list of processors (`cpuset-cpus=0,2`).
fn split(text: &str) -> Vec<&str> {
    let begins = |at: usize| text[at + 1..].split(',').next().is_some_and(|next| next.contains('='));
    let cuts: Vec<usize> = text.match_indices(',').map(|(at, _)| at).filter(|at| begins(*at)).collect();
    let starts = std::iter::once(0).chain(cuts.iter().map(|at| at + 1));
    starts.zip(cuts.iter().copied().chain([text.len()])).map(|(from, to)| &text[from..to]).collect()
}

const RESOURCES: &[&str] =
    &["memory", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems", "pids"];

fn resource(all: &mut Resources, name: &str, value: &str) -> Result<()> {
    let wrong = |form: &str| usage(format!("--resource {name}={value}: no {form}"));
    let size = || size::parse(value).filter(|size| *size > 0).ok_or_else(|| wrong("size").hint("write `512m`, `2g`"));
    let number = || value.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(|| wrong("number"));
    let signed = || value.parse::<i64>().map_err(|_| wrong("number"));
    let list = || {
        let good = value.split(',').all(|part| part.split('-').all(|end| end.parse::<u32>().is_ok()));
        if good { Ok(value.to_owned()) } else { Err(wrong("list").hint("write `0-2,4`")) }
    };
    match name {
        "memory" => all.memory = Some(size()?),
        "memory-swap" if value == "-1" => all.memory_swap = Some(-1),
        "memory-swap" => all.memory_swap = Some(i64::try_from(size()?).map_err(|_| wrong("size"))?),
        "cpus" => {
            let cpus = value.parse::<f64>().ok().filter(|cpus| (0.01..=100_000.0).contains(cpus));
            let cpus = cpus.ok_or_else(|| wrong("number of processors"))?;
            (all.cpu_period, all.cpu_quota) = (Some(100_000), Some((cpus * 100_000.0) as i64));
        }
        "cpu-shares" => all.cpu_shares = Some(number()?),
        "cpu-period" => all.cpu_period = Some(number()?),
        "cpu-quota" => all.cpu_quota = Some(signed()?),
        "cpuset-cpus" => all.cpuset_cpus = Some(list()?),
        "cpuset-mems" => all.cpuset_mems = Some(list()?),
        "pids" => all.pids = Some(number()?),
        _ => return Err(Error::unknown("resource", name, RESOURCES.iter().copied())),
    }
    Ok(())
}

/// Parses `nofile=1024:4096`; -1 means no limit.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn build(flags: &[&str]) -> args::Build {
        use clap::Parser as _;
        let words = ["kiln", "build", "."].iter().chain(flags).copied();
        match args::Cli::try_parse_from(words).expect("flags").command {
            args::Command::Build(build) => *build,
            _ => unreachable!("it is a build"),
        }
    }

    #[test]
    fn resources_are_read_in_both_notations() {
        let resources = |flags: &[&str]| resources(&build(flags));
        let all = resources(&["--resource=memory=512m,cpuset-cpus=0,2-3,pids=50", "--resource=cpus=1.5", "-c", "7"]);
        let wanted = Resources {
            memory: Some(512 << 20),
            cpuset_cpus: Some("0,2-3".to_owned()),
            pids: Some(50),
            cpu_period: Some(100_000),
            cpu_quota: Some(150_000),
            cpu_shares: Some(7),
            ..Resources::default()
        };
        assert_eq!(all.expect("good"), wanted);
        let older = resources(&["-m", "1g", "--memory-swap=-1", "--cgroup-parent=/jobs"]).expect("good");
        assert_eq!(
            (older.memory, older.memory_swap, older.parent),
            (Some(1 << 30), Some(-1), Some("/jobs".to_owned()))
        );
        for bad in ["memory", "memory=", "memory=x", "pids=0", "pids=-1", "cpus=0", "cpuset-cpus=a", "memroy=1m", ""] {
            assert!(resources(&[&format!("--resource={bad}")]).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let of = |flags: &[&str]| of(&build(flags));
        let limits = of(&["--ulimit=nofile=10:20", "--ulimit=core=-1", "--shm-size=1g"]).expect("good");
        assert_eq!(limits.shm_size, 1 << 30);
        assert_eq!(limits.ulimits[0].1, Rlimit { current: Some(10), maximum: Some(20) });
        assert_eq!(limits.ulimits[1].1, Rlimit { current: None, maximum: None });
        for bad in ["nofile", "nofile=x", "files=1", "nofile=20:10", "nofile=-1:5"] {
            assert!(of(&[&format!("--ulimit={bad}")]).is_err(), "{bad}");
        }
        for bad in ["", "0", "x", "-1", "99999999999g"] {
            assert!(of(&[&format!("--shm-size={bad}")]).is_err(), "{bad}");
        }
    }
}
