//! HEALTHCHECK: how a container is found to be well.

use super::flags::{self, Kind};
use super::{Diagnostic, Line, Stage, at_least_one, error};
use crate::{config, go};

/// `HEALTHCHECK [flags] CMD ...` or `HEALTHCHECK NONE`.
#[derive(Clone, Debug)]
pub(crate) struct Healthcheck {
    check: config::Healthcheck,
}

const FLAGS: &[(&str, Kind)] = &[
    ("interval", Kind::Text),
    ("timeout", Kind::Text),
    ("start-period", Kind::Text),
    ("start-interval", Kind::Text),
    ("retries", Kind::Text),
];

impl Healthcheck {
    pub(super) fn parse(line: &Line) -> Result<Healthcheck, Diagnostic> {
        at_least_one(line)?;
        let kind = line.args[0].text.to_uppercase();
        let mut words: Vec<String> = line.args[1..].iter().map(|word| word.text.clone()).collect();
        if kind == "NONE" {
            if !words.is_empty() {
                let error = error(line, "healthcheck", "HEALTHCHECK NONE takes no arguments");
                return Err(error.help("write `HEALTHCHECK CMD command` for a check"));
            }
            return Ok(Healthcheck { check: config::Healthcheck { test: Some(vec![kind]), ..Default::default() } });
        }
        let flags = flags::check(line, FLAGS)?;
        if kind != "CMD" {
            let error = error(line, "healthcheck", format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"));
            return Err(error.help("write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`"));
        }
        if words.is_empty() {
            let error = error(line, "healthcheck", "Missing command after HEALTHCHECK CMD");
            return Err(error.help("write the command, or `HEALTHCHECK NONE` to take a base's check away"));
        }
        words.insert(0, if line.json { "CMD" } else { "CMD-SHELL" }.to_owned());
        let wrong = |flag, message: String| Diagnostic::error("healthcheck", message, flags.span(flag));
        let time = |name| match flags.text(name) {
            Some(text) => go::duration(&text)
                .and_then(|time| at_least_a_millisecond(name, time))
                .map_err(|message| wrong(name, message).help("times have units: `30s`, `1m30s`, `500ms`")),
            None => Ok(0),
        };
        let retries = match flags.text("retries") {
            Some(text) => text
                .parse::<i32>()
                .map_err(|_| wrong("retries", format!("--retries is no number: {text}")).help("write `--retries=3`"))?,
            None => 0,
        };
        if retries < 0 {
            let message = format!("--retries cannot be negative ({retries})");
            return Err(wrong("retries", message).help("0 stands for the default of 3"));
        }
        let check = config::Healthcheck {
            test: Some(words),
            interval: time("interval")?,
            timeout: time("timeout")?,
            start_period: time("start-period")?,
            start_interval: time("start-interval")?,
            retries: i64::from(retries),
        };
        Ok(Healthcheck { check })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        stage.tell_if_repeated("HEALTHCHECK");
        let check = &self.check;
        let message = format!(
            "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            check.test.as_deref().unwrap_or_default().join(" "),
            go_duration(check.interval),
            go_duration(check.timeout),
            go_duration(check.start_period),
            go_duration(check.start_interval),
            check.retries
        );
        stage.config().healthcheck = Some(check.clone());
        stage.history(message, None);
        Ok(())
    }
}

fn at_least_a_millisecond(name: &str, time: i64) -> Result<i64, String> {
    match time {
        0 => Ok(0),
        time if time < 1_000_000 => Err(format!("Interval {name:?} cannot be less than 1ms")),
        time => Ok(time),
    }
}

/// Go's `time.Duration.String`.
fn go_duration(nanos: i64) -> String {
    let short = |value: f64, unit: &str| format!("{value}{unit}");
    match nanos {
        0 => "0s".to_owned(),
        n if n < 1_000 => short(n as f64, "ns"),
        n if n < 1_000_000 => short(n as f64 / 1e3, "µs"),
        n if n < 1_000_000_000 => short(n as f64 / 1e6, "ms"),
        n => {
            let (hours, minutes) = (n / 3_600_000_000_000, n / 60_000_000_000 % 60);
            let seconds = short((n % 60_000_000_000) as f64 / 1e9, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(go::duration("1m30.5s").map(go_duration), Ok("1m30.5s".to_owned()));
        assert_eq!(go::duration("1h").map(go_duration), Ok("1h0m0s".to_owned()));
        assert_eq!(go::duration("1500us").map(go_duration), Ok("1.5ms".to_owned()));
        for bad in ["", "1", "s", "1x", "-", "1..s"] {
            assert!(bad.is_empty() || go::duration(bad).is_err(), "{bad}");
        }
    }
}
