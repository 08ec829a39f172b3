//! A printed document parses to the same document.
#![allow(clippy::unwrap_used, missing_docs)]

use frontend::line::{Document, Line, Span};
use frontend::text;
use serde_json::Value;

/// Lines without their places, and without what only says how they were written.
fn bare(line: &Line) -> Line {
    let mut line = line.clone();
    (line.span, line.name_span, line.rest) = (Span::default(), Span::default(), String::new());
    line.comments.clear();
    line.args.iter_mut().for_each(|word| word.span = Span::default());
    line.flags.iter_mut().for_each(|flag| flag.span = Span::default());
    line.trigger = line.trigger.as_deref().map(|trigger| Box::new(bare(trigger)));
    line
}

fn check(source: &[u8]) {
    let Ok(document) = text::parse(source) else { return };
    let printed = document.to_string();
    let again = text::parse(printed.as_bytes())
        .unwrap_or_else(|errors| panic!("{:?}\nprinted as\n{printed}\n{errors:?}", String::from_utf8_lossy(source)));
    let lines = |document: &Document| document.lines.iter().map(bare).collect::<Vec<_>>();
    assert_eq!(lines(&document), lines(&again), "{:?}\nprinted as\n{printed}", String::from_utf8_lossy(source));
    assert_eq!(printed, again.to_string());
}

#[test]
fn recorded_dockerfiles_print_to_themselves() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/vectors/ast.json");
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(rows.len() > 50);
    rows.iter().for_each(|row| check(row["dockerfile"].as_str().unwrap().as_bytes()));
}

#[test]
fn flags_keep_their_blanks() {
    check(b"FROM x\nCOPY <<\x0cE /x\n");
    check(b"FROM x\nADD << 0<<FROM S\n");
    check(b"FROM x\nRUN --mount='a \"b ' '\"\nCOPY --from=a\\  b /c\n");
}

#[test]
fn random_dockerfiles_print_to_themselves() {
    const PIECES: &[&str] = &[
        "FROM x\n",
        "RUN ",
        "COPY ",
        "ENV ",
        "ARG ",
        "LABEL ",
        "CMD ",
        "HEALTHCHECK ",
        "ONBUILD ",
        "SHELL ",
        "# escape=`\n",
        "# syntax=a\n",
        "#",
        "--from=b ",
        "--a=\"b c\" ",
        "-- ",
        "--mount=type=x,target='/x y' ",
        "a",
        "/x",
        "=",
        "a=b",
        "a=\"b c\"",
        "'",
        "\"",
        "\\",
        "\\\n",
        "`",
        "`\n",
        "\n",
        "\n",
        "\n",
        " ",
        "\t",
        "\r\n",
        "<<E",
        "<<-E",
        "<<'E'",
        "E\n",
        "\tE\n",
        "3<<E",
        "[\"a\",\"b\"]",
        "[",
        "$a",
        "${a:-x}",
        "NONE",
        "CMD ",
        "ä",
        "\u{feff}",
        "\u{a0}",
        "as c\n",
    ];
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..100_000 {
        let source: String = (0..1 + next(12)).map(|_| PIECES[next(PIECES.len())]).collect();
        check(source.as_bytes());
    }
}
