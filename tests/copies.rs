//! COPY, ADD and WORKDIR on top of what steps and base images left, where a mark of a lower layer or a link could make
//! another image of it than a shell would.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/archives.rs"]
mod archives;
mod common;

use archives::{Tar, layout};
use common::{Space, run};
use std::os::unix::fs::symlink;
use std::path::Path;

fn base() -> String {
    format!("{}/busybox", common::registry().0)
}

/// Builds and lists the image's files below a directory.
fn below(space: &Space, dir: &str, args: &[&str]) -> Vec<String> {
    let out = space.path("out.tar");
    space.built(&[&["-o", &format!("type=tar,dest={}", out.display()), "app"], args].concat());
    list(&out, dir)
}

fn list(tar: &Path, dir: &str) -> Vec<String> {
    let names = String::from_utf8(run("tar", &["-tf", tar.to_str().unwrap()]).stdout).unwrap();
    let inside = names.lines().filter_map(|name| name.strip_prefix(dir)).filter(|name| !name.is_empty());
    let mut found: Vec<String> = inside.map(str::to_owned).collect();
    found.sort();
    found
}

/// The names in the topmost layers of an image, the top last.
fn layers(space: &Space, args: &[&str], count: usize) -> Vec<Vec<String>> {
    let dir = space.path("layout");
    let _ = std::fs::remove_dir_all(&dir);
    space.built(&[&["-o", &format!("type=oci,tar=false,dest={}", dir.display()), "app"], args].concat());
    let read = |digest: &str| std::fs::read(dir.join("blobs").join(digest.replace(':', "/"))).unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let index = json(&std::fs::read(dir.join("index.json")).unwrap());
    let manifest = json(&read(index["manifests"][0]["digest"].as_str().unwrap()));
    let all = manifest["layers"].as_array().unwrap();
    let names = |layer: &serde_json::Value| {
        let blob = dir.join("blobs").join(layer["digest"].as_str().unwrap().replace(':', "/"));
        list(&blob, "")
    };
    all.iter().skip(all.len() - count).map(names).collect()
}

#[test]
fn a_directory_that_a_run_made_again_shows_what_it_holds_under_file_steps() {
    let space = Space::new();
    space.write("app/t", "t");
    space.write("app/d/u", "u");
    std::fs::write(space.path("app/x.tar"), Tar::default().file("v", b"v").end()).unwrap();
    let again =
        "RUN mkdir -p /w/s && touch /w/old\nRUN rm -rf /w && mkdir -p /w/s && echo n > /w/new && echo m > /w/s/n";
    for (step, more) in [
        ("COPY t /w/", &["t"][..]),
        ("COPY --chown=5:6 t /w/s/t", &["s/t"]),
        ("COPY d /w", &["u"]),
        ("COPY --parents d/u /w/s/", &["s/d/", "s/d/u"]),
        ("COPY <<t /w/\ntext\nt", &["t"]),
        ("COPY --chmod=700 d /w/s/x/", &["s/x/", "s/x/u"]),
        ("ADD x.tar /w/", &["v"]),
        ("ADD x.tar /w/s/deep/", &["s/deep/", "s/deep/v"]),
        ("WORKDIR /w/s/y", &["s/y/"]),
        ("WORKDIR /w/y\nCOPY t .", &["y/", "y/t"]),
        ("COPY --link t /w/", &["t"]),
    ] {
        let mut wanted: Vec<String> = ["new", "s/", "s/n"].iter().chain(more).map(|name| (*name).to_owned()).collect();
        wanted.sort();
        space.write("app/Dockerfile", &format!("FROM {}\n{again}\n{step}\n", base()));
        assert_eq!(below(&space, "w/", &[]), wanted, "{step}");
        let top = layers(&space, &[], 1).pop().unwrap();
        assert!(top.iter().all(|name| !name.contains(".wh.")), "{step}: {top:?}");
        // Those who see it by a mount, by a copy, and as a directory to fill a cache with.
        let seen = format!(
            "FROM {} AS s\n{again}\n{step}\nRUN cd /w && find . -mindepth 1 > /seen\n\
             FROM {0}\nCOPY --from=s /w /copied/\nCOPY --from=s /seen /all/seen\n\
             RUN --mount=from=s,source=/w,target=/m cd /m && find . -mindepth 1 > /all/mounted\n\
             RUN --mount=type=cache,id={},from=s,source=/w,target=/m cd /m && find . -mindepth 1 > /all/cached\n",
            base(),
            more[0].replace('/', ".")
        );
        space.write("app/Dockerfile", &seen);
        assert_eq!(below(&space, "copied/", &[]), wanted, "{step}");
        let plain: Vec<String> = wanted.iter().map(|name| name.trim_end_matches('/').to_owned()).collect();
        for view in ["seen", "mounted", "cached"] {
            let out = space.path("out.tar");
            let text = run("tar", &["-xOf", out.to_str().unwrap(), &format!("all/{view}")]).stdout;
            let text = String::from_utf8(text).unwrap();
            let mut found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("./")).collect();
            found.sort_unstable();
            assert_eq!(found, plain, "{step}: {view}");
        }
    }
    space.assert_whole();
}

