#!/bin/bash
# A static busybox for arm64 from Debian's packages, as FOLDER/busybox: programs of another architecture for the tests.
# Keeps apt's lists of that architecture to itself, so that the machine's own set-up stays as it is.
set -euo pipefail
folder=$1
[ ! -e "$folder/busybox" ] || exit 0
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
cd "$folder"
options=(-qq -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache" -o APT::Architectures::=arm64 -o APT::Sandbox::User="")
apt-get "${options[@]}" update
apt-get "${options[@]}" download busybox-static:arm64
dpkg-deb -x busybox-static_*_arm64.deb tree
mv tree/bin/busybox busybox
rm -rf lists cache tree ./*.deb
