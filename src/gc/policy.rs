//! Collection policy: filters, ages and sizes in BuildKit's terms, and the automatic collection.

use super::inventory::{Item, Type};
use super::measure::Usage;
use super::{Collected, Other, collect};
use base::error::{At, Error, Kind, Result};
use base::sync::lock;
use regex::Regex;
use sandbox::Stop;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// The interval between collections after builds while the disk has space.
const EVERY: Duration = Duration::from_secs(3600);
/// A build frees space when less than this share of the disk, and less than this many bytes, are
/// free.
const LOW_SHARE: u64 = 10;
const LOW: u64 = 2 << 30;
/// The same for inodes, which may run out first on file systems with a fixed number.
const LOW_INODES: u64 = 200_000;
/// The pause before the next try, if no space could be freed.
const PAUSE: Duration = Duration::from_secs(10);
static LAST: Mutex<Option<Instant>> = Mutex::new(None);
/// Below this amount nothing can be built.
const NOTHING: u64 = 4 << 20;
const NOTHING_INODES: u64 = 32;

/// The rule of a collection.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The name for the user and for `kiln explain`: `kiln prune --all`.
    pub name: String,
    /// The filters, all of which must match.
    pub filters: Vec<Filter>,
    /// Items used within this many seconds stay.
    pub keep: i64,
    /// True if indexes and manifests are removed too, however young.
    pub all: bool,
    /// The largest size of the store; `None` for no limit.
    pub max_used: Option<Amount>,
    /// The size that may always stay.
    pub reserved: Option<Amount>,
    /// The part of the disk that must be free: of its bytes and, for a percentage, of its inodes.
    pub min_free: Option<Amount>,
    /// The number of inodes that must be free.
    pub min_free_inodes: Option<u64>,
    /// True if everything is measured again, not only what has changed.
    pub exact: bool,
}

/// An amount of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// An amount in bytes.
    Bytes(u64),
    /// A percentage of the disk.
    Percent(u64),
}

/// One `--filter`.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Compares a property with true or false.
    Is(fn(&Item) -> bool, bool),
    /// Matches a text, or one of several; false inverts the match.
    Text(fn(&Item) -> Vec<String>, Matcher, bool),
}

/// A matcher of texts.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Equal texts; for an id also a prefix.
    Equal(String),
    /// A pattern within the text.
    Pattern(Regex),
}

/// The disk of the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Space {
    /// The size in bytes.
    pub size: u64,
    /// The bytes that this user may still write.
    pub free: u64,
    /// The total number of inodes; 0 if there is no limit.
    pub inodes: u64,
    /// The inodes that this user may still use.
    pub free_inodes: u64,
}

impl Space {
    /// Reads the state of the file system.
    pub fn of(root: &Path) -> Space {
        rustix::fs::statvfs(root).map_or(Space::default(), |disk| Space {
            size: disk.f_blocks.saturating_mul(disk.f_frsize),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            inodes: disk.f_files,
            free_inodes: disk.f_favail,
        })
    }

    /// The number of inodes missing to a wanted number of free ones.
    fn lacking_inodes(&self, wished: u64) -> u64 {
        if self.inodes == 0 { 0 } else { wished.saturating_sub(self.free_inodes) }
    }

    /// The reason why nothing can be written, if the disk is full.
    fn exhausted(&self, root: &Path) -> Option<String> {
        let disk = root.display();
        if self.size > 0 && self.free < NOTHING {
            return Some(format!("only {} kB are free on the disk of {disk}", self.free / 1000));
        }
        let few = self.lacking_inodes(NOTHING_INODES) > 0;
        few.then(|| format!("only {} inodes are free on the disk of {disk}", self.free_inodes))
    }
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

impl Amount {
    /// Parses `10gb`, `512MiB`, `1.5g`, or full percents as `20%`; a number alone is bytes. Units
    /// are powers of 1000, except those with `i`.
    pub fn parse(text: &str) -> Result<Amount> {
        let wrong = || usage(format!("`{text}` is no size")).hint("write `10gb`, `512MiB`, `20%`");
        let lower = text.trim().to_lowercase();
        let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
        let (number, unit) = lower.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit.trim() {
            "%" if number <= 100.0 && number.fract() == 0.0 => return Ok(Amount::Percent(number as u64)),
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1_048_576.0,
            "gib" => 1_073_741_824.0,
            "tib" => 1_099_511_627_776.0,
            _ => return Err(wrong()),
        };
        Ok(Amount::Bytes((number * factor) as u64))
    }

