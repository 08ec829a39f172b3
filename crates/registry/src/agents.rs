//! How a host is reached: the proxy, and the certificate authorities that are trusted.
//!
//! The trusted authorities are those of the system (`SSL_CERT_FILE`, else the usual bundles, else
//! the built-in ones), and for one registry also those in `certs.d/<host:port>/*.crt`. `NAME.cert`
//! with `NAME.key` there is kiln's client certificate (containers-certs.d(5)).

use super::transport::host_of;
use super::{Reference, Settings};
use base::error::{Error, Kind, Result};
use base::read;
use base::sync::lock;
use sandbox::Stop;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use ureq::http::StatusCode;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// The largest file of certificates that is read, in bytes.
const LARGEST: u64 = 16 << 20;
/// Idle connections that are kept: as many as a cache export sends blobs at once.
const MOST_IDLE: usize = 32;
/// Files where systems keep the certificates of authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as Go's programs read them.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// Hosts that are reached directly.
    pub none: Vec<String>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A proxy's address may hold a password.
        f.write_str("Proxies(...)")
    }
}

impl Proxies {
    /// Reads the variables. Lower-case names come first, as in curl and Go.
    pub fn of(get: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let set = |name: &str| {
            let both = [name.to_lowercase(), name.to_owned()];
            both.iter().find_map(|name| get(name).filter(|value| !value.is_empty()))
        };
        let all = set("ALL_PROXY");
        let none = set("NO_PROXY").unwrap_or_default();
        let none = none.split(',').map(|entry| entry.trim().to_lowercase()).filter(|entry| !entry.is_empty()).collect();
        Proxies { http: set("HTTP_PROXY").or_else(|| all.clone()), https: set("HTTPS_PROXY").or(all), none }
    }

    fn for_url(&self, url: &str) -> Result<Option<ureq::Proxy>> {
        let proxy = if url.starts_with("https://") { &self.https } else { &self.http };
        let Some(proxy) = proxy.as_ref().filter(|_| !self.is_direct(url)) else { return Ok(None) };
        let with_scheme = if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") };
        // The address may hold a password, so it is not shown.
        ureq::Proxy::new(&with_scheme).map(Some).map_err(|_| {
            Error::new(Kind::Usage, "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names no proxy")
                .hint("write `http://HOST:PORT`, `socks5://HOST:PORT`")
        })
    }

    fn is_direct(&self, url: &str) -> bool {
        let authority = host_of(url);
        let authority = authority.rsplit('@').next().unwrap_or("");
        let default = if url.starts_with("https://") { "443" } else { "80" };
        let (host, port) = split_port(authority);
        let (host, port) = (host.trim_matches(['[', ']']), port.unwrap_or(default));
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.none.iter().any(|entry| {
            let (name, wanted) = split_port(entry);
            let name = name.trim_matches(['[', ']']).trim_start_matches('*');
            if entry == "*" {
                return true;
            }
            if let (Some(address), Some((net, bits))) = (address, entry.split_once('/')) {
                return within(address, net, bits);
            }
            let suffix = name.strip_prefix('.').unwrap_or(name);
            let named = (host == suffix && !name.starts_with('.'))
                || host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
            named && wanted.is_none_or(|wanted| wanted == port)
        })
    }
}

/// `host:port`, `[::1]:port`; an address with many colons has no port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// True if an address is in a network such as `10.0.0.0/8`.
fn within(address: IpAddr, net: &str, bits: &str) -> bool {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<usize>()) else { return false };
    let (one, two) = (bytes(address), bytes(net));
    let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).map(|byte| byte >> (7 - at % 8) & 1);
    one.len() == two.len() && bits <= one.len() * 8 && (0..bits).all(|at| bit(&one, at) == bit(&two, at))
}

impl Settings {
    /// Makes an agent for the host of a URL. `insecure` accepts any certificate.
    pub fn agent(&self, url: &str, insecure: bool) -> Result<ureq::Agent> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(self.proxies.for_url(url)?)
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(MOST_IDLE)
            .max_idle_connections_per_host(MOST_IDLE)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)));
        let config = match url.starts_with("https://") {
            true => config.tls_config(self.tls(&host_of(url), insecure)?),
            false => config,
        };
        Ok(config.build().into())
    }

    fn tls(&self, host: &str, insecure: bool) -> Result<TlsConfig> {
        let mut own = Vec::new();
        let mut client = None;
        for file in self.certificates(host) {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => own.extend(certificates(&file)?),
                Some("cert") => client = Some(shown(&file)?),
                _ => {}
            }
        }
        let config = TlsConfig::builder().disable_verification(insecure).client_cert(client);
        let system = self.authorities.clone().or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
        let Some(system) = system else {
            let roots = if own.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&own) };
            return Ok(config.root_certs(roots).build());
        };
        own.extend(certificates(&system)?);
        Ok(config.root_certs(RootCerts::new_with_certs(&own)).build())
    }

    /// The certificate files for one registry.
    fn certificates(&self, host: &str) -> Vec<PathBuf> {
        // A host name must not lead out of the directory.
        let name = Path::new(host).file_name().filter(|name| *name == host);
        let folders = self.certs.iter().filter_map(|folder| Some(folder.join(name?)));
        let mut files: Vec<PathBuf> = folders
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files
    }
}

fn pem(file: &Path) -> Result<Vec<PemItem<'static>>> {
    let items: Result<Vec<_>, _> = parse_pem(&read::file(LARGEST, file)?).collect();
    items.map_err(|cause| Error::new(Kind::Usage, format!("`{}` holds no certificates", file.display())).because(cause))
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let certificate = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    Ok(pem(file)?.into_iter().filter_map(certificate).collect())
}

