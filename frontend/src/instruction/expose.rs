//! EXPOSE: ports that a container listens on.

use super::{Diagnostic, Line, Stage, at_least_one, flags};
use crate::check::Fact;
use serde_json::json;

/// `EXPOSE 80 8000-8010/udp`.
#[derive(Clone, Debug)]
pub(crate) struct Expose {
    ports: Vec<String>,
}

impl Expose {
    pub(super) fn parse(line: &Line) -> Result<Expose, Diagnostic> {
        at_least_one(line)?;
        flags::none(line)?;
        let mut ports: Vec<String> = line.args.iter().map(|word| word.text.clone()).collect();
        ports.sort();
        Ok(Expose { ports })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let mut all = Vec::new();
        for text in &self.ports {
            for port in stage.expand_words(text)? {
                stage.tell(&Fact::Port { text: &port });
                let ports = parse_port(&port).map_err(|message| {
                    stage.error_at("expose", text, message).help("write `80`, `53/udp` or `8000-8010/tcp`")
                });
                all.extend(ports?);
            }
        }
        let ports = stage.config().exposed_ports.get_or_insert_default();
        for port in &all {
            ports.insert(port.clone(), json!({}));
        }
        stage.history(format!("EXPOSE [{}]", all.join(" ")), None);
        Ok(())
    }
}

/// `[[ip:]host:]container[-end][/protocol]`.
fn parse_port(text: &str) -> Result<Vec<String>, String> {
    let (address, container) = text.rsplit_once(':').map_or((None, text), |(before, port)| (Some(before), port));
    let (ip, host) = match address.map(|address| address.rsplit_once(':').unwrap_or(("", address))) {
        Some((ip, host)) => (ip, host),
        None => ("", ""),
    };
    let bare = ip.trim_start_matches('[').trim_end_matches(']');
    if !ip.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err(format!("invalid port: {text:?}: invalid proto: {protocol}")),
    };
    if port.is_empty() {
        return Err(format!("invalid port: {text:?}: no port specified"));
    }
    let (start, end) = range(port).ok_or_else(|| format!("invalid containerPort: {port}"))?;
    if !host.is_empty() {
        let (first, last) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if end - start != last - first && end != start {
            return Err(format!("invalid ranges specified for container and host Ports: {port} and {host}"));
        }
    }
    Ok((start..=end).map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<u16>().ok();
    match text.split_once('-') {
        Some((start, end)) => number(start).zip(number(end)).filter(|(start, end)| start <= end),
        None => number(text).map(|port| (port, port)),
    }
}
