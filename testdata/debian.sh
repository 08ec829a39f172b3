#!/bin/bash
# Makes an OCI layout of a minimal Debian from real packages: DIR/layout, tag `latest`. Needs root, debootstrap, umoci.
# A finished one is used again.
set -eu
dir=$1; mkdir -p "$dir"
exec 9> "$dir/lock"; flock 9
[ -e "$dir/layout/done" ] && exit 0
rm -rf "$dir/layout" "$dir/rootfs"
mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase bookworm "$dir/rootfs" "${mirror:-http://deb.debian.org/debian}" > "$dir/debootstrap.log" 2>&1
rm -rf "$dir/rootfs/var/cache/apt/archives/"*.deb "$dir/rootfs/var/lib/apt/lists/"*
umoci init --layout "$dir/layout"; umoci new --image "$dir/layout:latest"
umoci insert --image "$dir/layout:latest" "$dir/rootfs" /
umoci config --image "$dir/layout:latest" --config.cmd bash --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
rm -rf "$dir/rootfs"
touch "$dir/layout/done"
