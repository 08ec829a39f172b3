#!/bin/bash
# Fuzzes every target for so many seconds each: `fuzz/run.sh 60 [target...]`. Stable Rust is enough: libFuzzer needs only
# LLVM's coverage instrumentation, which `-C passes` turns on; memory errors are no concern in safe code.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}; shift || true
targets=("$@"); [ ${#targets[@]} -gt 0 ] || targets=(parser expansion ignore mounts config compose bake)
export RUSTFLAGS="-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1"
cargo build --quiet --release --target x86_64-unknown-linux-gnu
for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  mkdir -p "corpus/$target" artifacts
  seeds=(); [ "$target" = parser ] && seeds=(../frontend/testdata/errors)
  [ "$target" = compose ] && seeds=(../testdata/compose)
  target/x86_64-unknown-linux-gnu/release/$target -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -artifact_prefix=artifacts/ -print_final_stats=1 -report_slow_units=100 -verbosity=0 "corpus/$target" "${seeds[@]}" 2>&1 | grep -E 'ERROR|panicked|number_of_executed|new_units|Test unit' || true
  ! ls artifacts/* >/dev/null 2>&1 || { ls artifacts; exit 1; }
done
