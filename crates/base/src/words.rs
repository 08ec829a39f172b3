//! Words that people write: booleans as in Go, and the likely word for a misspelt one.

/// Parses a boolean like Go's `strconv.ParseBool`.
pub fn bool_of(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The most likely candidate for a misspelt word, if one is near enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.chars().count() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    let near = (word.chars().count() / 3).clamp(1, 3);
    let scored = candidates.into_iter().map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate));
    scored
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The most likely name, as BuildKit finds it: fewer than three edits away, case-sensitive.
pub fn closest_name<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const FAR: usize = 3;
    let near = |candidate: &&str| candidate.len().abs_diff(word.len()) < 4 * FAR && *candidate != word;
    let scored = candidates.into_iter().filter(near).map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(distance, _)| *distance < FAR).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// The number of insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(one: &str, two: &str) -> usize {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    distance_of(&one, &two)
}

/// The same for any slices, such as the bytes of names that are not text. Time and memory grow with
/// the product of both lengths.
pub fn distance_of<T: PartialEq>(one: &[T], two: &[T]) -> usize {
    let mut rows = vec![(0..=two.len()).collect::<Vec<_>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in two.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == two[j - 1] && one[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["FROM", "RUN", "COPY", "ENTRYPOINT"];
        assert_eq!(closest("FORM", known), Some("FROM"));
        assert_eq!(closest("copyy", known), Some("COPY"));
        assert_eq!(closest("entripoint", known), Some("ENTRYPOINT"));
        assert_eq!(closest("banana", known), None);
    }

    #[test]
    fn switches_are_read_as_go_reads_them() {
        assert!(["1", "t", "T", "true", "True", "TRUE"].iter().all(|text| bool_of(text) == Some(true)));
        assert!(["0", "f", "F", "false", "False", "FALSE"].iter().all(|text| bool_of(text) == Some(false)));
        assert!(["", "yes", "tRUE", "2", " 1"].iter().all(|text| bool_of(text).is_none()));
    }
}
