#!/bin/bash
# fetch.sh DIR: Debian 12's own kernel and the modules that a build needs, from its package, into DIR. Done once.
set -euo pipefail
dir=$(realpath -m "$1")
[ -e "$dir/vmlinuz" ] && exit 0
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-6\.1\.[^ ]*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "there is no package linux-image-amd64 of Linux 6.1" >&2; exit 1; }
apt-get download -qq "$package" 2>/dev/null
dpkg -x "$package"_*.deb root
busybox depmod -b root "$(ls root/lib/modules)"
mkdir -p "$dir/modules"
cd root/lib/modules
for module in overlay virtio_pci virtio_blk ext4 crc32c_generic crc32c-intel; do
  # A line of modules.dep: a module, and what is loaded before it.
  for file in $(sed -n "s|:||; \|/$module.ko |p; \|/$module.ko\$|p" ./*/modules.dep); do
    mkdir -p "$dir/modules/$(dirname "$file")"
    cp ./*/"$file" "$dir/modules/$file"
  done
done
cp ./*/modules.dep "$dir/modules/"
ls > "$dir/release"
cp "$work"/root/boot/vmlinuz-* "$dir/vmlinuz.new"
mv "$dir/vmlinuz.new" "$dir/vmlinuz"
