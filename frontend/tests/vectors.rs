//! Vectors recorded from BuildKit: every row must come out the same.
#![allow(clippy::unwrap_used, missing_docs)]

use frontend::expand::Expander;
use frontend::ignore::Ignore;
use frontend::line::Line;
use frontend::text;
use serde_json::{Value, json};

fn rows(name: &str) -> Vec<Value> {
    let path = format!("{}/../testdata/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Runs every row and reports all that differ.
fn check(name: &str, run: impl Fn(&Value) -> Result<(), String>) {
    let rows = rows(name);
    let failed: Vec<String> =
        rows.iter().filter_map(|row| run(row).err().map(|why| format!("{row}\n  {why}"))).collect();
    assert!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

#[test]
fn words_expand_as_in_buildkit() {
    check("expand", |row| {
        let env = row["env"].as_object().unwrap();
        let lookup = |name: &str| env.get(name).map(|value| value.as_str().unwrap().to_owned());
        let expander = Expander::new(row["escape"].as_str().unwrap().chars().next().unwrap(), &lookup);
        let word = row["word"].as_str().unwrap();
        let heredoc = row["mode"] == "heredoc";
        let got = if heredoc { expander.heredoc(word) } else { expander.word(word) };
        match (row.get("error").and_then(Value::as_str), got) {
            (Some(error), Err(got)) if got.to_string() == error => Ok(()),
            (Some(_), Err(got)) => Err(format!("another error: {got}")),
            (None, Ok(got)) if row["result"] == got.text.as_str() => {
                let words = row.get("words").cloned().unwrap_or_else(|| json!([row["result"]]));
                let got = expander.words(word).unwrap();
                if heredoc || words == json!(got) { Ok(()) } else { Err(format!("words {got:?}")) }
            }
            (_, got) => Err(format!("got {got:?}")),
        }
    });
}

#[test]
fn paths_are_ignored_as_in_docker() {
    check("ignore", |row| {
        let path = row["path"].as_str().unwrap();
        match (row.get("error"), Ignore::parse(row["ignorefile"].as_str().unwrap().as_bytes())) {
            (Some(_), Err(_)) => Ok(()),
            (None, Ok(ignore)) => {
                let patterns: Vec<String> = ignore.patterns().collect();
                let ignored = ignore.ignored(path);
                if json!(patterns) != row["patterns"] {
                    return Err(format!("patterns {patterns:?}"));
                }
                if row["ignored"] == ignored { Ok(()) } else { Err(format!("got {ignored}")) }
            }
            (_, got) => Err(format!("got {got:?}")),
        }
    });
}

fn ast(line: &Line, lines: bool) -> Value {
    let mut node = json!({"name": line.name, "json": line.json});
    if lines {
        node["lines"] = json!([line.span.lines.0, line.span.lines.1]);
    }
    if !line.flags.is_empty() {
        let text = |flag: &frontend::line::Flag| match &flag.value {
            Some(value) => format!("--{}={value}", flag.name),
            None => format!("--{}", flag.name),
        };
        node["flags"] = line.flags.iter().map(text).collect::<Vec<_>>().into();
    }
    let words: Vec<&str> = line.args.iter().map(|word| word.text.as_str()).collect();
    if matches!(line.name.as_str(), "ENV" | "LABEL") {
        node["args"] = words.chunks(3).map(|triple| json!(triple)).collect::<Vec<_>>().into();
    } else if !words.is_empty() {
        node["args"] = json!(words);
    }
    if let Some(trigger) = &line.trigger {
        node["trigger"] = ast(trigger, false);
    }
    if !line.heredocs.is_empty() {
        let all = line
            .heredocs
            .iter()
            .map(|h| json!({"name": h.name, "content": h.content, "expand": h.expand, "chomp": h.chomp, "fd": h.fd}));
        node["heredocs"] = all.collect::<Vec<_>>().into();
    }
    node
}

#[test]
fn dockerfiles_are_cut_as_in_buildkit() {
    check("ast", |row| {
        let source = row["dockerfile"].as_str().unwrap();
        match (row.get("error"), text::parse(source.as_bytes())) {
            (Some(_), Err(_)) => Ok(()),
            (None, Ok(document)) => {
                let got: Vec<Value> = document.lines.iter().map(|line| ast(line, true)).collect();
                if row["ast"] == json!(got) { Ok(()) } else { Err(format!("got {}", json!(got))) }
            }
            (_, got) => Err(format!("got {got:?}")),
        }
    });
}

#[test]
fn places_are_those_of_the_file_through_bom_crlf_and_continuations() {
    let source = b"\xef\xbb\xbfFROM scratch\r\nCOPY a \\\r\n  # note\r\n  b /c\r\n";
    let document = text::parse(source).unwrap();
    let copy = &document.lines[1];
    let words: Vec<&[u8]> = copy.args.iter().map(|word| &source[word.span.bytes.clone()]).collect();
    assert_eq!(words, [b"a" as &[u8], b"b", b"/c"]);
    assert_eq!(copy.args[1].span.lines, (4, 4));
    assert_eq!(copy.span.lines, (2, 4));
}

#[test]
fn all_errors_are_found_at_once() {
    let errors = text::parse(b"FORM x\nRUN a\nCOPYY a b\nENV a\n").unwrap_err();
    let lines: Vec<u32> = errors.iter().map(|error| error.span.as_ref().unwrap().lines.0).collect();
    assert_eq!(lines, [1, 3, 4]);
    assert_eq!(errors[0].label.as_deref(), Some("did you mean FROM?"));
}

#[test]
fn no_bytes_make_it_panic() {
    let pieces: [&[u8]; 16] = [
        b"FROM ",
        b"RUN ",
        b"<<E",
        b"\n",
        b"\\\n",
        b"\"",
        b"'",
        b"${a",
        b":-",
        b"}",
        b"\xff",
        b"# escape=`\n",
        b"[\"",
        b"ENV a=",
        b"ONBUILD ",
        b"E\n",
    ];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut source = Vec::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            source.extend_from_slice(pieces[(state >> 60) as usize]);
        }
        if let Err(errors) = text::parse(&source) {
            errors.iter().for_each(|error| drop(error.render("Dockerfile", &source, false)));
        }
    }
}
