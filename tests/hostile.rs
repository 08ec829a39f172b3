//! Hostile archives, as layers of a base image and in ADD: each becomes a correct image or a clear error, whatever it
//! tries leaves the host as it was, and the store is whole afterwards. As root, and as a user with a range of ids.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "common/archives.rs"]
mod archives;
mod common;

use archives::{Tar, layout};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The outcome that an archive must have.
#[derive(Clone, Debug)]
enum Outcome {
    /// An image in which this script of busybox's shell succeeds. `$R` is where the archive was unpacked.
    Image(String),
    /// An error whose text has this in it.
    Error(&'static str),
    /// An image or an error.
    Any,
}

use Outcome::{Any, Error};

fn image(script: impl Into<String>) -> Outcome {
    Outcome::Image(script.into())
}

/// A name, an archive, and what becomes of it as a layer and in ADD.
struct Case(&'static str, Vec<u8>, Outcome, Outcome);

/// An identity with a store, a place to work in, and a tree beside them that nobody may touch.
struct Attack {
    temp: tempfile::TempDir,
    user: Option<&'static str>,
    before: BTreeMap<PathBuf, String>,
}

/// The users who run kiln: whoever runs the tests, and for root also a user with a range.
fn identities() -> Vec<Option<&'static str>> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = passwd.lines().any(|line| line.starts_with("kilntest:"));
    if common::is_root() && user && common::have("setpriv") {
        return vec![None, Some("kilntest")];
    }
    common::skipped("root and the user kilntest, for the other identity");
    vec![None]
}

impl Attack {
    fn new(user: Option<&'static str>) -> Attack {
        let temp = tempfile::tempdir().unwrap();
        let sentinel = temp.path().join("sentinel");
        fs::create_dir_all(sentinel.join("dir")).unwrap();
        fs::write(sentinel.join("file"), "untouched").unwrap();
        fs::write(sentinel.join("dir/file"), "untouched too").unwrap();
        std::os::unix::fs::symlink("file", sentinel.join("link")).unwrap();
        if let Some(user) = user {
            common::run("chown", &["-hR", user, temp.path().to_str().unwrap()]);
        }
        let before = snapshot(&sentinel);
        Attack { temp, user, before }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The tree that an attacker would like to reach, as he writes it.
    fn out(&self) -> String {
        self.path("sentinel").to_str().unwrap().to_owned()
    }

    fn kiln(&self, args: &[&str]) -> Output {
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", user, "--regid", user, "--init-groups", common::KILN])
                    .env("HOME", self.path(""));
                command
            }
            None => Command::new(common::KILN),
        };
        command.args(args).env("KILN_ROOT", self.path("store")).current_dir(self.temp.path());
        command.env_remove("SOURCE_DATE_EPOCH").output().unwrap()
    }

    fn build(&self, dockerfile: &str, context: &Path, image: &Path) -> Output {
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let base = format!("base=oci-layout://{}:latest", image.display());
        self.kiln(&["build", "--progress=plain", "--build-context", &base, context.to_str().unwrap()])
    }

    /// This holds whatever an archive tried.
    fn check(&self, name: &str, output: &Output, expected: &Outcome) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let who = self.user.unwrap_or("whoever runs this");
        let say = || format!("{name} as {who}: {:?}\n{stderr}", output.status.code());
        assert!(matches!(output.status.code(), Some(0..=4)), "{}", say());
        assert!(!stderr.contains("panicked") && !stderr.contains("BUG"), "{}", say());
        assert!(!stderr.chars().any(|c| c.is_control() && c != '\n'), "control characters: {}", say());
        match expected {
            Outcome::Image(_) => assert!(output.status.success(), "{}", say()),
            Error(part) => assert!(!output.status.success() && stderr.contains(part), "wants `{part}`: {}", say()),
            Any => {}
        }
        assert_eq!(snapshot(&self.path("sentinel")), self.before, "{name} as {who} reached the outside");
        let fsck = self.kiln(&["fsck"]);
        assert!(fsck.status.success(), "{name} as {who}: {}", String::from_utf8_lossy(&fsck.stdout));
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        // Files of a rootless build belong to ids that only kiln can remove.
        let _ = self.kiln(&["prune", "--all"]);
    }
}

