//! Results put together of several builds: whatever the cache holds, an image is the one that a build without any cache
//! makes, its history fits its layers, and its base is there.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, by_root, needs, registry};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

fn base() -> String {
    format!("{}/busybox", registry().0)
}

/// Files below a folder: kind and mode, and what a file or link holds.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let held = if metadata.is_symlink() {
                std::fs::read_link(&path).unwrap().display().to_string()
            } else if metadata.is_file() && metadata.len() < 4096 {
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
            } else {
                String::new()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, format!("{:o} {held}", metadata.mode()));
            if metadata.is_dir() {
                todo.push(path);
            }
        }
    }
    found
}

/// Builds `app` with more arguments: the files of the image. Its history must fit its layers.
fn image(space: &Space, args: &[&str]) -> BTreeMap<String, String> {
    let (files, layout) = (space.path("files"), space.path("layout"));
    for folder in [&files, &layout] {
        let _ = std::fs::remove_dir_all(folder);
    }
    space.built(&[&["app", "-o", "type=local,dest=files", "-o", "type=oci,dest=layout,tar=false"], args].concat());
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        let bytes = std::fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifest = blob(&index["manifests"][0]["digest"]);
    let config = blob(&manifest["config"]["digest"]);
    let layers = manifest["layers"].as_array().unwrap().len();
    let filled = config["history"].as_array().unwrap().iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!((config["rootfs"]["diff_ids"].as_array().unwrap().len(), filled), (layers, layers), "{config}");
    tree(&files)
}

/// The image that a store without any record makes of the same folder.
fn anew(space: &Space, args: &[&str]) -> BTreeMap<String, String> {
    let other = Space::new();
    let output = std::process::Command::new("cp").arg("-a").arg(space.path("app")).arg(other.dir.path()).output();
    assert!(output.unwrap().status.success());
    image(&other, &[&["--no-cache"], args].concat())
}

fn assert_as_anew(space: &Space, args: &[&str], what: &str) {
    let (is, wanted) = (image(space, args), anew(space, args));
    let differ: Vec<_> = wanted.iter().filter(|(name, held)| is.get(*name) != Some(held)).collect();
    assert!(differ.is_empty() && is.len() == wanted.len(), "{what}: {differ:?}");
}

fn dockerfile(space: &Space, text: &str) {
    space.write("app/Dockerfile", &text.replace("BASE", &base()));
}

#[test]
fn an_edit_below_a_linked_copy_is_seen_by_all_that_follows() {
    needs!("docker-registry", "busybox");
    let linked = ["COPY --link u /x/", "ADD --link u /x/", "COPY --link <<EOF /x/u\nu\nEOF"];
    let follows = [
        "RUN cat /y > /r",
        "COPY u /r",
        "WORKDIR /y-is-a-file-beside",
        "FROM BASE\nCOPY --from=first /y /r",
        "FROM BASE\nRUN --mount=from=first,target=/m cat /m/y > /r",
        "FROM first\nCOPY --link u /z\nRUN cat /y /z > /r",
    ];
    for (number, follows) in follows.iter().enumerate() {
        let space = Space::new();
        let link = linked[number % linked.len()];
        space.write("app/u", "u\n");
        dockerfile(&space, &format!("FROM BASE AS first\nCOPY t /y\n{link}\n{follows}\n"));
        for text in ["one\n", "two\n"] {
            space.write("app/t", text);
            assert_as_anew(&space, &[], follows);
        }
        assert_eq!(space.built(&["app"]).ran, Vec::<String>::new(), "{follows}");
        // The step below is gone, or is another.
        dockerfile(&space, &format!("FROM BASE AS first\nRUN echo other > /y\n{link}\n{follows}\n"));
        assert_as_anew(&space, &[], follows);
        space.assert_whole();
    }
}

#[test]
fn an_edit_below_a_linked_copy_is_seen_through_a_cache_elsewhere() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    space.write("app/u", "u\n");
    space.write("app/t", "one\n");
    dockerfile(&space, "FROM BASE\nCOPY t /y\nCOPY --link u /x/\nRUN cat /y > /r\n");
    space.built(&["app", "--cache-to", "type=local,dest=cache"]);
    std::fs::remove_dir_all(space.path("store")).unwrap();
    let again = space.built(&["app", "--cache-from", "type=local,src=cache"]);
    assert_eq!(again.ran.iter().filter(|name| name.starts_with("RUN")).count(), 0, "{:?}", again.ran);
    space.write("app/t", "two\n");
    std::fs::remove_dir_all(space.path("store")).unwrap();
    assert_as_anew(&space, &["--cache-from", "type=local,src=cache"], "an edit");
}