/// Reads kiln's client certificate: a chain, and the key beside it.
fn shown(file: &Path) -> Result<ClientCert> {
    let key = file.with_extension("key");
    let missing = |what: &str, file: &Path| Error::new(Kind::Usage, format!("`{}` holds no {what}", file.display()));
    let chain = certificates(file)?;
    let key_of = |item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    };
    let found: Option<PrivateKey<'static>> = pem(&key)?.into_iter().find_map(key_of);
    if chain.is_empty() {
        return Err(missing("certificate", file));
    }
    Ok(ClientCert::new_with_certs(&chain, found.ok_or_else(|| missing("key", &key))?))
}

/// The agents of a client, one for each host.
pub struct Agents {
    settings: Settings,
    known: Mutex<HashMap<String, ureq::Agent>>,
    /// Hosts whose certificates are not verified.
    insecure: Mutex<HashSet<String>>,
    schemes: Mutex<HashMap<String, &'static str>>,
}

impl Agents {
    /// Makes no agent yet: each is made when it is needed.
    pub fn new(settings: &Settings) -> Agents {
        Agents {
            settings: settings.clone(),
            known: Mutex::default(),
            insecure: Mutex::default(),
            schemes: Mutex::default(),
        }
    }

    /// The wish of the user that everything ends.
    pub fn stop(&self) -> &Stop {
        &self.settings.stop
    }

    /// True if there is time to retry a request that began at `began`.
    pub fn have_time(&self, began: Instant, pause: Duration) -> bool {
        self.settings.patience.is_none_or(|patience| began.elapsed() + pause < patience)
    }

    /// The agent for the host of a URL.
    pub fn of(&self, url: &str) -> Result<ureq::Agent> {
        let host = host_of(url);
        let insecure = lock(&self.insecure).contains(&host);
        let key = format!("{} {host} {insecure}", url.split(':').next().unwrap_or(""));
        if let Some(agent) = lock(&self.known).get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.settings.agent(url, insecure)?;
        lock(&self.known).insert(key, agent.clone());
        Ok(agent)
    }

    /// From now on the certificates of this registry are not verified.
    pub fn trust(&self, name: &Reference) {
        lock(&self.insecure).insert(name.host().to_lowercase());
    }

    /// Plain HTTP for a registry on this machine, unless there are certificates for it, and for an
    /// insecure registry that answers only over HTTP. Else HTTPS.
    pub fn scheme(&self, name: &Reference) -> &'static str {
        let host = name.host().to_lowercase();
        if let Some(scheme) = lock(&self.schemes).get(&host) {
            return scheme;
        }
        let insecure = lock(&self.insecure).contains(&host);
        let scheme = if name.is_local() && !insecure {
            if self.settings.certificates(&host).is_empty() { "http" } else { "https" }
        } else if insecure && !self.answers("https", &host) && self.answers("http", &host) {
            "http"
        } else {
            "https"
        };
        lock(&self.schemes).insert(host, scheme);
        scheme
    }

    /// True if the registry answers over this scheme. A TLS server answers plain HTTP with 400
    /// (Go's net/http).
    fn answers(&self, scheme: &str, host: &str) -> bool {
        let url = format!("{scheme}://{host}/v2/");
        let answer = self.of(&url).map(|agent| agent.get(&url).call());
        answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status() != StatusCode::BAD_REQUEST))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn proxies(none: &str) -> Proxies {
        let vars =
            HashMap::from([("HTTPS_PROXY", "p.example:3128"), ("http_proxy", "http://h.example"), ("NO_PROXY", none)]);
        Proxies::of(&|name| vars.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn a_proxy_is_chosen_by_scheme_and_left_out_as_go_does() {
        let all = proxies("");
        assert_eq!(all.for_url("https://r.example/v2/").unwrap().unwrap().host(), "p.example");
        assert_eq!(all.for_url("http://r.example/v2/").unwrap().unwrap().host(), "h.example");
        for local in ["http://localhost:5000/", "https://127.0.0.2/", "http://[::1]:5000/"] {
            assert!(all.for_url(local).unwrap().is_none(), "{local}");
        }
        let direct = |none: &str, url: &str| proxies(none).is_direct(url);
        assert!(direct("example.com", "https://a.example.com/") && direct("example.com", "https://example.com:444/"));
        assert!(direct(".example.com", "https://a.example.com/") && !direct(".example.com", "https://example.com/"));
        assert!(direct("*.example.com", "https://a.example.com/") && !direct("example.com", "https://badexample.com/"));
        assert!(direct("r.example:5000", "https://r.example:5000/") && !direct("r.example:5000", "https://r.example/"));
        assert!(direct("r.example:443", "https://r.example/") && direct("*", "https://anything/"));
        assert!(direct("10.0.0.0/8", "https://10.1.2.3:5000/") && !direct("10.0.0.0/8", "https://11.1.2.3/"));
        assert!(direct("fd00::/8", "https://[fd00::1]/") && direct("a, b.example ,c", "https://b.example/"));
        assert!(!direct("", "https://r.example/") && !direct("10.0.0.0/99", "https://10.0.0.1/"));
        let empty = Proxies::of(&|name| match name {
            "https_proxy" => Some(String::new()),
            "HTTPS_PROXY" => Some("p.example".to_owned()),
            _ => None,
        });
        assert!(empty.for_url("https://r.example/").unwrap().is_some(), "an empty variable is none");
        let wrong = Proxies { https: Some("ftp://x".to_owned()), ..Proxies::default() };
        assert!(wrong.for_url("https://r.example/").is_err());
    }
}
