//! Older kernels: the same image comes out of Debian 12's own (6.1), booted in an emulator, as root and as an ordinary user; and
//! out of every other way that kiln has for what a kernel may lack, forced here.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KILN, Space, have, needs, repository, skipped};
use std::path::Path;
use std::process::Command;

/// A use of each kind of mount, and many layers.
fn project(space: &Space) -> bool {
    if !have("busybox") {
        return false;
    }
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    space.write("app/data", "of the context\n");
    let copies: String = (0..60).map(|number| format!("COPY data /layers/{number}\n")).collect();
    let lines = format!(
        "FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
        FROM base AS made\nRUN mkdir -p /out/deep && echo made > /out/file && touch /out/deep/gone\n\
        FROM base\nCOPY --from=made /out /out\n{copies}\
        RUN --mount=type=cache,target=/cache echo kept > /cache/file && cp /cache/file /cached\n\
        RUN --mount=type=bind,source=data,target=/data (echo > /data) 2>/dev/null || cp /data /copied\n\
        RUN --mount=type=bind,from=made,source=/out,target=/rw,rw rm -r /rw/deep && mkdir /rw/deep && ls /rw/deep | wc -l > /lost && echo changed > /rw/file\n\
        RUN --mount=type=tmpfs,target=/tmp echo > /tmp/file && rm -r /out/deep && mkdir /out/deep && ls /layers | wc -l > /count\n\
        RUN ! touch /sys/x /proc/sys/x 2>/dev/null && echo > /dev/null && if mknod /device c 1 3 2>/dev/null; then ! (echo > /device) 2>/dev/null && rm /device; fi\n\
        USER 1234\nRUN id -u > /tmp/who 2>/dev/null || id -u | grep -q 1234\n"
    );
    space.write("app/Dockerfile", &lines);
    true
}

/// The flags of each build that is compared.
const FLAGS: &str = "--network=none -o type=oci,dest=image.tar,rewrite-timestamp=true --iidfile id";

fn id(space: &Space, version: Option<&str>) -> String {
    let flags: Vec<&str> = [&["build", "-q"], &FLAGS.split(' ').collect::<Vec<_>>()[..], &["app"]].concat();
    let mut command = space.kiln(&flags);
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    if let Some(version) = version {
        command.env("KILN_TEST_KERNEL", version);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{version:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(space.path("id")).unwrap()
}

#[test]
fn what_a_kernel_lacks_is_done_another_way() {
    let space = Space::new();
    if !project(&space) {
        return;
    }
    let here = id(&space, None);
    // 5.11 has no mount_setattr(2), 5.6 no clone3(2) into a control group.
    for version in ["5.11", "5.6"] {
        let other = Space::new();
        project(&other);
        assert_eq!(id(&other, Some(version)), here, "{version}");
        other.assert_whole();
    }
}

/// More layers than a page of options has room for by their paths.
#[test]
fn hundreds_of_layers_are_mounted_at_once() {
    let space = Space::new();
    if !project(&space) {
        return;
    }
    let copies: String = (0..400).map(|number| format!("COPY data /layers/{number}\n")).collect();
    let lines =
        format!("FROM scratch\nCOPY busybox /bin/busybox\n{copies}RUN [\"/bin/busybox\", \"ls\", \"/layers/399\"]\n");
    space.write("app/Dockerfile", &lines);
    space.built(&["--network=none", "app"]);
}

#[test]
fn roots_with_odd_names_serve() {
    let space = Space::new();
    if !project(&space) {
        return;
    }
    space.write("app/Dockerfile", "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"echo\"]\n");
    let long = "long/".repeat(80);
    for name in ["a\\b", "a\\", "\\x2c", "a,b", "a:b", "a=b", "a b", &long] {
        let mut command = space.kiln(&["build", "-q", "--network=none", "app"]);
        let output = command.env("KILN_ROOT", space.path("roots").join(name)).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The guest's script; its lines are judged below.
const SCRIPT: &str = r#"
uname -r
build() { /bin/kiln build -q --no-cache FLAGS /context >/dev/null && echo "$1 $(cat id)"; }
export SOURCE_DATE_EPOCH=1700000000
mkdir -p /disk/root /disk/user; chown 1000:1000 /disk/user
cd /disk/root && KILN_ROOT=/disk/root/store build root
/bin/kiln doctor | grep -E '^(ok|lack) +(kernel|containers|devices)'
cd /disk/user
cat > /tmp/build.sh <<'END'
cd /disk/user; export HOME=/home/user KILN_ROOT=/disk/user/store
/bin/kiln build -q FLAGS /context >/dev/null && echo "user $(cat id)"
END
/usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups sh /tmp/build.sh
echo user > /etc/nobody; : > /etc/subuid; : > /etc/subgid
sed -i 's|/disk/user;|/disk/one;|; s|/disk/user/store|/disk/one/store|; s|"user |"one |' /tmp/build.sh
mkdir /disk/one; chown 1000:1000 /disk/one
sed -i '/^USER/,$d' /context/Dockerfile
/usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups sh /tmp/build.sh
"#;

#[test]
fn a_build_on_debians_kernel_is_the_same() {
    let kernel = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel");
    needs!("qemu-system-x86_64");
    if !kernel.join("vmlinuz").exists() {
        return skipped("a kernel in target/tmp/kernel: testdata/kernel/fetch.sh target/tmp/kernel");
    }
    let space = Space::new();
    if !project(&space) {
        return;
    }
    let whole = id(&space, None);
    space.write("script", &SCRIPT.replace("FLAGS", FLAGS));
    let mut command = Command::new("bash");
    command.arg(repository().join("testdata/kernel/boot.sh")).arg(kernel);
    let output = command.arg(KILN).arg(space.path("app")).arg(space.path("script")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().any(|line| line.starts_with("6.1.")), "{all}");
    for who in ["root", "user"] {
        assert!(said.contains(&format!("{who} {whole}")), "{who} {whole}\n{all}");
    }
    for good in ["kernel", "containers", "devices"] {
        assert!(said.lines().any(|line| line.starts_with("ok ") && line.contains(good)), "{good}\n{all}");
    }
    // With one id there is no other user.
    let text = std::fs::read_to_string(space.path("app/Dockerfile")).unwrap();
    space.write("app/Dockerfile", text.split("USER").next().unwrap());
    assert!(said.contains(&format!("one {}", id(&space, None))), "{all}");
}
