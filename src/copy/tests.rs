//! The results of COPY. Expected values come from `testdata`'s conformance cases and from
//! BuildKit's source.
#![allow(clippy::unwrap_used)]

mod archives;
mod changes;
mod keys;
mod memory;

use super::*;
use frontend::op::Unpack;
use memory::{MemoryFiles, layer};

/// Parses `COPY flags source... dest`, with sources in input 0; `<<NAME=text` is a here-document.
pub(super) fn op(line: &str) -> op::Copy {
    let mut copy = op::Copy { base: Some(1), ..op::Copy::default() };
    let mut words = Vec::new();
    for word in line.split(' ') {
        match word.split_once('=').unwrap_or((word, "")) {
            ("--link", _) => copy.link = true,
            ("--parents", _) => copy.parents = true,
            ("--chown", owner) => copy.owner = Some(owner.into()),
            ("--chmod", mode) => copy.mode = Some(mode.into()),
            ("--exclude", pattern) => copy.exclude.push(pattern.into()),
            ("ADD", _) => copy.unpack = Unpack::Archives,
            _ => words.push(word),
        }
    }
    copy.dest = words.pop().unwrap().into();
    copy.sources = words
        .into_iter()
        .map(|word| match word.strip_prefix("<<").and_then(|word| word.split_once('=')) {
            Some((name, data)) => CopySource::Inline { name: name.into(), data: data.into() },
            None => CopySource::Path { input: 0, path: word.into() },
        })
        .collect();
    copy
}

fn context() -> MemoryFiles {
    MemoryFiles::of(&["a.txt=a", "b.txt=b", "dir/ @5", "dir/sub/ @6", "dir/sub/y.txt=y", "dir/x.txt=x"])
}

#[track_caller]
fn on(context: &MemoryFiles, base: Option<&MemoryFiles>, line: &str, expected: &[&str]) {
    assert_eq!(layer(&op(line), context, base).unwrap(), expected, "{line}");
}

#[track_caller]
fn check(line: &str, expected: &[&str]) {
    on(&context(), None, line, expected);
}

#[track_caller]
fn fails(context: &MemoryFiles, base: Option<&MemoryFiles>, line: &str, part: &str) {
    let error = layer(&op(line), context, base).unwrap_err();
    let text = format!("{error} {:?}", error.hints());
    assert!(text.contains(part), "{line}: {text}");
}

#[test]
fn a_file_goes_to_a_name_or_into_a_directory() {
    check("a.txt /one", &["one=a"]);
    check("a.txt /deep/er/two", &["deep/ @99", "deep/er/ @99", "deep/er/two=a"]);
    check("a.txt /d/", &["d/ @99", "d/a.txt=a"]);
    check("a.txt /d/.", &["d/ @99", "d/a.txt=a"]);
    check("a.txt b.txt /e/f/", &["e/ @99", "e/f/ @99", "e/f/a.txt=a", "e/f/b.txt=b"]);
    check("a.txt b.txt a.txt /d/", &["d/ @99", "d/a.txt=a", "d/b.txt=b"]);
    check("a.txt /", &["a.txt=a"]);
    let base = MemoryFiles::of(&["w/ 0711 3:4 @7", "w/a.txt=old"]);
    on(&context(), Some(&base), "a.txt /w", &["w/ 0711 3:4 @7", "w/a.txt=a"]);
}

#[test]
fn a_directory_gives_its_contents_and_its_time() {
    let expected =
        |d: &str| [format!("{d}/ @5"), format!("{d}/sub/ @6"), format!("{d}/sub/y.txt=y"), format!("{d}/x.txt=x")];
    for line in ["dir /d", "dir/ /d/", "./dir/. /d", "dir /d/."] {
        check(line, &expected("d").each_ref().map(|line| &**line));
    }
    check("dir /f/g", &["f/ @99", "f/g/ @5", "f/g/sub/ @6", "f/g/sub/y.txt=y", "f/g/x.txt=x"]);
    check("dir /", &["sub/ @6", "sub/y.txt=y", "x.txt=x"]);
    let all = [
        "all/",
        "all/a.txt=a",
        "all/b.txt=b",
        "all/dir/ @5",
        "all/dir/sub/ @6",
        "all/dir/sub/y.txt=y",
        "all/dir/x.txt=x",
    ];
    check(". /all", &all);
    check("/ /all/", &all);
}

