//! Turns the events of the parser into a raw tree, in which aliases are references to the nodes
//! they name.

use super::DEEPEST;
use crate::place::{FileId, Place};
use crate::problem::{Code, Error, Problem, Result};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

/// A node before aliases and merge keys are resolved.
#[derive(Debug)]
pub(super) struct Raw {
    pub kind: RawKind,
    pub tag: Option<String>,
    pub place: Place,
}

/// A raw value.
#[derive(Debug)]
pub(super) enum RawKind {
    /// A text. The flag is true if it has no quotes.
    Scalar(String, bool),
    List(Vec<Item>),
    Map(Vec<(Item, Item)>),
}

/// A raw node where it is used.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub node: Rc<Raw>,
    /// The place of the alias, if it is used through one.
    pub alias: Option<Place>,
}

impl Item {
    /// The place where the node is used.
    pub fn place(&self) -> Place {
        self.alias.unwrap_or(self.node.place)
    }
}

/// A collection whose end has not been read yet.
struct Open {
    kind: OpenKind,
    tag: Option<String>,
    anchor: usize,
    place: Place,
}

enum OpenKind {
    List(Vec<Item>),
    Map(Vec<(Item, Item)>, Option<Item>),
}

/// The parser's message for a tab between a key and its value. YAML allows the tab, but the parser
/// does not.
const TAB: &str = "':' must be followed by a valid YAML whitespace";

/// The most bytes, in total, that are parsed again because of tabs.
const READ_AGAIN: usize = 64 << 20;

/// The roots of all documents.
pub(super) fn documents(text: &str, file: FileId) -> Result<Vec<Item>> {
    let mut text = Cow::Borrowed(text);
    let mut left = READ_AGAIN;
    loop {
        let tab = match build(&text, file) {
            Ok(roots) => return Ok(roots),
            Err(Stop { tab: Some(at), .. }) if left >= text.len() => at,
            Err(stop) => return Err(stop.error),
        };
        // A blank is as long as a tab, so all places stay the same.
        left -= text.len();
        text.to_mut().replace_range(tab..tab + 1, " ");
    }
}

/// The error that ended parsing, and the tab that caused it, if one did.
struct Stop {
    error: Error,
    tab: Option<usize>,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop { error, tab: None }
    }
}

fn build(text: &str, file: FileId) -> Result<Vec<Item>, Stop> {
    let mut builder = Builder {
        bytes: Bytes::new(text),
        file,
        open: Vec::new(),
        anchors: HashMap::new(),
        begun: Vec::new(),
        roots: Vec::new(),
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| builder.scan_error(text, &error))?;
        builder.event(event, span)?;
    }
    Ok(builder.roots)
}

struct Builder {
    bytes: Bytes,
    file: FileId,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Raw>>,
    /// The anchors of collections that are open.
    begun: Vec<usize>,
    roots: Vec<Item>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let place = Place::new(self.file, self.bytes.of(span.start.index()), self.bytes.of(span.end.index()));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = RawKind::Scalar(text.into_owned(), style == ScalarStyle::Plain);
                self.finished(Raw { kind, tag: name_of(tag), place }, anchor)
            }
            Event::SequenceStart(anchor, tag) => self.begin(OpenKind::List(Vec::new()), tag, anchor, place),
            Event::MappingStart(anchor, tag) => self.begin(OpenKind::Map(Vec::new(), None), tag, anchor, place),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                if open.anchor > 0 {
                    self.begun.pop();
                }
                let kind = match open.kind {
                    OpenKind::List(list) => RawKind::List(list),
                    OpenKind::Map(map, _) => RawKind::Map(map),
                };
                self.finished(Raw { kind, tag: open.tag, place: open.place }, open.anchor)
            }
            Event::Alias(anchor) => {
                if self.begun.contains(&anchor) {
                    let message = "cycle detected: the alias stands inside of the value that it names";
                    return Err(Problem::at(place, Code::Cycle, message).into());
                }
                match self.anchors.get(&anchor).cloned() {
                    Some(node) => self.put(Item { node, alias: Some(place) }),
                    None => Err(Problem::at(place, Code::Syntax, "the alias names an unknown anchor").into()),
                }
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => Ok(()),
        }
    }

    fn begin(&mut self, kind: OpenKind, tag: Option<Cow<'_, Tag>>, anchor: usize, place: Place) -> Result<()> {
        if self.open.len() >= DEEPEST {
            let message = format!("the file is nested too deeply: more than {DEEPEST} levels");
            return Err(Problem::at(place, Code::Limit, message).into());
        }
        if anchor > 0 {
            self.begun.push(anchor);
        }
        self.open.push(Open { kind, tag: name_of(tag), anchor, place });
        Ok(())
    }

    fn finished(&mut self, raw: Raw, anchor: usize) -> Result<()> {
        let node = Rc::new(raw);
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.put(Item { node, alias: None })
    }

    fn put(&mut self, item: Item) -> Result<()> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.roots.push(item),
            Some(OpenKind::List(list)) => list.push(item),
            Some(OpenKind::Map(map, key)) => match key.take() {
                None => *key = Some(item),
                Some(key) => map.push((key, item)),
            },
        }
        Ok(())
    }

    fn scan_error(&self, text: &str, error: &ScanError) -> Stop {
        let at = self.bytes.of(error.marker().index()).min(text.len());
        let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let place = Place::new(self.file, at, end);
        let problem = Problem::at(place, Code::Syntax, format!("the YAML can't be read: {}", error.info()));
        let tab = text[..end].rfind('\t').filter(|tab| error.info() == TAB && text[*tab..at].trim().is_empty());
        Stop { error: problem.into(), tab }
    }
}

fn name_of(tag: Option<Cow<'_, Tag>>) -> Option<String> {
    let tag = tag?;
    if tag.is_yaml_core_schema() {
        return Some(format!("!!{}", tag.suffix));
    }
    Some(format!("{}{}", tag.handle, tag.suffix))
}

/// Turns the parser's counts of characters into counts of bytes.
struct Bytes {
    /// The byte offset of every 64th character. Empty if the text is ASCII.
    marks: Vec<u32>,
    text: Option<String>,
    len: usize,
}

impl Bytes {
    const STEP: usize = 64;

    fn new(text: &str) -> Bytes {
        if text.is_ascii() {
            return Bytes { marks: Vec::new(), text: None, len: text.len() };
        }
        let marks = text.char_indices().step_by(Self::STEP).map(|(at, _)| at as u32).collect();
        Bytes { marks, text: Some(text.to_owned()), len: text.len() }
    }

    fn of(&self, character: usize) -> usize {
        let Some(text) = &self.text else { return character.min(self.len) };
        let Some(&mark) = self.marks.get(character / Self::STEP) else { return self.len };
        let rest = &text[mark as usize..];
        rest.char_indices().nth(character % Self::STEP).map_or(self.len, |(at, _)| mark as usize + at)
    }
}
