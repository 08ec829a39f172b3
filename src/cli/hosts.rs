//! `--add-host`: lines for /etc/hosts of RUN, in docker's notation.

use base::error::{Error, Kind, Result};
use frontend::op::HOST_GATEWAY;
use std::net::IpAddr;

/// Parses `NAME:IP` or `NAME=IP`, separated by commas. Another address after a comma belongs to the
/// name before it. `host-gateway` is an address of the host.
pub(super) fn hosts(texts: &[String]) -> Result<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    for text in texts {
        let mut name = None;
        for field in text.split(',') {
            let wrong = |why: &str| Error::new(Kind::Usage, format!("--add-host {text}: {why}"));
            let pair = field.split_once('=').or_else(|| field.split_once(':'));
            let (new, address) = match (pair, name) {
                (_, Some(name)) if address(field).is_some() => (name, field),
                (Some((new, address)), _) => (new, address),
                (None, _) => return Err(wrong("not of the form NAME:IP")),
            };
            if new.is_empty() {
                return Err(wrong("there is no name").hint("write NAME:IP"));
            }
            let known = if address == HOST_GATEWAY { Some(address.to_owned()) } else { self::address(address) };
            let known = known.ok_or_else(|| wrong(&format!("`{address}` is no IP address")))?;
            all.push((new.to_owned(), known));
            name = Some(new);
        }
    }
    Ok(all)
}

/// Parses an address with or without brackets.
fn address(text: &str) -> Option<String> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    inner.parse::<IpAddr>().is_ok().then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::hosts;

    fn of(text: &str) -> Option<Vec<String>> {
        let pairs = hosts(&[text.to_owned()]).ok()?;
        Some(pairs.iter().map(|(name, address)| format!("{name} {address}")).collect())
    }

    #[test]
    fn hosts_are_read_as_docker_reads_them() {
        let good = |lines: &[&str]| Some(lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(of("a:1.2.3.4"), good(&["a 1.2.3.4"]));
        assert_eq!(of("a=::1"), good(&["a ::1"]));
        assert_eq!(of("a:[::1]"), good(&["a ::1"]));
        assert_eq!(of("a:1.2.3.4,::1"), good(&["a 1.2.3.4", "a ::1"]));
        assert_eq!(of("a:1.2.3.4,b=5.6.7.8"), good(&["a 1.2.3.4", "b 5.6.7.8"]));
        assert_eq!(of("host.docker.internal:host-gateway"), good(&["host.docker.internal host-gateway"]));
        for bad in ["", "a", "a:", ":1.2.3.4", "=1.2.3.4", "a:b", "a:1.2.3", "a:host-gatewa", "a:1.2.3.4,"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
