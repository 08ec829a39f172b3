//! Comma-separated fields, as Go's `encoding/csv` reads them.

/// Fields of one line.
pub fn fields(text: &str, comma: char) -> Result<Vec<String>, String> {
    match line(text, comma) {
        Ok((fields, _)) => Ok(fields),
        Err(why) => Err(format!("parse error on line 1: {why}")),
    }
}

/// A record and the line it begins at.
pub type Record = (usize, Vec<String>);

/// Records of a text; blank lines are none.
pub fn records(text: &str) -> Result<Vec<Record>, (usize, String)> {
    let (mut rest, mut number, mut records) = (text, 1, Vec::new());
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if first.trim_end_matches('\r').is_empty() {
            (rest, number) = (after, number + 1);
            continue;
        }
        let (fields, used) = line(rest, ',').map_err(|why| (number, why))?;
        let lines = rest[..used].matches('\n').count().max(1);
        records.push((number, fields));
        (rest, number) = (&rest[used..], number + lines);
    }
    Ok(records)
}

/// Fields up to the end of a line that is not within quotes, and the bytes that were read.
fn line(text: &str, comma: char) -> Result<(Vec<String>, usize), String> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let (field, used) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, used) = quoted_field(quoted)?;
                (field, used + 1)
            }
            None => {
                let end = rest.find([comma, '\n']).unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("bare \" in non-quoted field".into());
                }
                let field = rest[..end].strip_suffix('\r').filter(|_| rest[end..].starts_with('\n'));
                (field.unwrap_or(&rest[..end]).to_owned(), end)
            }
        };
        fields.push(field);
        at += used;
        let rest = &text[at..];
        if let Some(after) = rest.strip_prefix(comma) {
            at = text.len() - after.len();
            continue;
        }
        let line_end = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'));
        match (line_end, rest) {
            (Some(after), _) => return Ok((fields, text.len() - after.len())),
            (None, "") => return Ok((fields, text.len())),
            _ => return Err("extraneous or missing \" in quoted-field".into()),
        }
    }
}

/// The field behind an opening quote, and the bytes up to and with the closing one.
fn quoted_field(text: &str) -> Result<(String, usize), String> {
    let mut field = String::new();
    let mut at = 0;
    loop {
        let end = text[at..].find('"').ok_or("extraneous or missing \" in quoted-field")?;
        field.push_str(&text[at..at + end]);
        at += end + 1;
        match text[at..].strip_prefix('"') {
            Some(_) => field.push('"'),
            None => return Ok((field, at)),
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(fields(r#"a,"b,""c""",d"#, ','), Ok(vec!["a".into(), "b,\"c\"".into(), "d".into()]));
        assert_eq!(fields("k:v", ':'), Ok(vec!["k".into(), "v".into()]));
        assert!(fields("a\"b", ',').is_err() && fields("\"a", ',').is_err() && fields("\"a\"b", ',').is_err());
    }

    #[test]
    fn records_know_their_lines() {
        let read = records("a,b\r\n\n1,\"x\ny\"\n2,z").expect("records");
        let lines: Vec<usize> = read.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert_eq!(read[1].1, ["1", "x\ny"]);
    }
}