    fn of(self, disk: u64) -> u64 {
        match self {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(percent) => disk / 100 * percent,
        }
    }
}

/// Parses a duration to seconds: `90`, `30s`, `12h`, `1h30m`, `7d`, `2w`.
pub fn duration(text: &str) -> Result<i64> {
    let wrong = || usage(format!("`{text}` is no duration")).hint("write `30m`, `12h`, `7d`");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(i64::from(seconds));
    }
    let (mut total, mut digits) = (0_i64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let number: i64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
    }
    if digits.is_empty() && !text.is_empty() { Ok(total) } else { Err(wrong()) }
}

const KEYS: &[&str] =
    &["until", "id", "parents", "description", "type", "inuse", "mutable", "immutable", "shared", "private"];

impl Filter {
    /// Parses `id=x`, `description~=pattern`, `type!=regular`, `shared`, `inuse=false`. `until=24h`
    /// is an age and no filter.
    pub fn parse(text: &str) -> Result<Filter> {
        let (key, rest) = match text.find(['=', '!', '~']) {
            Some(end) => text.split_at(end),
            None => (text, ""),
        };
        let (sign, value) = ["~=", "!=", "==", "="]
            .iter()
            .find_map(|sign| rest.strip_prefix(sign).map(|value| (*sign, value)))
            .unwrap_or(("", ""));
        let flag = |is: fn(&Item) -> bool| match (sign, value) {
            ("", _) | ("=" | "==", "true" | "1") | ("!=", "false" | "0") => Ok(Filter::Is(is, true)),
            ("=" | "==", "false" | "0") | ("!=", "true" | "1") => Ok(Filter::Is(is, false)),
            _ => Err(usage(format!("--filter {text}: {key} is true or false"))),
        };
        let words = |of: fn(&Item) -> Vec<String>| {
            let matcher = match sign {
                "~=" => {
                    Matcher::Pattern(Regex::new(value).map_err(|cause| usage(format!("--filter {text}: {cause}")))?)
                }
                "" => return Err(usage(format!("--filter {text}: write {key}=VALUE"))),
                _ => Matcher::Equal(value.to_owned()),
            };
            Ok(Filter::Text(of, matcher, sign != "!="))
        };
        match key {
            "id" => words(|item| vec![item.id.clone()]),
            "parents" | "parent" => words(|item| item.parents.clone()),
            "description" => words(|item| vec![item.description.clone()]),
            "type" => words(|item| vec![item.kind.name().to_owned()]),
            "inuse" => flag(|item| item.in_use),
            "mutable" => flag(|item| item.kind.is_mutable()),
            "immutable" => flag(|item| !item.kind.is_mutable()),
            "shared" => flag(|item| item.shared),
            "private" => flag(|item| !item.shared),
            _ => {
                let error = usage(format!("--filter {text}: unknown key `{key}`"));
                Err(error.hint(format!("known are {}", KEYS.join(", "))))
            }
        }
    }

    /// True if an item matches.
    pub fn holds(&self, item: &Item) -> bool {
        match self {
            Filter::Is(of, wished) => of(item) == *wished,
            Filter::Text(of, matcher, wished) => {
                let found = of(item).iter().any(|text| match matcher {
                    Matcher::Equal(value) => text == value || (value.len() >= 8 && text.starts_with(value)),
                    Matcher::Pattern(pattern) => pattern.is_match(text),
                });
                found == *wished
            }
        }
    }
}

impl Rule {
    /// True if an item may be removed.
    pub(super) fn means(&self, item: &Item, now: i64) -> bool {
        let internal = item.kind == Type::Internal && !self.all && self.keep == 0 && self.filters.is_empty();
        !item.in_use
            && !item.files.is_empty()
            && !internal
            && (item.released || item.last_used.saturating_add(self.keep) <= now)
            && self.filters.iter().all(|filter| filter.holds(item))
    }

    /// The space to free; `None` if every selected item is removed.
    pub(super) fn wanted(&self, used: Usage, space: &Space) -> Option<Usage> {
        let limits = [self.max_used, self.min_free, self.reserved];
        if limits.iter().all(Option::is_none) && self.min_free_inodes.is_none() {
            return None;
        }
        let over = self.max_used.map_or(0, |most| used.bytes.saturating_sub(most.of(space.size)));
        let bytes = match (self.max_used, self.min_free) {
            // BuildKit's `--reserved-space` alone: reduce to this size.
            (None, None) if self.reserved.is_some() => used.bytes,
            _ => over.max(self.lacking(space)),
        };
        let inodes = self.lacking_inodes(space);
        let Some(reserved) = self.reserved else { return Some(Usage { bytes, inodes }) };
        // The share of bytes that may stay applies to inodes too.
        let most = used.bytes.saturating_sub(reserved.of(space.size));
        let share = u128::from(used.inodes) * u128::from(most) / u128::from(used.bytes.max(1));
        Some(Usage { bytes: bytes.min(most), inodes: inodes.min(share as u64) })
    }

