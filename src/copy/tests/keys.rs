//! Changes that the digests of a selection and of the facts depend on, and those that they must not
//! depend on.

use super::memory::{MemoryFiles, make};
use super::op;

const SOURCE: [&str; 5] = ["d/", "d/f=f #1", "d/g=f #1", "d/l->x", "d/s/"];

fn sources(line: &str, files: &[&str]) -> base::digest::Digest {
    make(&op(line), &MemoryFiles::of(files), None).unwrap().sources
}

#[test]
fn a_selection_is_what_its_files_are() {
    let was = sources("d /x", &SOURCE);
    for (at, change) in [
        (1, "d/f=F #1"),
        (1, "d/f=f"),
        (1, "d/f=f 0600 #1"),
        (1, "d/f=f 1:0 #1"),
        (1, "d/f=f 0:1 #1"),
        (1, "d/f=f #1 user.x~y"),
        (1, "d/e=f #1"),
        (3, "d/l->y"),
        (3, "d/l=x"),
        (3, "d/l|"),
        (4, "d/s/ 0700"),
    ] {
        let mut files = SOURCE;
        files[at] = change;
        assert_ne!(sources("d /x", &files), was, "{change}");
    }
    for (at, change) in [(0, "d/ 0700 3:3 @9"), (1, "d/f=f #1 @9"), (4, "d/s/ @9")] {
        let mut files = SOURCE;
        files[at] = change;
        assert_eq!(sources("d /x", &files), was, "{change}");
    }
}

#[test]
fn a_selection_knows_only_what_is_copied() {
    let with = |line: &str, extra: &str| sources(line, &[&SOURCE[..], &[extra]].concat());
    assert_eq!(with("d /x", "other=1"), sources("d /x", &SOURCE));
    assert_eq!(with("--exclude=n d /x", "d/n=1"), sources("--exclude=n d /x", &SOURCE));
    assert_ne!(with("d /x", "d/n=1"), sources("d /x", &SOURCE));
    // Owners that `--chown` replaces do not matter.
    let mut files = SOURCE;
    files[2] = "d/g=f 8:9 #1";
    files[1] = "d/f=f 8:9 #1";
    assert_eq!(sources("--chown=1:1 d /x", &files), sources("--chown=1:1 d /x", &SOURCE));
}

#[test]
fn the_name_of_a_source_matters_where_it_is_used() {
    assert_ne!(sources("a* /x/", &["a1=t"]), sources("a* /x/", &["a2=t"]));
}

const BASE: [&str; 6] = ["etc/", "etc/passwd=app:x:1:1:::", "l->real", "other/", "real/", "real/f=old"];

fn facts(line: &str, base: &[&str]) -> base::digest::Digest {
    let context = MemoryFiles::of(&["d/", "d/f=f", "f=f"]);
    make(&op(line), &context, Some(&MemoryFiles::of(base))).unwrap().facts
}

#[test]
fn facts_are_what_the_layer_repeats_or_leads_through() {
    let line = "--chown=app d /l";
    let was = facts(line, &BASE);
    for (at, change) in [
        (2, "l->other"),
        (2, "l/"),
        (4, "real/ 0700"),
        (4, "real/ 1:0"),
        (4, "real/ 0:1"),
        (4, "real/ user.x~y"),
        (1, "etc/passwd=app:x:2:1:::"),
    ] {
        let mut base = BASE;
        base[at] = change;
        assert_ne!(facts(line, &base), was, "{change}");
    }
    for (at, change) in [
        (1, "etc/passwd=x:x:7:7:::\napp:x:1:1:::"),
        (3, "other/ 0700"),
        (4, "real/ @8"),
        (5, "real/f=new 0600"),
        (5, "real/g=g"),
    ] {
        let mut base = BASE;
        base[at] = change;
        assert_eq!(facts(line, &base), was, "{change}");
    }
}

#[test]
fn with_link_nothing_of_the_base_matters() {
    assert_eq!(facts("--link f /l/", &BASE), facts("--link f /l/", &["l/ 0700"]));
    assert_ne!(facts("f /l/", &BASE), facts("f /l/", &["l/ 0700"]));
}

#[test]
fn whether_a_file_is_copied_into_or_over_the_destination_matters() {
    assert_ne!(facts("f /n", &["n/"]), facts("f /n", &["n=f"]));
    assert_ne!(facts("f /n", &["x/"]), facts("f /n", &["n/"]));
}