#[test]
fn the_destination_keeps_its_mode_and_what_is_below_takes_the_sources() {
    let source = MemoryFiles::of(&["p/ 0700", "p/q/ 0750 7:7", "p/q/f=1 4751 8:8"]);
    on(&source, None, "p /d", &["d/", "d/q/ 0750 7:7", "d/q/f=1 4751 8:8"]);
    on(&source, None, "p/q /f/g/", &["f/ @99", "f/g/", "f/g/f=1 4751 8:8"]);
    let base = MemoryFiles::of(&["d/ 0711 1:1", "d/q/ 0777 2:2", "d/q/other=x"]);
    on(&source, Some(&base), "p /d", &["d/ 0711 1:1", "d/q/ 0750 7:7", "d/q/f=1 4751 8:8"]);
}

#[test]
fn links_of_the_target_are_followed_to_the_destination_but_not_below_it() {
    let base = MemoryFiles::of(&[
        "abs->/real/in",
        "broken->/made/later",
        "etc/",
        "file->/etc/f",
        "lnk->real",
        "real/",
        "real/in/",
        "real/x.txt->/etc/passwd",
        "up->../../../etc",
    ]);
    let check = |line: &str, expected: &[&str]| on(&context(), Some(&base), line, expected);
    check("a.txt /lnk/a", &["real/", "real/a=a"]);
    check("dir /lnk", &["real/ @5", "real/sub/ @6", "real/sub/y.txt=y", "real/x.txt=x"]);
    check("b.txt /abs/", &["real/", "real/in/", "real/in/b.txt=b"]);
    check("a.txt /up/a", &["etc/", "etc/a=a"]);
    check("a.txt /broken", &["made/ @99", "made/later=a"]);
    check("a.txt /file", &["etc/", "etc/f=a"]);
    check("dir/x.txt /lnk/", &["real/", "real/x.txt=x"]);
    // With --link there is no target to read.
    check("--link a.txt /lnk/a", &["lnk/ @99", "lnk/a=a"]);
}

#[test]
fn what_does_not_fit_together_is_an_error() {
    let one = MemoryFiles::of(&["one/", "one/f/", "one/f/g=g", "two/", "two/f=f"]);
    let base = MemoryFiles::of(&["d/", "d/f=f", "e/", "e/f/", "l->/d/f", "m/", "m/f->/e"]);
    fails(&one, Some(&base), "one /d", "`/d/f` of the target is not a directory");
    fails(&one, Some(&base), "two /e", "cannot replace the directory `/e/f`");
    fails(&one, Some(&base), "one /m", "`/m/f` of the target is not a directory");
    fails(&one, Some(&base), "two/f /d/f/", "`/d/f` of the target is not a directory");
    fails(&one, Some(&base), "two/f /l/x", "`/d/f` of the target is not a directory");
    fails(&one, Some(&base), "one /l", "`/d/f` of the target is not a directory");
    fails(&one, None, "one two /d", "cannot replace the directory `/d/f`");
    fails(&MemoryFiles::of(&[".wh.x=1"]), None, ".wh.x /d/", "`d/.wh.x` cannot stand in a layer");
}

#[test]
fn sources_are_cleaned_and_never_leave_their_root() {
    for source in ["./a.txt", "/a.txt", "dir/../a.txt", "../a.txt", "../../dir//..//a.txt/"] {
        check(&format!("{source} /x"), &["x=a"]);
    }
    check("dir//sub/./y.txt /4", &["4=y"]);
}

#[test]
fn a_missing_source_is_an_error_with_a_hint() {
    fails(&context(), None, "no/such/file /d/", "`no/such/file` was not found []");
    fails(&context(), None, "a.txt b.tx /d/", "did you mean `b.txt`?");
    fails(&context(), None, "DIR/sub/z.txt /d/", "did you mean `dir/sub/z.txt`?");
    fails(&context(), None, "dir/sub/z.txt /d/", "did you mean `dir/sub/y.txt`?");
    fails(&context(), None, "nope/*.txt /d/", "`nope` was not found");
    fails(&context(), None, "--parents no/where.txt /d/", "`no/where.txt` was not found");
    fails(&context(), None, "--parents dir/./where.txt /d/", "`dir/where.txt` was not found");
    fails(&MemoryFiles::of(&["l->gone"]), None, "l /d/", "`l` was not found");
}

