#!/bin/bash
# Passes all tests on a fresh Debian machine with Rust: installs the tools that the tests read images with, then checks
# format, lints, docs and runs every test, as root and again as an ordinary user.
set -euo pipefail
cd "$(dirname "$0")"
packages=(busybox-static docker-registry docker.io skopeo umoci podman runc debootstrap uidmap zstd xz-utils bzip2 libcap2-bin attr procps python3 util-linux)
if [ "$(id -u)" = 0 ]; then
  missing=(); for package in "${packages[@]}"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
fi
cargo fmt --all --check
cargo clippy --quiet --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; else echo "SKIPPED: cargo-deny is not installed"; fi
cargo test --quiet --workspace --no-run
echo "== as $(id -un)"
cargo test --workspace
if [ "$(id -u)" = 0 ]; then
  # The same tests by a user with a range of ids: what needs a privilege says so.
  user=kilntest
  id $user >/dev/null 2>&1 || useradd -m $user
  grep -q "^$user:" /etc/subuid || echo "$user:200000:65536" >> /etc/subuid
  grep -q "^$user:" /etc/subgid || echo "$user:200000:65536" >> /etc/subgid
  echo "== as $user"
  work=$(mktemp -d /var/tmp/kiln-user.XXXXXX); chmod 755 "$work"
  cp -r Cargo.toml Cargo.lock src frontend solver tests testdata examples "$work/"
  mkdir -p "$work/target/tmp"
  cargo test --workspace --no-run --message-format=json 2>/dev/null | python3 -c '
import json, sys
for line in sys.stdin:
    item = json.loads(line)
    if item.get("reason") == "compiler-artifact" and item.get("profile", {}).get("test") and item.get("executable"):
        print(item["target"]["name"], item["executable"])
' > "$work/tests.txt"
  kiln=$(readlink -f target/debug/kiln)
  chown -R $user "$work"
  # Test binaries name the source and the program by absolute path: both must be readable.
  namespace="mount --bind '$work' '$PWD' && mkdir -p '$PWD/target/debug' '$PWD/target/tmp' && cp /tmp/kiln-user-test-bin '$PWD/target/debug/kiln' && chown -R $user '$PWD/target'"
  cp "$kiln" /tmp/kiln-user-test-bin
  mkdir -p "$work/bin"; while read -r name path; do cp "$path" "$work/bin/$name"; done < "$work/tests.txt"
  chmod -R a+rX "$work"
  status=0
  for name in conformance examples readers registry resilience isolation; do
    [ -x "$work/bin/$name" ] || continue
    unshare -m bash -c "$namespace && cd '$PWD' && exec setpriv --reuid=$user --regid=$user --init-groups env HOME=/home/$user '$PWD/bin/$name'" || status=1
  done
  rm -rf "$work" /tmp/kiln-user-test-bin
  exit $status
fi
