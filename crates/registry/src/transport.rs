//! One HTTP request, with its redirects and retries. Knows hosts and statuses, but no tokens and no
//! digests. The authorization goes to the host of the request, never to a redirect target on
//! another host.

use super::Reference;
use super::agents::Agents;
use base::error::{Error, Kind, Result};
use base::read;
use base::text;
use serde_json::Value;
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::SendBody;
use ureq::http::{Response, StatusCode};

/// The largest manifest that is read (the limit of the distribution specification).
pub(super) const LARGEST_MANIFEST: u64 = 4 << 20;
/// The tries of one request, and of a blob that makes no progress.
pub(super) const TRIES: u32 = 5;
/// The most redirects that are followed.
const MOST_REDIRECTS: u32 = 5;
/// The longest wait, whatever `Retry-After` says.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The most characters of an error message of a registry.
const LONGEST_WORD: usize = 200;

/// An answer whose body is unread.
pub(super) type Answer = Response<ureq::Body>;

/// The body of a request.
pub(super) enum Body<'a> {
    /// No body.
    None,
    /// Bytes in memory. They can be sent again.
    Bytes(&'a [u8]),
    /// This many bytes of a reader. They are sent once, so the caller retries.
    Stream(&'a mut dyn Read, u64),
}

/// A request.
pub(super) struct Ask<'a> {
    /// The method: GET, HEAD, POST, PUT, PATCH or DELETE.
    pub method: &'a str,
    /// The URL, before any redirect.
    pub url: &'a str,
    /// The name for messages.
    pub name: &'a Reference,
    /// The headers, without `Authorization`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The value of `Authorization`, for the host of `url` alone.
    pub authorization: Option<&'a str>,
    /// The body.
    pub body: Body<'a>,
    /// The number of tries: [`TRIES`], unless another host can be asked.
    pub tries: u32,
}

/// An answer, and the host that it came from.
pub(super) struct Answered {
    /// The answer. Its status is no redirect that was followed.
    pub answer: Answer,
    /// True if the answer is from the host that was asked. Only such an answer may ask for
    /// credentials.
    pub home: bool,
}

/// The wait before the next try: doubled each time, or what `Retry-After` says.
pub(super) fn wait(tries: u32, answer: Option<&Answer>) -> Duration {
    let wish = answer.and_then(|answer| header(answer, "retry-after")?.trim().parse::<u64>().ok());
    wish.map_or(Duration::from_millis(200 << tries.min(8)), Duration::from_secs).min(LONGEST_WAIT)
}

/// True if the same request may succeed soon.
pub(super) fn passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
}

/// A header as text.
pub(super) fn header<'a>(answer: &'a Answer, key: &str) -> Option<&'a str> {
    answer.headers().get(key).and_then(|value| value.to_str().ok())
}

/// Sends a request, follows redirects and retries.
pub(super) fn send(agents: &Agents, ask: &mut Ask<'_>) -> Result<Answered> {
    let (mut url, mut redirects, mut tries) = (ask.url.to_owned(), 0, 0);
    let ask_tries = ask.tries;
    let home = host_of(&url);
    let once = matches!(ask.body, Body::Stream(..));
    let began = Instant::now();
    let again = |tries: u32, pause: Duration| !once && tries + 1 < ask_tries && agents.have_time(began, pause);
    loop {
        let at_home = host_of(&url) == home;
        let pause = match one(&agents.of(&url)?, ask, &url, at_home)? {
            Ok(answer) if follows(&answer, ask.method) && !once => {
                redirects += 1;
                url = header(&answer, "location")
                    .and_then(|place| join(&url, place))
                    .filter(|_| redirects <= MOST_REDIRECTS)
                    .ok_or_else(|| {
                        let message = format!("{}: the registry sends us on and on, or to nowhere", ask.name);
                        Error::new(Kind::Source, message)
                    })?;
                continue;
            }
            Ok(answer) if passing(answer.status()) && again(tries, wait(tries, Some(&answer))) => {
                wait(tries, Some(&answer))
            }
            Ok(answer) if is_web_page(&answer, ask) => return Err(web_page(ask.name)),
            Ok(answer) => return Ok(Answered { answer, home: at_home }),
            Err(cause) if !again(tries, wait(tries, None)) || !worth_trying(&cause) => {
                return Err(unreachable(ask.name, &cause));
            }
            Err(_) => wait(tries, None),
        };
        tries += 1;
        agents.stop().sleep(pause)?;
    }
}

