//! The grammar of names of images (distribution/reference): `[host[:port]/]path[:tag][@digest]`. Knows no defaults and no
//! registries.

/// True if a text is the name of an image.
pub(crate) fn is_reference(text: &str) -> bool {
    let (text, digest) = text.split_once('@').map_or((text, None), |(text, digest)| (text, Some(digest)));
    let (host, rest) = match text.split_once('/') {
        // As in distribution/reference: a capital letter makes it a host too.
        Some((host, rest)) if host == "localhost" || host.contains(['.', ':']) || host != host.to_lowercase() => {
            (Some(host), rest)
        }
        _ => (None, text),
    };
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    let is_hex = |text: &str| text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    host.is_none_or(is_host)
        && path.split('/').all(is_component)
        && !(host.is_none() && path.len() == 64 && is_hex(path))
        && tag.is_none_or(is_tag)
        && digest.is_none_or(|digest| digest.split_once(':').is_some_and(|(_, hex)| is_hex(hex)))
}

fn is_host(text: &str) -> bool {
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_number));
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(plain) && label.ends_with(plain) && label.chars().all(|c| plain(c) || c == '-')
    };
    name.split('.').all(label) && port.is_none_or(is_number)
}

/// Lower case letters and digits, between them `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|byte| byte == b'-');
    text.starts_with(plain) && text.ends_with(plain) && text.split(plain).all(separator)
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(word) && text.len() <= 128 && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_is_none() {
        for good in [
            "x",
            "a/b",
            "x:1",
            "localhost:5000/x",
            "docker.io/library/x:tag",
            "h.io/a__b/c-d.e:T_1",
            "X/y",
            "[::1]:5000/team/x:1",
            "[fd00::1]/x",
            "x@sha256:0123456789abcdef0123456789abcdef",
        ] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "", "x:", "X", "a//b", "x:t:u", "x@sha256", "-x", "a..b", "h.io:/x", ":1", "a b", "[::1]:/x", "[]/x",
            "[::1/x", "[g::]/x",
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