#[test]
fn wildcards_match_level_by_level() {
    check("*.txt /star/", &["star/ @99", "star/a.txt=a", "star/b.txt=b"]);
    check("?.txt /q/", &["q/ @99", "q/a.txt=a", "q/b.txt=b"]);
    check("dir/*/y.* /z/", &["z/ @99", "z/y.txt=y"]);
    check("d* /d/", &["d/ @5", "d/sub/ @6", "d/sub/y.txt=y", "d/x.txt=x"]);
    check("**/*.txt /flat/", &["flat/ @99", "flat/x.txt=x"]);
    check("a.tx* nope*.zip /d/", &["d/ @99", "d/a.txt=a"]);
    check("a.txt missing[.]txt /d/", &["d/ @99", "d/a.txt=a"]);
    check("nope* /d/", &[]);
    check("*.txt /last", &["last=b"]);
    let odd = MemoryFiles::of(&["arr[0].txt=0", ".hid=h", "l/", "l/f=f", "m->l"]);
    on(&odd, None, "arr[[]0].txt /one", &["one=0"]);
    on(&odd, None, "arr[0].txt /two", &[]);
    on(&odd, None, ".* /d/", &["d/ @99", "d/.hid=h"]);
    on(&odd, None, "?/f /x", &["x=f"]);
    on(&odd, None, "m* /x", &["x/", "x/f=f"]);
}

#[test]
fn links_named_as_sources_are_followed_and_others_are_kept() {
    let source = MemoryFiles::of(&[
        "d/",
        "d/f=f",
        "in->/d/f",
        "ld->d",
        "s/",
        "s/abs->/abs",
        "s/dirlink->../d",
        "up->../../../d/f",
    ]);
    on(&source, None, "ld /d", &["d/", "d/f=f"]);
    on(&source, None, "ld/ /e/", &["e/", "e/f=f"]);
    on(&source, None, "ld/f /g", &["g=f"]);
    on(&source, None, "in /a", &["a=f"]);
    on(&source, None, "in /d/", &["d/ @99", "d/in=f"]);
    on(&source, None, "up /a", &["a=f"]);
    on(&source, None, "s /s", &["s/", "s/abs->/abs", "s/dirlink->../d"]);
}

#[test]
fn excludes_are_matched_below_each_source() {
    check("--exclude=**/*.txt . /a/", &["a/", "a/dir/ @5", "a/dir/sub/ @6"]);
    check("--exclude=** --exclude=!dir/x.txt . /b/", &["b/", "b/dir/ @5", "b/dir/x.txt=x"]);
    check("--exclude=sub dir /d", &["d/ @5", "d/x.txt=x"]);
    // BuildKit does not match a source itself.
    check("--exclude=a.txt *.txt /d/", &["d/ @99", "d/a.txt=a", "d/b.txt=b"]);
    check("--parents --exclude=**/y.txt dir /a/", &["a/", "a/dir/ @5", "a/dir/sub/ @6", "a/dir/x.txt=x"]);
}

#[test]
fn parents_keep_the_directories_of_their_sources() {
    let both = ["p/", "p/a.txt=a", "p/dir/ @5", "p/dir/sub/ @6", "p/dir/sub/y.txt=y"];
    check("--parents dir/sub/y.txt a.txt /p/", &both);
    check("--parents dir /q/", &["q/", "q/dir/ @5", "q/dir/sub/ @6", "q/dir/sub/y.txt=y", "q/dir/x.txt=x"]);
    check("--parents dir/./sub/y.txt /p/", &["p/ @5", "p/sub/ @6", "p/sub/y.txt=y"]);
    check("--parents ./dir/./sub /q/", &["q/ @5", "q/sub/ @6", "q/sub/y.txt=y"]);
    check("--parents **/y.txt /q/", &["q/", "q/dir/ @5", "q/dir/sub/ @6", "q/dir/sub/y.txt=y"]);
    check("--parents d*/./**/y.txt /q/", &["q/ @5", "q/sub/ @6", "q/sub/y.txt=y"]);
    check("--parents nope* /q/", &["q/"]);
    let base = MemoryFiles::of(&["q/", "q/dir/ 0700 4:5", "q/dir/old=o"]);
    let source = MemoryFiles::of(&["dir/ 0711 6:7", "dir/f=f 6:7"]);
    on(&source, Some(&base), "--parents dir/f /q/", &["q/", "q/dir/ 0711 4:5", "q/dir/f=f 6:7"]);
}