/// True if a proxy on the way answers instead of the registry, with a login page for example. A
/// blob may be a web page, so it is left to the check of its digest.
fn is_web_page(answer: &Answer, ask: &Ask<'_>) -> bool {
    let blob = ask.method == "GET" && ask.url.contains("/blobs/");
    answer.status().is_success()
        && !blob
        && header(answer, "content-type").is_some_and(|kind| kind.to_lowercase().starts_with("text/html"))
}

fn web_page(name: &Reference) -> Error {
    Error::new(Kind::Export, format!("{name}: {} answers with a web page", name.host()))
        .hint("is it a registry? a proxy or a page to log in may stand before it")
}

/// True if the redirect is followed. 307 and 308 keep the method. The others mean a GET, so only
/// GET and HEAD follow them.
fn follows(answer: &Answer, method: &str) -> bool {
    match answer.status().as_u16() {
        307 | 308 => true,
        301..=303 => matches!(method, "GET" | "HEAD"),
        _ => false,
    }
}

fn one(agent: &ureq::Agent, ask: &mut Ask<'_>, url: &str, at_home: bool) -> Result<Result<Answer, ureq::Error>> {
    let mut request = ureq::http::Request::builder().method(ask.method).uri(url);
    for (key, value) in ask.headers {
        request = request.header(*key, *value);
    }
    if let Some(value) = ask.authorization.filter(|_| at_home) {
        request = request.header("authorization", value);
    }
    // The URL may hold a signature, so it is not shown.
    let bad =
        |cause| Error::new(Kind::Source, format!("{}: the registry names a bad address", ask.name)).because(cause);
    Ok(match &mut ask.body {
        Body::None if matches!(ask.method, "GET" | "HEAD") => agent.run(request.body(()).map_err(bad)?),
        Body::None => agent.run(request.body(&b""[..]).map_err(bad)?),
        Body::Bytes(bytes) => agent.run(request.body(*bytes).map_err(bad)?),
        Body::Stream(reader, size) => {
            let request = request.header("content-length", size.to_string());
            agent.run(request.body(SendBody::from_reader(&mut **reader)).map_err(bad)?)
        }
    })
}

/// Reads the body of an answer, up to the size limit of a manifest.
pub(super) fn bounded(answer: &mut Answer, name: &Reference) -> Result<Vec<u8>> {
    let read = read::at_most(LARGEST_MANIFEST, answer.body_mut().as_reader());
    let read = read.map_err(|cause| {
        Error::new(Kind::Source, format!("{name}: the connection broke")).because(cause).transient()
    })?;
    read.ok_or_else(|| Error::new(Kind::Source, format!("{name}: the answer is larger than {LARGEST_MANIFEST} bytes")))
}

/// The authority of a URL: the part between `://` and the next slash.
pub(super) fn host_of(url: &str) -> String {
    url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#', '\\']).next()).unwrap_or_default().to_lowercase()
}

/// Resolves a `Location` header to an absolute URL.
pub(super) fn join(base: &str, place: &str) -> Option<String> {
    if place.starts_with("https://") || place.starts_with("http://") {
        // A redirect from HTTPS to plain HTTP is refused.
        return (place.starts_with("https://") || base.starts_with("http://")).then(|| place.to_owned());
    }
    let (scheme, _) = base.split_once("://")?;
    place.starts_with('/').then(|| format!("{scheme}://{}{place}", host_of(base)))
}