/// Everything that stat(2) says of each file, and its bytes.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let bytes = match (stat.is_dir(), stat.is_symlink()) {
            (true, _) => Vec::new(),
            (_, true) => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            _ => fs::read(&path).unwrap(),
        };
        if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
        }
        let times = (stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec());
        let text = format!(
            "{:o} {}:{} {} {} {times:?} {bytes:?}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.nlink(),
            stat.ino()
        );
        all.insert(path, text);
    }
    all
}

/// A layer that a step can run in: busybox, a passwd, a /tmp.
fn lowest() -> Option<Vec<u8>> {
    if !common::have("busybox") {
        return None;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| fs::read(path).ok()).unwrap();
    let tar = Tar::default().dir("tmp").with(100, b"0001777").dir("bin").dir("etc");
    let at = tar.clone().open().len();
    let tar = tar.file("bin/busybox", &busybox).patch(at, 100, b"0000755");
    Some(tar.symlink("bin/sh", "busybox").file("etc/passwd", b"root:x:0:0::/:/bin/sh\n").end())
}

fn run(script: &str, root: &str) -> String {
    format!("RUN [\"/bin/busybox\", \"sh\", \"-ec\", {:?}]\n", format!("R={root}; {script}"))
}

/// Each archive as the upper layer of a base, then in ADD.
fn attack(attack: &Attack, lowest: &[u8], cases: &[Case]) {
    let own = |path: &Path| {
        if let Some(user) = attack.user {
            common::run("chown", &["-R", user, path.to_str().unwrap()]);
        }
    };
    let plain = attack.path("plain");
    layout(&plain, &[(lowest, lowest)]);
    own(&plain);
    for (at, Case(name, archive, as_layer, in_add)) in cases.iter().enumerate() {
        let (context, evil) = (attack.path(&format!("context{at}")), attack.path(&format!("evil{at}")));
        fs::create_dir(&context).unwrap();
        fs::write(context.join("evil.tar"), archive).unwrap();
        layout(&evil, &[(lowest, lowest), (archive, archive)]);
        own(&context);
        own(&evil);
        let script = |outcome: &Outcome, root| match outcome {
            Outcome::Image(script) => run(script, root),
            _ => run("true", root),
        };
        let output = attack.build(&format!("FROM base\n{}", script(as_layer, "")), &context, &evil);
        attack.check(&format!("{name}, a layer"), &output, as_layer);
        let text = format!("FROM base\nADD evil.tar /dest/\n{}", script(in_add, "/dest"));
        let output = attack.build(&text, &context, &plain);
        attack.check(&format!("{name}, in ADD"), &output, in_add);
    }
}

fn each(cases: impl Fn(&Attack) -> Vec<Case>) {
    let Some(lowest) = lowest() else { return };
    for user in identities() {
        let place = Attack::new(user);
        attack(&place, &lowest, &cases(&place));
    }
}

fn tar() -> Tar {
    Tar::default()
}

#[test]
fn names_and_links_stay_in_the_image() {
    each(|place| {
        let out = place.out();
        let up = format!("{}{out}", "../".repeat(20));
        let (file, new) = (format!("{out}/file"), format!("{out}/new"));
        let inside = |path: &str| image(format!("test \"$(cat $R{path})\" = evil"));
        let both = |name, tar: Tar, outcome: Outcome| Case(name, tar.end(), outcome.clone(), outcome);
        vec![
            both("a name that leads up", tar().file(&up, b"evil"), Error("leads out")),
            both("a name that leads up late", tar().file(format!("a/../../{up}"), b"evil"), Error("leads out")),
            both("an absolute name", tar().file(&file, b"evil"), inside(&file)),
            both("a file through a link", tar().symlink("l", &out).file("l/new", b"evil"), inside(&new)),
            both("a file through a link up", tar().symlink("l", &up).file("l/new", b"evil"), inside(&new)),
            both("a file over a link", tar().symlink("l", &file).file("l", b"evil"), inside("/l")),
            both("links on links", tar().symlink("a", &out).symlink("b", "a").file("b/file", b"evil"), inside(&file)),
            both(
                "a link over a directory",
                tar().dir("d").file("d/f", b"x").symlink("d", &out).file("d/new", b"evil"),
                inside(&new),
            ),
            both(
                "a directory over a link",
                tar().symlink("l", &out).dir("l").file("l/file", b"evil"),
                inside("/l/file"),
            ),
            both("links in a ring", tar().symlink("a", "b").symlink("b", "a").file("a/x", b""), Error("links")),
            Case(
                "a hard link to the outside",
                tar().hard_link("h", &file).file("h", b"evil").end(),
                Error("does not exist"),
                Error("not a file there"),
            ),
            Case(
                "a hard link through a link",
                tar().symlink("l", &out).hard_link("h", "l/file").end(),
                Error("does not exist"),
                Error("not a file there"),
            ),
            both(
                "a hard link to a link",
                tar().symlink("l", &file).hard_link("h", "l").file("h", b"evil"),
                inside("/h"),
            ),
            both("a link for /etc", tar().symlink("etc", &out), Any),
            both("a link for a mount point", tar().symlink("etc/resolv.conf", &file), Any),
            both("a link for /proc", tar().symlink("proc", &out), Any),
            both("links for /dev and /sys", tar().symlink("dev", &out).symlink("sys", &up), Any),
        ]
    });
}

