//! What BuildKit leaves to Go's standard library.

/// A switch, as `strconv.ParseBool` reads it.
pub(crate) fn bool_of(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::bool_of;

    #[test]
    fn switches_are_read_as_go_reads_them() {
        assert!(["1", "t", "T", "true", "True", "TRUE"].iter().all(|text| bool_of(text) == Some(true)));
        assert!(["0", "f", "F", "false", "False", "FALSE"].iter().all(|text| bool_of(text) == Some(false)));
        assert!(["", "yes", "tRUE", "2", " 1"].iter().all(|text| bool_of(text).is_none()));
    }
}
