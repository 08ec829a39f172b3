#!/bin/bash
# Builds the example with Debian's busybox-static as its only input, and shows what came out.
set -eu
cd "$(dirname "$0")"
kiln=${KILN:-../../target/release/kiln}
cp "$(command -v busybox)" busybox
"$kiln" build -t static-site -o type=oci,dest=static-site.tar .
"$kiln" images
ls -lh static-site.tar
