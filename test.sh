#!/bin/bash
# Passes all tests on a fresh Debian machine with Rust: installs the tools that the tests read images with, then checks
# format, lints and docs and runs every test, as root and again as an ordinary user.
set -euo pipefail
cd "$(dirname "$0")"
packages=(busybox-static docker-registry docker.io skopeo umoci podman runc debootstrap uidmap zstd xz-utils bzip2 libcap2-bin attr procps python3 util-linux g++ git openssh-client openssl passt slirp4netns iproute2 qemu-user-static python3-venv qemu-system-x86 libarchive-tools)
if [ "$(id -u)" = 0 ]; then
  missing=(); for package in "${packages[@]}"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
fi
# A server that speaks S3, for the suite that every cache backend passes.
[ -x target/tmp/moto/bin/moto_server ] || { python3 -m venv target/tmp/moto && target/tmp/moto/bin/pip install -q 'moto[s3,server]==5.2.5'; }
# Debian 12's own kernel, for the test of older ones.
testdata/kernel/fetch.sh target/tmp/kernel
if [ "$(id -u)" = 0 ]; then
  # An ordinary user with a range of ids: the second pass is this user's, and some tests of the first one need a victim.
  user=kilntest
  id $user >/dev/null 2>&1 || useradd -m $user
  grep -q "^$user:" /etc/subuid || echo "$user:200000:65536" >> /etc/subuid
  grep -q "^$user:" /etc/subgid || echo "$user:200000:65536" >> /etc/subgid
  # As udev has it on usual machines: a user's steps reach the network through it.
  [ ! -e /dev/net/tun ] || chmod 0666 /dev/net/tun
  # The machine has all that tests need: from here on a test that lacks something fails (tests/common/lacks.rs).
  export KILN_TEST_REQUIRE=1
fi
cargo fmt --all --check
cargo clippy --quiet --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; else echo "SKIPPED: cargo-deny is not installed"; fi
echo "== all tests as $(id -un)"
cargo test --workspace
seconds=${KILN_FUZZ_SECONDS:-25}
echo "== $seconds seconds of fuzzing for each target"
fuzz/run.sh "$seconds"
[ "$(id -u)" = 0 ] || exit 0

# The integration tests again by the user, in a copy that the user may write to.
as_user() { setpriv --reuid=$user --regid=$user --init-groups env HOME=/home/$user "$@"; }
# A parent of this folder that the user may not enter is replaced by an empty one, for the tests alone.
closed=; parent=$PWD
while [ "$parent" != / ]; do parent=$(dirname "$parent"); as_user test -x "$parent" || closed=$parent; done
work=$(mktemp -d /var/tmp/kiln-user.XXXXXX); trap 'rm -rf "$work"' EXIT
mkdir -p "$work/target/debug" "$work/target/tmp"
cp -r Cargo.toml src crates frontend solver tests testdata examples "$work/"
cp target/debug/kiln "$work/target/debug/kiln"
cp -r target/tmp/kernel "$work/target/tmp/kernel"
user_tests=(conformance consistency graphs contexts copies readers resilience sources language security privacy kernel devices promises
  secrets isolation network limits emulation processes explain room registries remote remote_limits remote_places remote_trust remote_faults
  mounts attach)
for name in "${user_tests[@]}"; do
  cp "$(ls -t target/debug/deps/$name-* | grep -v '\.d$' | head -n 1)" "$work/$name"
done
chown -R $user "$work"; chmod 755 "$work"
status=0
for name in "${user_tests[@]}"; do
  echo "== $name as $user"
  # The tests name the program and their data by absolute path: the copy stands there for them alone.
  unshare -m --propagation private bash -c "
    [ -z '$closed' ] || { mount -t tmpfs -o mode=0755 none '$closed' && mkdir -p '$PWD'; } &&
    mount --bind '$work' '$PWD' && cd '$PWD' &&
    exec setpriv --reuid=$user --regid=$user --init-groups env HOME=/home/$user ./$name" || status=1
done
exit $status
