//! Requests to object stores: answers are bounded, failures are retried with growing pauses, and
//! errors show no part of a URL that may be secret.

use base::error::{Error, Kind, Result};
use base::read;
use base::text;
use registry::{Agents, Settings};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};
use ureq::SendBody;

/// The number of tries for one request.
const TRIES: u32 = 4;
/// The longest pause, whatever the server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest part of a server's own message in an error.
const LONGEST_WORD: usize = 200;

/// An HTTP client that keeps connections open.
pub(super) struct Http {
    agents: Agents,
    /// The name for messages, as `s3 bucket`.
    title: String,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    /// A range of a file: offset and length.
    Part(&'a Path, u64, u64),
}

/// A request. `headers` is called for each try, as signatures contain the time.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a dyn Fn() -> Vec<(String, String)>,
    pub(super) body: Body<'a>,
    /// The largest answer in bytes.
    pub(super) limit: u64,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// True if it has an `ETag`, which an object store gives to each object.
    pub(super) tagged: bool,
}

impl Answer {
    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Http {
    pub(super) fn new(title: &str, settings: &Settings) -> Http {
        Http { agents: Agents::new(settings), title: title.to_owned() }
    }

    /// Sends a request, and retries temporary failures.
    pub(super) fn send(&self, ask: &Ask<'_>) -> Result<Answer> {
        let (mut tries, began) = (0, Instant::now());
        loop {
            tries += 1;
            let usual = Duration::from_millis(100 << tries);
            let again = |pause| tries < TRIES && self.agents.have_time(began, pause);
            let pause = match self.once(ask) {
                Ok((answer, wish)) if passing(answer.status) => {
                    let pause = wish.unwrap_or(usual).min(LONGEST_WAIT);
                    if !again(pause) {
                        return Ok(answer);
                    }
                    pause
                }
                Ok((answer, _)) => return Ok(answer),
                Err(error) if !again(usual) || error.kind() != Kind::Source => return Err(error),
                Err(_) => usual,
            };
            self.agents.stop().sleep(pause)?;
        }
    }

    fn once(&self, ask: &Ask<'_>) -> Result<(Answer, Option<Duration>)> {
        let mut request = ureq::http::Request::builder().method(ask.method).uri(ask.url);
        for (key, value) in (ask.headers)() {
            request = request.header(key, value);
        }
        let bad = |_| Error::new(Kind::Usage, format!("{}: the address is none", self.title));
        let agent = self.agents.of(ask.url)?;
        let sent = match ask.body {
            Body::None => agent.run(request.body(()).map_err(bad)?),
            Body::Bytes(bytes) => agent.run(request.body(bytes).map_err(bad)?),
            Body::Part(path, offset, length) => {
                let open = |cause| Error::new(Kind::Store, "cannot read a blob").because(cause);
                let mut file = File::open(path).map_err(open)?;
                file.seek(SeekFrom::Start(offset)).map_err(open)?;
                let mut part = file.take(length);
                let request = request.header("content-length", length.to_string());
                agent.run(request.body(SendBody::from_reader(&mut part)).map_err(bad)?)
            }
        };
        let mut answer = sent.map_err(|cause| self.unreachable(&cause))?;
        let (status, tagged) = (answer.status().as_u16(), answer.headers().contains_key("etag"));
        let wish = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let read = read::at_most(ask.limit, answer.body_mut().as_reader()).map_err(|cause| {
            Error::new(Kind::Source, format!("{}: the connection broke", self.title)).because(cause)
        })?;
        let body = read.ok_or_else(|| {
            Error::new(Kind::Export, format!("{}: an answer is larger than {} bytes", self.title, ask.limit))
        })?;
        Ok((Answer { status, body, tagged }, wish.map(Duration::from_secs)))
    }

    /// The error for an answer from a different kind of server.
    pub(super) fn stranger<T>(&self) -> Result<T> {
        let message = format!("{}: the answer is not that of such a server", self.title);
        Err(Error::new(Kind::Export, message)
            .hint("is the address right? a proxy or a page to log in may stand before it"))
    }

    fn unreachable(&self, cause: &ureq::Error) -> Error {
        let refused = matches!(cause, ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused);
        // Other kinds than `Source` are not retried, as these failures do not pass.
        let kind = if refused || matches!(cause, ureq::Error::HostNotFound) { Kind::Export } else { Kind::Source };
        let error = Error::new(kind, format!("{}: cannot be reached", self.title));
        match cause {
            // These errors would print the URL, which may contain a signature.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => error,
            cause => error.because(cause.to_string()),
        }
    }

    /// A refusal in one line, with the server's own message, if it has one between these marks.
    pub(super) fn refused(&self, answer: &Answer, marks: [&str; 2]) -> Error {
        let body = String::from_utf8_lossy(&answer.body);
        let word = body.split_once(marks[0]).and_then(|(_, rest)| rest.split_once(marks[1])).map(|(word, _)| word);
        let word = text::line(word.unwrap_or_default(), LONGEST_WORD);
        let error = Error::new(Kind::Source, format!("{}: the server answers {}", self.title, answer.status));
        if word.is_empty() { error } else { error.because(word) }
    }
}

fn passing(status: u16) -> bool {
    matches!(status, 408 | 429) || status >= 500
}