#[test]
fn marks_and_devices_hide_nothing_outside() {
    each(|place| {
        let out = place.out();
        let mark = |name, tar: Tar, outcome| Case(name, tar.end(), outcome, Any);
        let attribute = |name: &'static str, value: &'static [u8]| tar().records(b'x', &[(name, value)]);
        vec![
            mark("a whiteout through a link", tar().symlink("l", &out).file("l/.wh.file", b""), image("true")),
            mark("an opaque mark through a link", tar().symlink("l", &out).file("l/.wh..wh..opq", b""), image("true")),
            mark("a whiteout that leads up", tar().file("../.wh.sentinel", b""), Error("leads out")),
            mark("a whiteout of the parent", tar().file(".wh...", b""), Error("hides no name")),
            mark("a whiteout of a file", tar().file("etc/.wh.passwd", b""), image("test ! -e /etc/passwd")),
            Case(
                "a whiteout as overlayfs writes it",
                tar().device("etc/passwd", b'3', 0, 0).end(),
                image("test ! -e /etc/passwd"),
                Error("overlayfs"),
            ),
            Case(
                "a redirect",
                attribute("SCHILY.xattr.trusted.overlay.redirect", b"/etc").dir("d").end(),
                image("test ! -e $R/d/passwd"),
                image("test ! -e $R/d/passwd"),
            ),
            Case(
                "an opaque attribute",
                attribute("SCHILY.xattr.user.overlay.opaque", b"y").dir("etc").end(),
                image("test -e /etc/passwd"),
                image("test -e /etc/passwd"),
            ),
            Case("devices", tar().device("n", b'3', 1, 3).device("d", b'4', 8, 0).end(), image("true"), image("true")),
        ]
    });
}

#[test]
fn what_an_archive_leaves_out_comes_from_below() {
    each(|_| {
        let linked = "test $R/h -ef /bin/busybox; test \"$(stat -c %a:%h /bin/busybox)\" = 755:2";
        let root = "test \"$(stat -c %u:%g /tmp)\" = 0:0; test \"$(stat -c %Y /tmp)\" = 7";
        vec![
            Case(
                "a hard link below",
                tar().hard_link("h", "bin/busybox").end(),
                image(linked),
                Error("not a file there"),
            ),
            Case(
                "an implied directory",
                tar().file("tmp/x", b"").end(),
                image(format!("test \"$(stat -c %a /tmp)\" = 1777; {root}")),
                image("test \"$(stat -c %a /dest/tmp)\" = 755"),
            ),
        ]
    });
}

