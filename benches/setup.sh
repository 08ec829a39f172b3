#!/bin/bash
# Makes ready what compare.py needs: DIR/registry names a registry on loopback that holds the images `busybox`, `debian` (made
# of real packages) and `heavy` (500 MB in five layers). Needs root and Debian's docker-registry, debootstrap,
# busybox-static, umoci, skopeo, and a built kiln. What is there is used again. Its end: kill $(cat DIR/registry.pid)
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
dir=$(realpath -m "${1:?a folder}"); port=${PORT:-5099}; kiln=${KILN:-$here/target/release/kiln}
mkdir -p "$dir"; cd "$dir"
printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/blobs}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$dir" "$port" > registry.yml
if ! { [ -f registry.pid ] && kill -0 "$(cat registry.pid)" 2>/dev/null; }; then
  setsid docker-registry serve registry.yml > registry.log 2>&1 < /dev/null & echo $! > registry.pid
fi
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
echo "localhost:$port" > registry

bash "$here/testdata/debian.sh" "$dir/debian"
skopeo copy -q --dest-tls-verify=false "oci:$dir/debian/layout:latest" "docker://localhost:$port/debian:latest"

# Busybox with its applets, and layers whose bytes compress about as well as programs do.
mkdir -p bases/root/bin bases/root/etc
cp /bin/busybox bases/root/bin/
for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -sf busybox "bases/root/bin/$applet"; done
echo root:x:0:0:root:/root:/bin/sh > bases/root/etc/passwd
printf 'FROM scratch\nCOPY root /\nENV PATH=/bin\nCMD ["sh"]\n' > bases/busybox.Dockerfile
export KILN_ROOT=$dir/setup
"$kiln" build -q -f bases/busybox.Dockerfile -t "localhost:$port/busybox" --push bases
{ echo "FROM localhost:$port/debian"
  for layer in 1 2 3 4 5; do echo "RUN mkdir /layer$layer && for i in 1 2 3 4 5; do cp -r /usr/lib /layer$layer/\$i; echo $layer > /layer$layer/\$i/number; done; head -c 3000000 /dev/urandom > /layer$layer/random"; done
} > bases/heavy.Dockerfile
"$kiln" build -q -f bases/heavy.Dockerfile -t "localhost:$port/heavy" --push bases
rm -rf "$KILN_ROOT"
echo "ready: $dir, localhost:$port"
