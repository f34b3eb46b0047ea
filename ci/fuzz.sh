#!/usr/bin/env bash
# Fuzzes the parsers of the engine (fuzz/, docs/fuzzing.md), target after target, and prints for each
# how many inputs it has had and what they reached. Fails when one found something.
#
#   ci/fuzz.sh [SECONDS] [TARGET...]
#
# SECONDS are for each target, 30 unless told; without targets all of them run. The working corpora
# stay in fuzz/corpus, so that the next run begins where this one ended; what was found lies in
# fuzz/artifacts. cargo-fuzz is installed when it is missing. Linux on x86-64.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=30
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi

# A sanitizer asks for flags that a stable compiler does not take otherwise.
export RUSTC_BOOTSTRAP=1
export CARGO_BUILD_JOBS=${CARGO_BUILD_JOBS:-2}
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

known=$(cargo fuzz list)
read -ra targets <<<"${*:-${known//$'\n'/ }}"
for target in "${targets[@]}"; do
    if ! grep -qx -- "$target" <<<"$known"; then
        echo "there is no target $target, only: ${known//$'\n'/ }" >&2
        exit 2
    fi
done

# The address sanitizer's library comes with rustup's toolchains, and not with every other.
sanitizer=address
if [ -z "$(find "$(rustc --print sysroot)/lib" -name 'librustc*asan*' -print -quit)" ]; then
    echo "there is no address sanitizer: panics and broken promises alone are found"
    sanitizer=none
fi
cargo fuzz build --sanitizer "$sanitizer"

# What targets lay on the disk is in memory, if it can be, and gone in the end.
scratch=$(mktemp -d "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)/castoff-fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

# An input that takes 25 seconds, or two gigabytes, or 256 MiB at once, is a finding. An archive
# has more to say than a line, and unpacks to a thousand times its size.
options() {
    local length=4096
    if [ "$1" = zip ] || [ "$1" = tar ]; then
        length=16384
    fi
    printf '%s\n' -timeout=25 -rss_limit_mb=2048 -malloc_limit_mb=256 -max_len="$length" \
        -max_total_time="$seconds" -print_final_stats=1
    if [ -e "fuzz/dictionaries/$1.dict" ]; then
        printf '%s\n' "-dict=fuzz/dictionaries/$1.dict"
    fi
}

failed=0
rows=()
mkdir -p fuzz/target/logs
for target in "${targets[@]}"; do
    printf '\n==== %s\n' "$target"
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    mapfile -t flags < <(options "$target")
    log=fuzz/target/logs/$target.txt
    result=ok
    cargo fuzz run --sanitizer "$sanitizer" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" \
        -- "${flags[@]}" >"$log" 2>&1 || result=FOUND
    if [ $result = FOUND ]; then
        failed=1
        tail -n 60 "$log"
    fi
    rows+=("$(awk -v target="$target" -v result="$result" '
        # The last line with a status, as in: #123 DONE cov: 45 ft: 67 corp: 8/9b
        / cov: [0-9]+ ft: / {
            for (i = 1; i < NF; i++) {
                if ($i == "cov:") cov = $(i + 1)
                if ($i == "ft:") ft = $(i + 1)
            }
            runs = substr($1, 2)
        }
        /^stat::number_of_executed_units:/ { runs = $2 }
        /^stat::peak_rss_mb:/ { memory = $2 }
        END { printf "%-14s %12s %10s %10s %8s  %s", target, runs, cov, ft, memory, result }
    ' "$log")")
done

printf '\n%-14s %12s %10s %10s %8s  %s\n' target runs coverage features MB result
printf '%s\n' "${rows[@]}"
exit "$failed"