    /// The bytes missing to the amount that must be free.
    fn lacking(&self, space: &Space) -> u64 {
        self.min_free.map_or(0, |least| least.of(space.size).saturating_sub(space.free))
    }

    fn lacking_inodes(&self, space: &Space) -> u64 {
        let share = match self.min_free {
            Some(share @ Amount::Percent(_)) => share.of(space.inodes),
            _ => 0,
        };
        space.lacking_inodes(share.max(self.min_free_inodes.unwrap_or(0)))
    }

    /// The rule after builds. `KILN_GC` is `off`, or replaces the default with some of
    /// `max-used-space=`, `reserved-space=`, `min-free-space=` and `keep-duration=`, separated by
    /// commas. `None` if it is off.
    pub fn automatic(setting: Option<&str>) -> Result<Option<Rule>> {
        let mut rule = Rule {
            name: "the collection after a build".to_owned(),
            all: true,
            max_used: Some(Amount::Percent(60)),
            reserved: Some(Amount::Bytes(2_000_000_000)),
            min_free: Some(Amount::Percent(10)),
            ..Rule::default()
        };
        for part in setting.unwrap_or("").split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None if part == "off" => return Ok(None),
                Some(("max-used-space", value)) => rule.max_used = Some(Amount::parse(value)?),
                Some(("reserved-space", value)) => rule.reserved = Some(Amount::parse(value)?),
                Some(("min-free-space", value)) => rule.min_free = Some(Amount::parse(value)?),
                Some(("keep-duration", value)) => rule.keep = duration(value)?,
                _ => {
                    return Err(usage(format!("KILN_GC: `{part}` is not understood")).hint(
                        "write `off`, or `max-used-space=50gb,reserved-space=5gb,min-free-space=10%,keep-duration=1d`",
                    ));
                }
            }
        }
        Ok(Some(rule))
    }
}

/// Collects after a build, if it is due or the disk has too little space.
pub fn after_build(root: &Path, rule: &Rule, now: i64) -> Result<Option<Collected>> {
    let space = Space::of(root);
    let path = root.join("collector");
    let lacking = rule.lacking(&space) > 0 || rule.lacking_inodes(&space) > 0;
    let last = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
    let early =
        last.and_then(|last| last.elapsed().ok()).is_some_and(|age| age < if lacking { EVERY / 60 } else { EVERY });
    if early {
        return Ok(None);
    }
    let file = File::options().create(true).append(true).open(&path).at("open", &path)?;
    file.set_modified(SystemTime::now()).at("mark", &path)?;
    collect(root, rule, now, Other::Yield)
}

/// Frees disk space for a step if needed, and fails if the disk is full.
pub fn make_room(root: &Path, now: i64, stop: &Stop) -> Result<()> {
    let space = Space::of(root);
    let low = (space.size / LOW_SHARE).min(LOW);
    let low_inodes = (space.inodes / LOW_SHARE).min(LOW_INODES);
    if space.size == 0 || (space.free >= low && space.lacking_inodes(low_inodes) == 0) {
        return Ok(());
    }
    // One of the steps that start now frees space; the others wait for it.
    let mut last = lock(&LAST);
    if last.is_some_and(|last| last.elapsed() < PAUSE) && space.exhausted(root).is_none() {
        return Ok(());
    }
    let rule = Rule {
        name: "a build that had no room on the disk".to_owned(),
        all: true,
        min_free: Some(Amount::Bytes(2 * low)),
        min_free_inodes: Some(2 * low_inodes),
        ..Rule::default()
    };
    let done = collect(root, &rule, now, Other::Wait(stop))?;
    *last = done.filter(|done| done.missing != Usage::default()).map(|_| Instant::now());
    match Space::of(root).exhausted(root) {
        Some(left) => Err(full(left)),
        None => Ok(()),
    }
}

/// The cause to add to an error from a full disk; `None` if there is space.
pub fn no_room(root: &Path) -> Option<String> {
    Space::of(root).exhausted(root)
}

