#!/bin/bash
# boot.sh KERNEL KILN CONTEXT SCRIPT: boots the kernel of `fetch.sh` with a disk, kiln and a context in /context, runs SCRIPT there as
# root and prints what it says. The processor is emulated.
set -euo pipefail
kernel=$1 kiln=$2 context=$3 script=$4
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp,run,etc,disk,root,usr/bin,home/user,lib/modules,var/tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$kiln" "$root/bin/kiln"
for program in setpriv newuidmap newgidmap; do cp -p "$(command -v $program)" "$root/usr/bin/"; done
for program in "$root/bin/kiln" "$root"/usr/bin/*; do
  for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library"
  done
done
cp -r "$context" "$root/context"
cp "$script" "$root/script"
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' > "$root/etc/group"
echo user:100000:65536 | tee "$root/etc/subuid" > "$root/etc/subgid"
cat > "$root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
# Everything is root's, whoever made the disk: newuidmap is of no use otherwise.
chown -R 0:0 /bin /etc /usr /context; chmod 4755 /usr/bin/newuidmap /usr/bin/newgidmap
chmod 755 / /home /home/user; chmod 1777 /disk /tmp; chown 1000:1000 /home/user
ip link set lo up
sh /script 2>&1
echo "CODE $?"
poweroff -f
END
chmod 755 "$root/init"
# A container's root can't be one that the kernel unpacked: the disk is.
truncate -s 1G "$work/disk"; mkfs.ext4 -q -F -d "$root" "$work/disk"
first=$work/first
mkdir -p "$first"/{bin,dev,proc,disk,lib/modules}
cp "$(command -v busybox)" "$first/bin/busybox"
cp -r "$kernel/modules" "$first/lib/modules/$(cat "$kernel/release")"
cat > "$first/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev
for module in overlay virtio_pci virtio_blk crc32c_generic crc32c-intel ext4; do modprobe $module 2>/dev/null; done
for try in $(seq 50); do [ -b /dev/vda ] && break; sleep 0.1; done
mount -t ext4 /dev/vda /disk || echo "NO DISK"
umount /dev /proc
exec switch_root /disk /init
END
chmod 755 "$first/init"
(cd "$first" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 > "$work/initrd"
timeout -k 5 240 qemu-system-x86_64 -accel tcg,thread=multi -m 1024 -smp 2 -nodefaults -no-user-config -display none -no-reboot \
  -serial stdio -kernel "$kernel/vmlinuz" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1 no_timer_check" \
  -drive "file=$work/disk,format=raw,if=virtio" </dev/null | tr -d '\r'