#[test]
fn chmod_holds_for_files_and_directories_and_for_those_made_on_the_way() {
    check("--chmod=600 a.txt /a", &["a=a 0600"]);
    check("--chmod=4755 a.txt /s", &["s=a 4755"]);
    let all = ["t/ 0711 @99", "t/u/ 0711 @5", "t/u/sub/ 0711 @6", "t/u/sub/y.txt=y 0711", "t/u/x.txt=x 0711"];
    check("--chmod=0711 dir /t/u/", &all);
    check("--chmod=go-r,a+X dir /t/", &["t/ @5", "t/sub/ 0711 @6", "t/sub/y.txt=y 0600", "t/x.txt=x 0600"]);
    let links = MemoryFiles::of(&["d/", "d/l->x"]);
    on(&links, None, "--chmod=600 --chown=1:2 d /d", &["d/ 0600 1:2", "d/l->x 1:2"]);
}

#[test]
fn chown_takes_ids_or_names_of_the_target() {
    let base = MemoryFiles::of(&[
        "etc/",
        "etc/passwd=root:x:0:0::/:\napp:x:1000:1001::/:\ndaemon:x:1:1::/:\nodd:x:many:-3::",
        "etc/group->/real",
        "real=root:x:0:\nstaff:x:50:\n",
    ]);
    let check = |flag: &str, owner: &str| {
        let expected = format!("a=a{owner}");
        on(&context(), Some(&base), &format!("--chown={flag} a.txt /a"), &[&expected]);
    };
    check("app:staff", " 1000:50");
    check("app", " 1000:1001");
    check("1:staff", " 1:50");
    check("daemon:7", " 1:7");
    check("11", " 11:11");
    check("root:5", " 0:5");
    // As in BuildKit, a name without a row is root.
    check("nobody", "");
    check("odd", "");
    check(":staff", " 0:50");
    for bad in ["2147483648", "4294967296", "-1", "1:99999999999"] {
        fails(&context(), Some(&base), &format!("--chown={bad} a.txt /a"), "is not a user or group id");
    }
    fails(&context(), None, "--chown=app a.txt /a", "`app` cannot be looked up");
    fails(&context(), Some(&base), "--link --chown=app a.txt /a", "`app` cannot be looked up");
    on(&context(), None, "--link --chown=4:5 b.txt /x/y/", &["x/ 4:5 @99", "x/y/ 4:5 @99", "x/y/b.txt=b 4:5"]);
}

#[test]
fn hard_links_are_kept_within_one_source() {
    let stage = MemoryFiles::of(&["d/", "d/a=f #7", "d/b=f #7", "d/c=f #8"]);
    on(&stage, None, "d /d", &["d/", "d/a=f #1", "d/b=f #1", "d/c=f #2"]);
    on(&stage, None, "d/a d/b /d/", &["d/ @99", "d/a=f #1", "d/b=f #2"]);
}

#[test]
fn attributes_and_special_files_of_a_stage_are_kept() {
    let stage = MemoryFiles::of(&["d/ user.d~1", "d/f=f 5:6 security.capability~x", "d/p| 0600"]);
    on(&stage, None, "d /e", &["e/", "e/f=f 5:6 security.capability~x", "e/p| 0600"]);
    on(&stage, None, "--chown=1:2 d/f /f", &["f=f 1:2 security.capability~x"]);
}

#[test]
fn a_here_document_is_a_file_of_now() {
    check("<<EOF=text /a", &["a=text @99"]);
    check("a.txt <<x/EOF=text /d/", &["d/ @99", "d/EOF=text @99", "d/a.txt=a"]);
    check("--chmod=755 --chown=3:4 <<run=x /bin/", &["bin/ 3:4 @99", "bin/run=x 0755 3:4 @99"]);
}

#[test]
fn a_workdir_makes_only_what_is_missing() {
    let base = MemoryFiles::of(&["etc/", "etc/passwd=app:x:1000:1000::/:", "f=f", "l->real", "real/ 0700"]);
    let check = |path: &str, user: &str, expected: &[&str]| {
        let action = FileAction::Mkdir { path: path.into(), user: user.into() };
        let made = MemoryFiles::default().with(mkdir(&action, Some(&base), memory::NOW).unwrap());
        assert_eq!(made.lines(), expected, "{path}");
    };
    check("/made/by", "app", &["made/ 1000:1000 @99", "made/by/ 1000:1000 @99"]);
    check("/real", "", &[]);
    check("/l", "app", &[]);
    check("/l/sub", "", &["real/ 0700", "real/sub/ @99"]);
    check("/", "app", &[]);
    let action = FileAction::Mkdir { path: "/f/x".into(), user: String::new() };
    let error = mkdir(&action, Some(&base), memory::NOW).err().unwrap().to_string();
    assert!(error.contains("`/f` of the target is not a directory"), "{error}");
}