#[test]
fn an_opaque_directory_of_a_base_is_not_made_opaque_again() {
    let space = Space::new();
    let below_it = Tar::default().dir("w").file("w/old", b"old").dir("w/s").file("w/s/old", b"old").end();
    let above = Tar::default().dir("w").file("w/.wh..wh..opq", b"").file("w/new", b"new").end();
    layout(&space.path("base"), &[(&below_it, &below_it), (&above, &above)]);
    space.write("app/t", "t");
    let context = format!("base=oci-layout://{}", space.path("base").display());
    space.write("app/Dockerfile", "FROM base\nCOPY t /w/\nWORKDIR /w/s\n");
    let args = ["--build-context", context.as_str()];
    assert_eq!(below(&space, "w/", &args), ["new", "s/", "t"]);
    let top = layers(&space, &args, 2);
    assert_eq!(top, [["w/", "w/t"], ["w/", "w/s/"]]);
}

#[test]
fn a_directory_keeps_its_attributes_where_something_was_missing_below_it() {
    let space = Space::new();
    let mark = [("SCHILY.xattr.user.kept", &b"value"[..])];
    let tar = Tar::default().records(b'x', &mark).dir("w").records(b'x', &mark).dir("v").end();
    layout(&space.path("base"), &[(&tar, &tar)]);
    space.write("app/t", "t");
    if rustix::fs::setxattr(space.path("app/t"), "user.kept", b"value", rustix::fs::XattrFlags::empty()).is_err() {
        common::skipped("a temporary folder with attributes of users");
        return;
    }
    let context = format!("base=oci-layout://{}", space.path("base").display());
    for run in ["--mount=type=bind,target=/w/m touch /w/made", "rmdir /v/d; touch /w/made\nRUN touch /v/d/made"] {
        let text = format!("FROM {} AS s\nCOPY --from=base / /\nWORKDIR /v/d\nRUN {run}\n", base());
        let out = space.path("out.tar");
        let dest = format!("type=tar,dest={}", out.display());
        space.write("app/Dockerfile", &text);
        space.built(&["--build-context", &context, "-o", &dest, "app"]);
        let bytes = std::fs::read(&out).unwrap();
        let kept = bytes.windows(28).filter(|at| at == b"SCHILY.xattr.user.kept=value").count();
        assert_eq!(kept, 2, "RUN {run}");
    }
}

#[test]
fn a_source_of_parents_is_taken_with_its_links_or_refused() {
    let space = Space::new();
    space.write("app/d/f", "f");
    space.write("app/e/f", "f");
    let link = |to: &str, name: &str| symlink(to, space.path("app").join(name)).unwrap();
    link("../nowhere", "d/dang");
    link("nowhere", "lost");
    link("d", "ld");
    let check = |line: &str, wanted: &[&str]| {
        space.write("app/Dockerfile", &format!("FROM scratch\n{line}\n"));
        assert_eq!(below(&space, "p/", &[]), wanted, "{line}");
    };
    check("COPY --parents d/dang /p/", &["d/", "d/dang"]);
    check("COPY --parents ./d/./dang /p/", &["dang"]);
    check("COPY --parents ld/./dang /p/", &["dang"]);
    check("COPY --parents d/da* /p/", &["d/", "d/dang"]);
    check("COPY --parents ld /p/", &["ld"]);
    for (line, name) in [
        ("COPY --parents lost /p/", "`lost` was not found"),
        ("COPY lost /p/", "`lost` was not found"),
        ("COPY d/dang /p/", "`d/dang` was not found"),
        ("COPY --parents ld/f /p/", "`ld/f` was not found"),
        ("COPY --parents d/g /p/", "`d/g` was not found"),
        ("COPY --parents --exclude=d/f d/f /p/", "`d/f` was not found"),
    ] {
        space.write("app/Dockerfile", &format!("FROM scratch\n{line}\n"));
        let built = space.build(&["app"]);
        assert!(!built.ok && built.stderr.contains(name), "{line}: {}", built.stderr);
    }
}

#[test]
fn a_working_directory_is_entered_as_it_is_written() {
    let space = Space::new();
    let dockerfile = |steps: &str| space.write("app/Dockerfile", &format!("FROM {}\n{steps}\n", base()));
    dockerfile("WORKDIR /w/d/../z\nRUN pwd > /w/pwd");
    assert_eq!(below(&space, "w/", &[]), ["d/", "pwd", "z/"]);
    assert_eq!(run("tar", &["-xOf", space.path("out.tar").to_str().unwrap(), "w/pwd"]).stdout, b"/w/z\n");
    dockerfile("WORKDIR /w/d/e/..\nRUN true");
    assert_eq!(below(&space, "w/", &[]), ["d/", "d/e/"]);
    dockerfile("WORKDIR /w/d/../z");
    assert_eq!(below(&space, "w/", &[]), ["z/"]);
    // A link before the `..` is followed first, as everywhere in a process.
    dockerfile("RUN mkdir -p /w/a/b /w/z /w/a/z && ln -s /w/a/b /w/l\nWORKDIR /w/l/../z\nRUN touch here");
    assert_eq!(below(&space, "w/", &[]), ["a/", "a/b/", "a/z/", "a/z/here", "l", "z/"]);
}