#[test]
fn stages_may_begin_with_the_same_steps() {
    needs!("docker-registry", "busybox");
    let prefixes = [
        "COPY t /1",
        "COPY t /1\nCOPY t /2",
        "RUN echo 1 > /1\nADD t /2",
        "WORKDIR /app\nCOPY t .",
        "COPY --link t /1\nCOPY t /2",
        "COPY --link t /1\nWORKDIR /w\nCOPY --link t /2",
    ];
    for prefix in prefixes {
        let space = Space::new();
        space.write("app/t", "t\n");
        let text = |a: &str, b: &str| format!("FROM BASE AS a\n{prefix}\n{a}\nFROM BASE AS b\n{prefix}\n{b}\n");
        dockerfile(&space, &text("RUN echo a > /a", "COPY --from=a /a /b"));
        assert_as_anew(&space, &[], prefix);
        assert_as_anew(&space, &["--no-cache-filter", "b"], prefix);
        dockerfile(&space, &text("RUN echo a > /a", "COPY --from=a /a /c"));
        assert_as_anew(&space, &[], prefix);
        dockerfile(&space, &text("RUN echo other > /a", "RUN ls -d /*\nCOPY --from=a /a /c"));
        assert_as_anew(&space, &[], prefix);
        space.assert_whole();
    }
}

#[test]
fn equal_layers_on_other_bases_keep_their_bases() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    space.write("app/t", "t\n");
    let text = |one: &str| {
        format!(
            "FROM BASE AS a\nRUN echo {one} > /1\nCOPY --link t /t\nRUN cat /1 /t > /a\n\
             FROM BASE AS b\nRUN echo b > /1\nCOPY --link t /t\nRUN cat /1 /t > /b\n\
             FROM scratch AS c\nCOPY --link t /t\nCOPY --from=a / /a\nCOPY --from=b / /b\n"
        )
    };
    for one in ["x", "b"] {
        dockerfile(&space, &text(one));
        assert_as_anew(&space, &[], one);
        assert_as_anew(&space, &["--no-cache-filter", "a"], one);
    }
    space.assert_whole();
}

#[test]
fn a_layer_may_stand_twice_in_a_rootfs() {
    needs!("docker-registry", "busybox");
    let programs = [
        "COPY t /x/\nRUN rm -rf /x\nCOPY t /x/\nRUN rm -rf /x\nCOPY t /x/\nRUN cat /x/t > /r",
        "RUN touch /f\nRUN rm /f\nRUN touch /f\nRUN rm /f\nRUN ls / > /r",
        "WORKDIR /x\nRUN rm -rf /x\nWORKDIR /x\nRUN pwd > /r",
        "COPY t /x/\nRUN rm -rf /x\nFROM first\nCOPY t /x/\nRUN --mount=from=first,target=/m cat /x/t > /r; ls /m >> /r",
        "COPY --link t /x/\nRUN rm -rf /x\nCOPY --link t /x/\nFROM BASE\nRUN --mount=from=first,target=/m cat /m/x/t > /r",
    ];
    for program in programs {
        let space = Space::new();
        space.write("app/t", "t\n");
        dockerfile(&space, &format!("FROM BASE AS first\n{program}\n"));
        assert_as_anew(&space, &[], program);
        dockerfile(&space, &format!("FROM BASE AS first\n{program}\nRUN echo more\n"));
        space.write("app/t", "other\n");
        assert_as_anew(&space, &[], program);
        space.assert_whole();
    }
}

/// Sets the time of a file to so many seconds before now.
fn touch(space: &Space, name: &str, ago: u64) {
    let file = std::fs::File::open(space.path(name)).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(ago)).unwrap();
}

