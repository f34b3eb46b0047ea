#!/usr/bin/env bash
# Installs and updates real packages end to end, and compares every file with what unzip, or tar, makes
# of the same packages. Exits with 1 on any difference. Prints a Markdown table.
#
#   benches/real-input.sh CORPUS [LAUNCHER]
#
# CORPUS is what benches/fetch-corpus.sh made. Without LAUNCHER, it is built as it is shipped.
# Each pair of versions is tried twice: as it came, where files that the new version lacks stay, and
# with a file list, where they go (zips alone).
#
# Needs python3, curl, tar and unzip.
set -euo pipefail
umask 022

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
corpus=$(cd "$1" && pwd)
if [ $# -eq 2 ]; then
    launcher=$(realpath "$2")
else
    (cd "$here/.." && cargo build --locked --profile launcher -p castoff --bin castoff-launcher) >&2
    launcher=${CARGO_TARGET_DIR:-$here/../target}/launcher/castoff-launcher
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/castoff-real.XXXXXX")
served=$work/served
mkdir "$served" "$work/home"
python3 "$here/serve.py" "$served" "$work/port" &
server=$!
trap 'kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do
    [ -e "$work/port" ] && break
    sleep 0.1
done
base=http://127.0.0.1:$(cat "$work/port")

activate() { # file version
    curl -sSf -X POST "$base/set/$1?version=$2" >/dev/null
}

# Real packages have no entry point of an app. The person's own run.sh is it; the preserve list
# keeps it.
place() { # folder
    mkdir -p "$1/client"
    cp "$launcher" "$1/app-launcher"
    printf '#!/bin/sh\necho started\n' >"$1/client/run.sh"
    chmod 755 "$1/client/run.sh"
    cat >"$1/launcher.toml" <<TOML
app = "com.example.real"
name = "Real"
client_dir = "client"
entry_point = "run.sh"
log_dir = "$1/log"

[source]
url = "$base/api/nuitkal_pack/apps/0d87e2f4c1b94a6f8e3d5a7b9c0d1e2f/active/"

[update]
preserve = ["run.sh"]
TOML
}

start() { # folder: the time it took, in ms
    local begun
    begun=$(date +%s%N)
    if ! (cd "$1" && env -i PATH="$PATH" HOME="$work/home" LANG=C.UTF-8 NO_PROXY=127.0.0.1 \
        ./app-launcher </dev/null >"$1/stdout" 2>"$1/stderr"); then
        echo "the launcher failed:" >&2
        cat "$1/stderr" >&2
        return 1
    fi
    if ! grep -qx started "$1/stdout"; then
        echo "run.sh was not started:" >&2
        cat "$1/stderr" >&2
        return 1
    fi
    echo $((($(date +%s%N) - begun) / 1000000))
}

unpack() { # package folder
    case $1 in
        *.tgz) tar xzf "$1" -C "$2" --no-same-permissions ;;
        *) unzip -qo "$1" -d "$2" ;;
    esac
}

faults=0
step() { # label folder expected version zips...
    local label=$1 folder=$2 expected=$3 version=$4 ms=– files=– bytes=– verdict=same compared
    shift 4
    if ! ms=$(start "$folder"); then
        ms=– verdict='**not started**'
    elif ! grep -q "\"version\": *\"$version\"" "$folder/client/local_version.json"; then
        verdict='**not installed**'
    elif compared=$(python3 "$here/compare-trees.py" "$folder/client" "$expected" "$@"); then
        read -r files bytes <<<"$compared"
        bytes=$((bytes / 1000000))
    else
        verdict='**differs**'
    fi
    [ "$verdict" = same ] || faults=$((faults + 1))
    echo "| $label | $files | $bytes | $ms | $verdict |"
}

echo '| package | files | MB | ms | compared with unzip or tar |'
echo '|---|---:|---:|---:|---|'
pairs=0
while IFS=$'\t' read -r name old new old_file new_file; do
    pairs=$((pairs + 1))
    kind=${old_file##*.}
    flavours=(plain)
    [ "$kind" != zip ] || flavours+=(listed)
    for flavour in "${flavours[@]}"; do
        case $flavour in
            plain)
                ln -f "$corpus/$old_file" "$served/old.$kind" 2>/dev/null ||
                    cp "$corpus/$old_file" "$served/old.$kind"
                ln -f "$corpus/$new_file" "$served/new.$kind" 2>/dev/null ||
                    cp "$corpus/$new_file" "$served/new.$kind"
                what="as it came"
                ;;
            listed)
                python3 "$here/filelist.py" "$corpus/$old_file" "$old" "$served/old.$kind"
                python3 "$here/filelist.py" "$corpus/$new_file" "$new" "$served/new.$kind"
                what="with a file list"
                ;;
        esac
        folder=$work/$name-$flavour
        expected=$work/expected
        place "$folder"

        mkdir "$expected"
        unpack "$served/old.$kind" "$expected"
        activate "old.$kind" "$old"
        step "$name $old, $what" "$folder" "$expected" "$old" "$served/old.$kind"

        # A plain zip is laid over the old version; with a file list the new one is all there is.
        laid=("$served/old.$kind" "$served/new.$kind")
        if [ "$flavour" = listed ]; then
            rm -rf "$expected"
            mkdir "$expected"
        fi
        unpack "$served/new.$kind" "$expected"
        activate "new.$kind" "$new"
        step "$name $old → $new, $what" "$folder" "$expected" "$new" "${laid[@]}"
        step "$name $new again, $what" "$folder" "$expected" "$new" "${laid[@]}"
        rm -rf "$folder" "$expected"
    done
done <"$corpus/pairs.tsv"

if [ "$pairs" -eq 0 ]; then
    echo "$0: no pairs in $corpus/pairs.tsv" >&2
    exit 1
fi
if [ "$faults" -gt 0 ]; then
    echo "$0: $faults faults" >&2
    exit 1
fi
