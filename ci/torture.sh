#!/usr/bin/env bash
# Kills the launcher, as it is shipped, at random moments, and prints what was found on the disk and
# what the next start made of it. Fails when that is not one version whole.
#
#   ci/torture.sh KILLS [--seed N] [A B]
#
# A and B are two versions of an app, each a folder or a zip. Without them two of 200 files are made
# up. What is printed is the table of docs/reliability.md.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -eq 0 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
target=${CARGO_TARGET_DIR:-target}
cargo build --locked --profile launcher -p castoff --bin castoff-launcher
cargo build --locked -p castoff-testkit --example torture
# On a disk, not in memory; and with the modes that the program expects.
mkdir -p "$target/tmp"
umask 022
TMPDIR=$target/tmp "$target/debug/examples/torture" "$target/launcher/castoff-launcher" "$@"
