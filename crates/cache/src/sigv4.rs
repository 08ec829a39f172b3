//! AWS Signature Version 4 for S3: the headers that authenticate a request ("Authenticating
//! Requests: Using the Authorization Header", Amazon S3 API reference). It uses ring's HMAC, which
//! TLS needs anyway. The crates for this would add an XML reader and a second set of hashes, for a
//! page of code.

use base::clock::rfc3339;
use base::digest::Digest;
use ring::hmac;
use std::time::{SystemTime, UNIX_EPOCH};

/// The credentials of the client.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

/// The request to sign.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// With its port, as the request has it.
    pub(super) host: &'a str,
    /// The escaped path.
    pub(super) path: &'a str,
    /// The escaped query, sorted by name.
    pub(super) query: &'a str,
    /// SHA-256 of the body in hex.
    pub(super) hash: &'a str,
    pub(super) region: &'a str,
}

/// The headers to send, with the authorization.
pub(super) fn sign(request: &Request<'_>, who: &Credentials, at: SystemTime) -> Vec<(String, String)> {
    let (day, time) = stamp(at);
    let mut headers = vec![
        ("host".to_owned(), request.host.to_owned()),
        ("x-amz-content-sha256".to_owned(), request.hash.to_owned()),
        ("x-amz-date".to_owned(), time.clone()),
    ];
    headers.extend(who.token.clone().map(|token| ("x-amz-security-token".to_owned(), token)));
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical =
        format!("{}\n{}\n{}\n{lines}\n{names}\n{}", request.method, request.path, request.query, request.hash);
    let scope = format!("{day}/{}/s3/aws4_request", request.region);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", Digest::of(canonical.as_bytes()).hex());
    let steps = [day.as_str(), request.region, "s3", "aws4_request"];
    let key = steps.iter().fold(format!("AWS4{}", who.secret).into_bytes(), |key, step| mac(&key, step.as_bytes()));
    let signature: String = mac(&key, text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let value = format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}", who.id);
    // The client writes the host header itself.
    headers.remove(0);
    headers.push(("authorization".to_owned(), value));
    headers
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// The date and time, as `20130524` and `20130524T000000Z`.
fn stamp(at: SystemTime) -> (String, String) {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = rfc3339(i64::try_from(seconds).unwrap_or_default()).replace(['-', ':'], "");
    (time.chars().take(8).collect(), time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The example "GET Bucket Lifecycle" in Amazon's documentation, which signs the same headers
    /// as kiln.
    #[test]
    fn the_signature_is_that_of_the_published_example() {
        let who = Credentials {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
        };
        let request = Request {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/",
            query: "lifecycle=",
            hash: &Digest::of(b"").hex(),
            region: "us-east-1",
        };
        let headers = sign(&request, &who, UNIX_EPOCH + Duration::from_secs(1_369_353_600));
        let value = &headers.last().expect("headers").1;
        assert!(
            value.ends_with("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            "{value}"
        );
        assert!(headers.iter().any(|(name, value)| name == "x-amz-date" && value == "20130524T000000Z"));
    }
}
