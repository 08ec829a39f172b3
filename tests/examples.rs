//! The projects in `examples/`: built, run, edited, built again, with the exact list of steps that ran.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, by_root, debian, have, needs, repository, run};
use std::path::Path;

/// A copy of an example to edit.
fn example(space: &Space, name: &str) -> String {
    let to = space.path(name);
    run("cp", &["-r", repository().join("examples").join(name).to_str().unwrap(), to.to_str().unwrap()]);
    to.to_str().unwrap().to_owned()
}

/// The files of an image.
fn files(space: &Space, dir: &str, more: &[&str]) -> String {
    let to = space.path("rootfs");
    let dest = format!("type=local,dest={}", to.display());
    space.built(&[&["-o", &dest], more, &[dir]].concat());
    to.to_str().unwrap().to_owned()
}

#[test]
fn a_static_program_from_scratch() {
    needs!("busybox");
    let space = Space::new();
    let dir = example(&space, "static");
    let busybox = run("sh", &["-c", "command -v busybox"]).stdout;
    run("cp", &[String::from_utf8_lossy(&busybox).trim(), &format!("{dir}/busybox")]);
    let all = [
        "COPY busybox /bin/busybox",
        "RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]",
        "COPY --from=tools /bin/busybox /bin/httpd",
        "WORKDIR /site",
        "COPY site .",
        "RUN for page in *.html; do gzip -9 -c \"$page\" > \"$page.gz\"; done && ls > index.txt",
        "COPY --from=site /site /srv",
    ];
    let mut ran = space.built(&[&dir]).ran;
    let mut wanted = all.map(str::to_owned).to_vec();
    ran.sort();
    wanted.sort();
    assert_eq!(ran, wanted);
    assert_eq!(space.built(&[&dir]).ran, Vec::<String>::new(), "nothing changed");
    space.write("static/site/index.html", "<h1>edited</h1>\n");
    assert_eq!(space.built(&[&dir]).ran, [all[4], all[5], all[6]]);
    let root = files(&space, &dir, &[]);
    assert_eq!(std::fs::read_to_string(format!("{root}/srv/index.html")).unwrap(), "<h1>edited</h1>\n");
    let help = std::process::Command::new(format!("{root}/bin/httpd")).arg("--help").output().unwrap();
    assert!(String::from_utf8_lossy(&help.stderr).contains("httpd"), "the program runs");
    space.assert_whole();
}

/// The base that the other examples stand on, or none where it can't be made.
fn base() -> Option<String> {
    let possible = by_root("make a base of Debian") && have("debootstrap") && have("umoci");
    possible.then(|| debian("debian:bookworm-slim"))
}

#[test]
fn a_c_program_in_two_stages() {
    let Some(base) = base() else { return };
    let space = Space::new();
    let dir = example(&space, "c");
    let args = ["--build-context", &base, &dir];
    let first = space.built(&args).ran;
    assert_eq!(first.len(), 6, "{first:?}");
    assert_eq!(space.built(&args).ran, Vec::<String>::new());
    space.write("c/src/greet.h", "/* who is greeted */\nint greet(const char *name);\n");
    let edited = space.built(&args).ran;
    // The program comes out the same, so the copy of it does not run.
    assert_eq!(edited, ["COPY src src", "RUN make"]);
    let root = files(&space, &dir, &args[..2]);
    let hello = run(&format!("{root}/hello"), &["kiln"]);
    assert_eq!(String::from_utf8_lossy(&hello.stdout), "hello, kiln\n");
    space.assert_whole();
}

#[test]
fn a_python_service_with_cache_mounts() {
    let Some(base) = base() else { return };
    let space = Space::new();
    let dir = example(&space, "python");
    let args = ["--build-context", &base, &dir];
    let built = space.built(&args);
    assert!(built.stderr.contains("hello, test"), "the service answers:\n{}", built.stderr);
    assert_eq!(built.ran.len(), 4, "{:?}", built.ran);
    assert_eq!(space.built(&args).ran, Vec::<String>::new());
    let service = std::fs::read_to_string(format!("{dir}/app/service.py")).unwrap();
    space.write("python/app/service.py", &service.replace("hello, ", "good day, "));
    let edited = space.built(&args);
    assert_eq!(edited.ran.len(), 2, "only the copy of the service and its check: {:?}", edited.ran);
    assert!(edited.stderr.contains("good day, test"), "{}", edited.stderr);
    let root = files(&space, &dir, &args[..2]);
    let left =
        run("find", &[&format!("{root}/var/cache/apt"), &format!("{root}/var/lib/apt/lists"), "-type", "f"]).stdout;
    assert_eq!(String::from_utf8_lossy(&left), "", "the cache mounts are in no layer");
    space.assert_whole();
}

#[test]
fn many_small_files_and_an_ignore_file() {
    let Some(base) = base() else { return };
    let space = Space::new();
    let dir = example(&space, "assets");
    // Files that git would not carry.
    space.write("assets/node_modules/x/index.js", "big\n");
    space.write("assets/src/x.tmp", "scratch\n");
    let args = ["--build-context", &base, &dir];
    assert_eq!(space.built(&args).ran.len(), 6);
    space.write("assets/node_modules/x/index.js", "changed, but ignored\n");
    assert_eq!(space.built(&args).ran, Vec::<String>::new());
    space.write("assets/src/page1.txt", "edited\n");
    let edited = space.built(&args).ran;
    let last = "COPY --from=build --chown=www-data:www-data /app /srv/app";
    assert_eq!(
        edited,
        ["COPY . .", "RUN cat src/*.txt | sha256sum > bundle.sum && find . -type f | sort > files.txt", last]
    );
    let root = files(&space, &dir, &args[..2]);
    let list = std::fs::read_to_string(format!("{root}/srv/app/files.txt")).unwrap();
    assert!(list.contains("./src/keep.tmp") && !list.contains("x.tmp") && !list.contains("node_modules"), "{list}");
    assert!(Path::new(&format!("{root}/srv/app/vendor/beta")).exists());
    space.assert_whole();
}
