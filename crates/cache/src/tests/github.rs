//! GitHub's cache service as far as it is published (the protocol of actions/toolkit's `cache`
//! package, version 2): three Twirp calls in JSON, and Azure Blob Storage behind signed URLs.
//! Entries are immutable. A key is found exactly or by the prefixes in `restore_keys`, the newest
//! first.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) const TOKEN: &str = "token-of-a-job";
const SERVICE: &str = "/twirp/github.actions.results.api.v1.CacheService/";

#[derive(Default)]
pub(crate) struct State {
    /// Finished entries, the oldest first: key, version, number of its bytes.
    entries: Vec<(String, String, usize)>,
    /// Entries whose upload has begun.
    open: HashMap<(String, String), usize>,
    blobs: HashMap<usize, Vec<u8>>,
    blocks: HashMap<(usize, String), Vec<u8>>,
    count: usize,
}

/// Starts the service, and returns the value for ACTIONS_RESULTS_URL.
#[allow(dead_code, reason = "not every test does")]
pub(crate) fn serve() -> String {
    serve_open().0
}

/// The same, with the state of the service.
pub(crate) fn serve_open() -> (String, Arc<Mutex<State>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let state = Arc::new(Mutex::new(State::default()));
    let (shared, base) = (Arc::clone(&state), url.clone());
    std::thread::spawn(move || {
        let state = shared;
        for stream in listener.incoming().flatten() {
            let (state, base) = (Arc::clone(&state), base.clone());
            std::thread::spawn(move || answer(&state, &base, stream));
        }
    });
    (url, state)
}

fn answer(state: &Mutex<State>, base: &str, mut client: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut request, mut headers) = (String::new(), HashMap::new());
    reader.read_line(&mut request).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(key.to_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let mut state = state.lock().ok()?;
    let (status, reply) = match path.strip_prefix(SERVICE) {
        Some(_) if headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) => (401, b"{}".to_vec()),
        Some(call) if method == "POST" => {
            let (status, value) = state.call(call, base, &serde_json::from_slice(&body).unwrap_or_default());
            (status, value.to_string().into_bytes())
        }
        _ => state.azure(method, path, &headers, body),
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", reply.len());
    client.write_all(head.as_bytes()).and_then(|()| client.write_all(&reply)).ok()
}

impl State {
    /// Removes the entries whose keys contain this text.
    #[allow(dead_code, reason = "not every test does")]
    pub(crate) fn evict(&mut self, part: &str) {
        self.entries.retain(|(key, ..)| !key.contains(part));
    }

    fn call(&mut self, call: &str, base: &str, question: &Value) -> (u16, Value) {
        let text = |key: &str| question[key].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        let name = (key.clone(), version.clone());
        let is_there = self.entries.iter().any(|(known, of, _)| *known == key && *of == version);
        match call {
            _ if key.is_empty() || version.is_empty() || key.len() > 512 => (400, json!({"code": "invalid_argument"})),
            "CreateCacheEntry" if is_there || self.open.contains_key(&name) => (409, json!({"code": "already_exists"})),
            "CreateCacheEntry" => {
                self.count += 1;
                self.open.insert(name, self.count);
                (200, json!({"ok": true, "signed_upload_url": format!("{base}blob/{}?sig=secret", self.count)}))
            }
            "FinalizeCacheEntryUpload" => {
                let number = self.open.remove(&name);
                let size = number.and_then(|number| self.blobs.get(&number)).map(Vec::len);
                match (number, size) {
                    (Some(number), Some(size)) if text("size_bytes") == size.to_string() => {
                        self.entries.push((key, version, number));
                        (200, json!({"ok": true, "entry_id": number.to_string()}))
                    }
                    _ => (404, json!({"code": "not_found"})),
                }
            }
            "GetCacheEntryDownloadURL" => {
                let prefixes = question["restore_keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
                // The service also uses the key itself as a prefix.
                let wishes = std::iter::once(key.as_str()).chain(prefixes).collect::<Vec<_>>();
                let exact = self.entries.iter().find(|(known, of, _)| *known == key && *of == version);
                let near = || {
                    wishes.iter().find_map(|wish| {
                        self.entries.iter().rev().find(|(known, of, _)| known.starts_with(wish) && *of == version)
                    })
                };
                match exact.or_else(near) {
                    Some((known, _, number)) => (
                        200,
                        json!({"ok": true, "matched_key": known, "signed_download_url": format!("{base}blob/{number}?sig=secret")}),
                    ),
                    None => (200, json!({"ok": false})),
                }
            }
            _ => (404, json!({"code": "bad_route"})),
        }
    }

    fn azure(&mut self, method: &str, path: &str, headers: &HashMap<String, String>, body: Vec<u8>) -> (u16, Vec<u8>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let number = path.strip_prefix("/blob/").and_then(|number| number.parse::<usize>().ok());
        let (Some(number), true) = (number, query.starts_with("sig=secret")) else { return (403, Vec::new()) };
        let block = query.split_once("comp=block&blockid=").map(|(_, id)| id.replace("%3D", "="));
        match method {
            "PUT" if block.is_some() => {
                self.blocks.insert((number, block.unwrap_or_default()), body);
                (201, Vec::new())
            }
            "PUT" if query.contains("comp=blocklist") => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let ids = text.split("<Latest>").skip(1).filter_map(|rest| rest.split_once('<').map(|(id, _)| id));
                let parts: Option<Vec<Vec<u8>>> = ids.map(|id| self.blocks.remove(&(number, id.to_owned()))).collect();
                match parts {
                    Some(parts) => {
                        self.blobs.insert(number, parts.concat());
                        (201, Vec::new())
                    }
                    None => (400, b"<Code>InvalidBlockList</Code>".to_vec()),
                }
            }
            "PUT" if headers.get("x-ms-blob-type").is_some_and(|kind| kind == "BlockBlob") => {
                self.blobs.insert(number, body);
                (201, Vec::new())
            }
            "GET" => {
                match (self.blobs.get(&number), headers.get("range").and_then(|range| range.strip_prefix("bytes="))) {
                    (None, _) => (404, Vec::new()),
                    (Some(blob), None) => (200, blob.clone()),
                    (Some(blob), Some(range)) => {
                        let ends: Vec<usize> = range.split('-').filter_map(|end| end.parse().ok()).collect();
                        (206, blob[ends[0]..=ends[1].min(blob.len() - 1)].to_vec())
                    }
                }
            }
            _ => (400, b"<Code>MissingRequiredHeader</Code>".to_vec()),
        }
    }
}
