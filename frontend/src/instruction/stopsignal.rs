//! STOPSIGNAL: how a container is asked to end.

use super::{Diagnostic, Line, Stage, exactly_one};

/// `STOPSIGNAL SIGTERM` or a number.
#[derive(Clone, Debug)]
pub(crate) struct Stopsignal {
    signal: String,
}

/// The names of Linux's signals, without `SIG` (signal(7)).
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

impl Stopsignal {
    pub(super) fn parse(line: &Line) -> Result<Stopsignal, Diagnostic> {
        let signal = exactly_one(line)?;
        // BuildKit passes over flags here.
        Ok(Stopsignal { signal })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let signal = stage.expand(&self.signal)?;
        if !is_signal(&signal) {
            let error = stage.error_at("stopsignal", &self.signal, format!("invalid signal: {signal}"));
            return Err(error.help("write a name or a number: `SIGTERM`, `15`"));
        }
        stage.history(format!("STOPSIGNAL {signal}"), None);
        stage.config().stop_signal = signal;
        Ok(())
    }
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number > 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix, range: std::ops::RangeInclusive<u32>| {
        name.strip_prefix(prefix).and_then(|number| number.parse().ok()).is_some_and(|number| range.contains(&number))
    };
    SIGNALS.contains(&name) || real_time("RTMIN+", 1..=15) || real_time("RTMAX-", 1..=14)
}
