#!/usr/bin/env bash
# Builds the launcher as it is shipped and fails when it has 3 MiB or more.
set -euo pipefail
cd "$(dirname "$0")/.."

limit=$((3 * 1024 * 1024))
cargo build --locked --profile launcher -p castoff --bin castoff-launcher
launcher=${CARGO_TARGET_DIR:-target}/launcher/castoff-launcher
size=$(stat -c %s "$launcher")
echo "castoff-launcher: $size bytes, limit $limit"
if [ "$size" -ge "$limit" ]; then
    echo "the launcher is too large" >&2
    exit 1
fi
