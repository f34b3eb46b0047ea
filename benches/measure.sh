#!/usr/bin/env bash
# Measures the launcher and prints the tables of BENCHMARKS.md.
#
#   benches/measure.sh [--launcher FILE] [--quick] [--big]
#
# Builds the launcher as it is shipped and the synthetic packages, then runs measure.py for packages
# without and with a file list. --quick: two rounds, to see that everything works. --big: the peak
# memory with a package of 1 GB as well; needs 30 GB of disk.
#
# Needs python3, curl, unzip and time(1). nginx serves when it is there; it need not be.
set -euo pipefail
cd "$(dirname "$0")/.."

launcher=
rounds=9
starts=20
big=()
while [ $# -gt 0 ]; do
    case $1 in
        --launcher) launcher=$2; shift ;;
        --quick) rounds=2; starts=5 ;;
        --big) big=(--big) ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done

for tool in python3 curl unzip sha256sum /usr/bin/time; do
    if ! command -v "$tool" >/dev/null; then
        echo "$0: $tool is missing" >&2
        exit 1
    fi
done

if [ -z "$launcher" ]; then
    cargo build --locked --profile launcher -p castoff --bin castoff-launcher >&2
    launcher=${CARGO_TARGET_DIR:-target}/launcher/castoff-launcher
fi

packages=target/bench-packages
if [ ! -e "$packages/v2-listed.zip" ] ||
    { [ ${#big[@]} -gt 0 ] && [ ! -e "$packages/big.zip" ]; }; then
    python3 benches/make-package.py "$packages" "${big[@]}" >&2
fi

for flavour in listed plain; do
    echo "### Package: $flavour"
    echo
    python3 benches/measure.py "$launcher" --rounds "$rounds" --starts "$starts" \
        --packages "$packages" --flavour "$flavour" "${big[@]}" \
        --json "target/measure-$flavour.json"
    echo
    big=() # once is enough
done
