//! The short form of a port: `[[ip:]host:]container[/protocol]`, each port a number or a range.

use crate::node::{Node, Value};
use crate::place::Place;
use std::net::IpAddr;

/// A published port, or one without a number on the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Port {
    host_ip: String,
    published: String,
    target: u16,
    protocol: String,
}

impl Port {
    /// The long form.
    pub fn into_node(self, place: Place) -> Node {
        let text = Value::Text;
        let mut entries = vec![("mode", text("ingress".to_owned()))];
        if !self.host_ip.is_empty() {
            entries.push(("host_ip", text(self.host_ip)));
        }
        entries.push(("target", Value::Int(self.target.into())));
        if !self.published.is_empty() {
            entries.push(("published", text(self.published)));
        }
        entries.push(("protocol", text(self.protocol)));
        Node::map(entries, place)
    }
}

/// All ports of a short form.
pub(super) fn parse(text: &str) -> Result<Vec<Port>, String> {
    let (host, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (ip, host) = host.rsplit_once(':').unwrap_or(("", host));
    let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !bare.is_empty() && !is_address(bare) {
        return Err(format!("invalid IP address: {ip}"));
    }
    let (first, last) = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let published = match host {
        "" => None,
        _ => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
    };
    if let Some((from, to)) = published
        && first != last
        && last - first != to - from
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let published_at = |at: u16| match published {
        None => String::new(),
        Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
        Some((from, _)) => (from + at).to_string(),
    };
    let port = |at: u16| Port {
        host_ip: bare.to_owned(),
        published: published_at(at),
        target: first + at,
        protocol: protocol.clone(),
    };
    let mut ports: Vec<Port> = (0..=last - first).map(port).collect();
    ports.sort_by_key(|port| format!("{}/", port.target));
    Ok(ports)
}

/// True if a text is an IP address as Go reads it: without a zone.
pub(crate) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<u16>().ok();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let port = |port: Port| format!("{}|{}|{}|{}", port.host_ip, port.published, port.target, port.protocol);
        parse(text).map_or_else(|error| error, |ports| ports.into_iter().map(port).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn all_forms_are_read() {
        assert_eq!(shown("80"), "||80|tcp");
        assert_eq!(shown("8080:80/UDP"), "|8080|80|udp");
        assert_eq!(shown("127.0.0.1::80"), "127.0.0.1||80|tcp");
        assert_eq!(shown("[::1]:1:2"), "::1|1|2|tcp");
        assert_eq!(shown("::1:1:2"), "::1|1|2|tcp");
        assert_eq!(shown("9-10:19-20"), "|9|19|tcp |10|20|tcp");
        assert_eq!(shown("8000-8005:80"), "|8000-8005|80|tcp");
        assert_eq!(shown("99-101"), "||100|tcp ||101|tcp ||99|tcp");
    }

    #[test]
    fn bad_forms_are_refused() {
        for text in ["", "80:", "http:80", "70000", "80/quic", "1.2.3:1:2", "1-3:1-2", "5-4"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