#[test]
fn what_was_made_of_a_file_is_never_older_than_the_file() {
    needs!("docker-registry", "busybox");
    let make = "RUN grep -v '^#' /src > /obj";
    let test = "RUN if [ /src -nt /obj ]; then echo stale > /answer; else echo fresh > /answer; fi";
    let programs = [
        format!("FROM BASE\nCOPY src /src\n{make}\n{test}\n"),
        format!("FROM BASE\nCOPY . /\n{make}\n{test}\n"),
        format!("FROM BASE\nCOPY src /src\nRUN mkdir -p /d; {}\n{test}\n", &make[4..]),
        // The result of a stage in which a step came out the same.
        format!(
            "FROM BASE AS build\nCOPY src /src\n{make}\nFROM BASE\nCOPY src /src\nCOPY --from=build /obj /obj\n{test}\n"
        ),
        format!(
            "FROM BASE AS build\nCOPY src /src\n{make}\nFROM BASE\nCOPY src /src\n\
             COPY --link --from=build /obj /obj\n{test}\n"
        ),
    ];
    for program in programs {
        let space = Space::new();
        dockerfile(&space, &program);
        let mut stem = "x\n".to_owned();
        for (round, ago) in [50, 40].into_iter().enumerate() {
            space.write("app/src", &format!("{stem}# {round}\n"));
            touch(&space, "app/src", ago);
            assert_eq!(image(&space, &[])["answer"], "100644 fresh\n", "{program}");
        }
        for round in 0..2 {
            space.write("app/src", &format!("{stem}# once more {round}\n"));
            assert_eq!(image(&space, &[])["answer"], "100644 fresh\n", "{program}");
        }
        stem.push_str("y\n");
        space.write("app/src", &stem);
        assert_eq!(image(&space, &[])["answer"], "100644 fresh\n", "{program}");
        assert_eq!(image(&space, &["--no-cache"])["answer"], "100644 fresh\n", "{program}");
    }
}

#[test]
fn two_dockerfiles_of_one_project_do_not_mix_their_times() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    let make = "RUN grep -v '^#' /src > /obj";
    let test = "RUN if [ /src -nt /obj ]; then echo stale > /answer; else echo fresh > /answer; fi";
    for round in 0..3 {
        for copy in ["COPY src /src", "COPY . /"] {
            space.write("app/src", &format!("x\n# {round} {copy}\n"));
            dockerfile(&space, &format!("FROM BASE\n{copy}\n{make}\n{test}\n"));
            assert_eq!(image(&space, &[])["answer"], "100644 fresh\n", "{copy}");
        }
    }
}

#[test]
fn a_copy_that_runs_again_keeps_the_order_of_its_sources() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    let test = "RUN if [ /d/rules -nt /d/made ]; then echo stale > /answer; else echo fresh > /answer; fi";
    dockerfile(&space, &format!("FROM BASE\nCOPY d /d\n{test}\n"));
    space.write("app/d/rules", "one\n");
    space.write("app/d/made", "made\n");
    touch(&space, "app/d/rules", 100);
    touch(&space, "app/d/made", 90);
    assert_eq!(image(&space, &[])["answer"], "100644 fresh\n");
    // The rules are others, and what is made of them is the same, made anew.
    space.write("app/d/rules", "two\n");
    touch(&space, "app/d/rules", 80);
    touch(&space, "app/d/made", 70);
    assert_eq!(image(&space, &[])["answer"], "100644 fresh\n");
}

#[test]
fn a_mount_counts_by_what_it_shows() {
    needs!("docker-registry", "busybox");
    if !by_root("make files of others") {
        return;
    }
    let mounts = ["source=/s/v", "source=/link", "source=/s/d", "source=s/d/../d"];
    for mount in mounts {
        let space = Space::new();
        for name in ["v", "other", "d/in"] {
            space.write(&format!("app/{name}"), "1\n");
        }
        let file = if mount.ends_with('d') { "/m/in" } else { "/m" };
        dockerfile(
            &space,
            &format!(
                "FROM BASE AS src\nCOPY v other /s/\nCOPY d /s/d\nRUN ln -s s/v /link\n\
                 FROM BASE\nRUN --mount=type=bind,from=src,{mount},target=/m cat {file} > /out\n"
            ),
        );
        space.built(&["app"]);
        space.write("app/other", "2\n");
        let ran = space.built(&["app"]).ran;
        assert!(!ran.iter().any(|name| name.contains("cat")), "{mount}: {ran:?}");
        // The mount shows something else.
        for name in ["v", "d/in"] {
            space.write(&format!("app/{name}"), "3\n");
        }
        assert_as_anew(&space, &[], mount);
        let ran = space.built(&["app"]).ran;
        assert_eq!(ran, Vec::<String>::new());
    }
}