/// The characters that [`escaped`] keeps in the query of a request to a registry. They have no
/// meaning there, and registries are used to them.
pub(super) const QUERY: &str = ":/,";

/// Percent-encodes a text for a path or query. Unreserved characters (RFC 3986, section 2.3) and
/// those of `also` stay.
pub fn escaped(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn worth_trying(cause: &ureq::Error) -> bool {
    matches!(cause, ureq::Error::Io(error) if error.kind() != std::io::ErrorKind::ConnectionRefused)
        || matches!(cause, ureq::Error::Timeout(_) | ureq::Error::Protocol(_))
}

fn unreachable(name: &Reference, cause: &ureq::Error) -> Error {
    let hint = match cause {
        ureq::Error::HostNotFound => "check the name of the registry and the name server",
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nothing listens there: is the registry running?"
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "only localhost is spoken to without encryption",
        _ => "check the network, and HTTP_PROXY and NO_PROXY",
    };
    let error = Error::new(Kind::Source, format!("{name}: cannot reach {}", name.host())).hint(hint).unreachable();
    match cause {
        // These would print the address, which may hold a signature.
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => error,
        cause => error.because(cause.to_string()),
    }
}

/// Makes an error of a refusal, with the registry's message.
pub(super) fn refused(name: &Reference, method: &str, mut answer: Answer) -> Error {
    let status = answer.status();
    let body = if method == "HEAD" { Vec::new() } else { bounded(&mut answer, name).unwrap_or_default() };
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let first = &value["errors"][0];
    let words = [&first["code"], &first["message"]];
    let words = words.map(|word| text::line(word.as_str().unwrap_or_default(), LONGEST_WORD));
    let error = match status {
        StatusCode::NOT_FOUND => {
            Error::new(Kind::Source, format!("{name}: not found")).hint("check the name and the tag")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::new(Kind::Source, format!("{name}: access denied"))
            .hint(format!("check the name; `kiln login {}` says who you are", name.registry)),
        status => Error::new(Kind::Source, format!("{name}: the registry answers {status}")).hint("try again later"),
    };
    let error = if status.is_server_error() { error.transient() } else { error };
    match words.concat().is_empty() {
        true => error,
        false => error.because(words.join(" ").trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_ends_where_the_way_begins() {
        for (url, host) in [
            ("https://R.io:5000/v2/", "r.io:5000"),
            ("https://r.io@evil/", "r.io@evil"),
            ("https://evil?r.io/", "evil"),
            ("https://evil#/r.io/", "evil"),
            ("https://evil\\r.io/", "evil"),
            ("nonsense", ""),
        ] {
            assert_eq!(host_of(url), host);
        }
    }

    #[test]
    fn nobody_is_led_from_an_encrypted_connection_to_a_plain_one() {
        assert_eq!(join("https://a/v2/", "http://a/x"), None);
        assert_eq!(join("https://a/v2/", "https://b/x").as_deref(), Some("https://b/x"));
        assert_eq!(join("https://a/v2/", "/x?y=1").as_deref(), Some("https://a/x?y=1"));
        assert_eq!(join("https://a/v2/", "x"), None);
    }

    #[test]
    fn waits_double_and_have_an_end() {
        assert_eq!(wait(0, None).as_millis() * 4, wait(2, None).as_millis());
        assert_eq!(wait(u32::MAX, None), LONGEST_WAIT);
        let answer = |value: &str| {
            Response::builder().header("retry-after", value).body(ureq::Body::builder().data("")).expect("an answer")
        };
        assert_eq!(wait(0, Some(&answer("3"))), Duration::from_secs(3));
        assert_eq!(wait(0, Some(&answer("99999999"))), LONGEST_WAIT);
        assert_eq!(wait(1, Some(&answer("Fri, 31 Dec 1999 23:59:59 GMT"))), wait(1, None));
    }
}