#[test]
fn numbers_and_names_at_their_limits() {
    each(|_| {
        let both = |name, archive: Vec<u8>, outcome: Outcome| Case(name, archive, outcome.clone(), outcome);
        // ADD takes what does not begin as an archive for a plain file.
        let first = || tar().dir("first");
        let one = || first().file("f", b"");
        let record = |key, value: &[u8]| first().records(b'x', &[(key, value)]).file("f", b"").end();
        let there = || image("test -f $R/f");
        vec![
            both(
                "an owner that is none",
                one().patch(512, 108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).end(),
                Error("owner"),
            ),
            both("a negative owner", one().patch(512, 116, &[0xff; 8]).end(), Error("negative")),
            both("a large owner", record("uid", b"4294967294"), Any),
            both("a late time", record("mtime", b"9223372036854775807"), there()),
            both("an early time", record("mtime", b"-9223372036854775808"), there()),
            both(
                "a large size",
                one().patch(512, 124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff").end(),
                Error("size"),
            ),
            both("a size that is not there", one().patch(512, 124, b"00000100000").end(), Error("end of the archive")),
            both("a name of 300 bytes", first().file("x".repeat(300), b"").end(), Error("name too long")),
            both("a path of 3000 bytes", first().file("x/".repeat(1499) + "f", b"").end(), image("true")),
            both("a path of 4000 bytes", first().file("x/".repeat(1999) + "f", b"").end(), Error("path")),
            both("a path of 5000 bytes", first().file("x/".repeat(2500) + "f", b"").end(), Error("no file system")),
            both(
                "a name that is not UTF-8",
                first().file(b"\xff\xfe", b"").end(),
                image("test -f $R/$(printf '\\377\\376')"),
            ),
            both("control characters", first().file("../\x1b[31m\r\x07", b"").end(), Error("leads out")),
            both("a name with a zero byte", record("path", b"a\0b"), Error("name")),
            both(
                "a large sparse file",
                {
                    let records: [(&str, &[u8]); 2] =
                        [("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"999999999999")];
                    first().records(b'x', &records).file("f", b"1").end()
                },
                Error("sparse"),
            ),
            both(
                "a small sparse file",
                {
                    let records: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"5,1"), ("GNU.sparse.size", b"100000")];
                    first().records(b'x', &records).file("f", b"1").end()
                },
                image("test $(stat -c %s $R/f) = 100000; test \"$(dd if=$R/f bs=1 skip=5 count=1)\" = 1"),
            ),
            both(
                "long names without end",
                first().raw(&tar().member(b"l", b'L', b"", b"n\0").open().repeat(500)).end(),
                Error("extended headers"),
            ),
            both(
                "an attribute that no file system takes",
                record("SCHILY.xattr.user.x", &[b'x'; 70_000]),
                Error("user.x"),
            ),
        ]
    });
}

#[test]
fn streams_that_are_none() {
    each(|_| {
        let one = || tar().file("f", b"evil");
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, bytes).unwrap();
            encoder.finish().unwrap()
        };
        let whole = one().end();
        vec![
            Case("cut in a header", whole[..300].to_vec(), Error("end of the archive"), Any),
            Case("cut in a file", whole[..600].to_vec(), Error("end of the archive"), Error("end of the archive")),
            Case("a wrong sum", [&whole[..1024], &[b'x'; 512]].concat(), Error("damaged tar"), Error("damaged tar")),
            Case(
                "a header after the end",
                one().raw(&[0; 512]).file("g", b"").end(),
                Error("empty block"),
                Error("empty block"),
            ),
            // As a layer, its diff id is that of the compressed bytes: the config lies.
            Case(
                "several members of gzip",
                [gzip(&whole[..700]), gzip(&whole[700..])].concat(),
                Error("digest"),
                image("test \"$(cat $R/f)\" = evil"),
            ),
            Case("a cut stream", gzip(&whole)[..40].to_vec(), Error(""), Any),
        ]
    });
}

#[test]
fn a_bomb_is_refused() {
    let Some(lowest) = lowest() else { return };
    let place = Attack::new(None);
    let size = 5_u64 << 30;
    let head = tar().file("zeros", b"").with(124, format!("{size:011o}").as_bytes()).open();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    std::io::Write::write_all(&mut encoder, &head).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), size + 1024), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 2 << 20);
    let evil = place.path("evil");
    layout(&evil, &[(&lowest, &lowest), (b"any", &bomb)]);
    let context = place.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("evil.tar"), &bomb).unwrap();
    let output = place.build(&format!("FROM base\n{}", run("true", "")), &context, &evil);
    place.check("a bomb, a layer", &output, &Error("bomb"));
    let plain = place.path("plain");
    layout(&plain, &[(&lowest, &lowest)]);
    let output = place.build("FROM base\nADD evil.tar /\n", &context, &plain);
    place.check("a bomb, in ADD", &output, &Error("bomb"));
}