fn full(left: String) -> Error {
    Error::new(Kind::System, left).because("what no image and no running build needs is removed already").hint(
        "remove images (`kiln images`, `kiln rmi`, `kiln prune`) or other files, or put KILN_ROOT on a larger disk",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        let bytes = |text: &str| Amount::parse(text).ok();
        assert_eq!(bytes("10gb"), Some(Amount::Bytes(10_000_000_000)));
        assert_eq!(bytes("1.5MiB"), Some(Amount::Bytes(1_572_864)));
        assert_eq!(bytes("0"), Some(Amount::Bytes(0)));
        assert_eq!(bytes("20%"), Some(Amount::Percent(20)));
        for wrong in ["", "gb", "10xb", "-1", "120%", "0.5%", "1e3"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        assert_eq!(duration("1h30m").ok(), Some(5400));
        assert_eq!(duration("7d").ok(), Some(604_800));
        assert_eq!(duration("90").ok(), Some(90));
        for wrong in ["", "h", "5x", "1h3", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_ask_for_as_much_as_they_need() {
        let space = Space { size: 1000, free: 100, ..Space::default() };
        let used = Usage { bytes: 500, inodes: 50 };
        let rule = |max: Option<u64>, reserved: Option<u64>, free: Option<u64>| {
            let amount = |bytes: Option<u64>| bytes.map(Amount::Bytes);
            Rule { max_used: amount(max), reserved: amount(reserved), min_free: amount(free), ..Rule::default() }
        };
        let wanted = |rule: Rule| rule.wanted(used, &space).map(|wanted| wanted.bytes);
        assert_eq!(wanted(rule(None, None, None)), None);
        assert_eq!(wanted(rule(Some(300), None, None)), Some(200));
        assert_eq!(wanted(rule(Some(600), None, None)), Some(0));
        assert_eq!(wanted(rule(Some(300), None, Some(400))), Some(300));
        assert_eq!(wanted(rule(Some(0), Some(450), Some(900))), Some(50));
        assert_eq!(wanted(rule(None, Some(450), None)), Some(50));
        let half = Rule { min_free: Some(Amount::Percent(50)), ..Rule::default() };
        assert_eq!(wanted(half), Some(400));
    }

    #[test]
    fn inodes_count_as_bytes_do() {
        let space = Space { size: 1000, free: 900, inodes: 200, free_inodes: 10 };
        let used = Usage { bytes: 100, inodes: 150 };
        let rule = Rule { min_free: Some(Amount::Percent(10)), ..Rule::default() };
        assert_eq!(rule.wanted(used, &space), Some(Usage { bytes: 0, inodes: 10 }));
        let rule = Rule { reserved: Some(Amount::Bytes(96)), ..rule };
        assert_eq!(rule.wanted(used, &space), Some(Usage { bytes: 0, inodes: 6 }), "what may stay, stays");
        let rule = Rule { min_free_inodes: Some(40), ..Rule::default() };
        assert_eq!(rule.wanted(used, &space), Some(Usage { bytes: 0, inodes: 30 }));
        let large = Space { size: 1 << 40, free: 1 << 39, ..space };
        let unbounded = Space { inodes: 0, free_inodes: 0, ..large };
        assert_eq!(rule.wanted(used, &unbounded), Some(Usage::default()));
        assert!(unbounded.exhausted(Path::new("/x")).is_none());
        let none = Space { free_inodes: 3, ..large };
        assert!(none.exhausted(Path::new("/x")).is_some_and(|why| why.contains("3 inodes")));
    }

    #[test]
    fn nobody_waits_for_another_collector_beyond_the_end_of_the_build() {
        let dir = tempfile::tempdir().expect("a folder");
        let held = File::create(dir.path().join("collector")).expect("a file");
        held.lock().expect("held");
        let stop = Stop::default();
        stop.stop();
        let waited = collect(dir.path(), &Rule::default(), 0, Other::Wait(&stop));
        assert!(waited.is_err_and(|error| error.kind() == Kind::Interrupted));
        assert!(collect(dir.path(), &Rule::default(), 0, Other::Yield).is_ok_and(|done| done.is_none()));
    }

    #[test]
    fn the_setting_replaces_the_default_or_turns_it_off() {
        assert!(Rule::automatic(Some("off")).is_ok_and(|rule| rule.is_none()));
        let rule = Rule::automatic(Some("max-used-space=5gb, keep-duration=1h")).ok().flatten();
        assert!(rule.is_some_and(|rule| rule.max_used == Some(Amount::Bytes(5_000_000_000)) && rule.keep == 3600));
        assert!(Rule::automatic(Some("max=5")).is_err());
    }
}
