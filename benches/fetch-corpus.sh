#!/usr/bin/env bash
# Fetches real packages, two successive versions of each, for benches/real-input.sh.
#
#   benches/fetch-corpus.sh OUT
#
# Wheels are zips already and are kept as they are. npm packages are tar.gz, and are kept so and as
# zips, the way the Python packager makes them. What comes is checked against benches/corpus.sha256, so that
# two runs measure the same bytes. OUT/pairs.tsv says what is there: name, old version, new version,
# old file, new file.
#
# Needs python3 with pip, npm, and about 400 MB. Files that are there already are not fetched again.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 OUT" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
raw=$out/raw
mkdir -p "$raw"

# kind  package  older version  newer version
corpus='
pip  ruff                0.17.4  0.17.5
pip  pyside6-essentials  6.11.2  6.11.3
npm  typescript          5.9.2   5.9.3
npm  date-fns            4.3.0   4.4.0
'

fetch_pip() { # package version folder
    # Fixed platform and Python, so that every machine gets the same file.
    python3 -m pip download --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: --implementation cp --python-version 3.11 \
        --abi cp311 --abi abi3 --abi none \
        --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        --dest "$3" "$1==$2"
}

fetch_npm() { # package version folder
    (cd "$3" && npm pack --silent --ignore-scripts "$1@$2" >/dev/null)
}

fetched() { # folder: the one file in it
    find "$1" -maxdepth 1 -type f \( -name '*.whl' -o -name '*.tgz' \) -print -quit
}

: >"$out/pairs.tsv.new"
while read -r kind package old new; do
    [ -n "$kind" ] || continue
    for version in "$old" "$new"; do
        folder=$raw/$package-$version
        mkdir -p "$folder"
        if [ -z "$(fetched "$folder")" ]; then
            echo "fetching $package $version" >&2
            "fetch_$kind" "$package" "$version" "$folder"
        fi
        file=$(fetched "$folder")
        name=$(basename "$file")
        want=$(awk -v name="$name" '$2 == name { print $1 }' "$here/corpus.sha256")
        got=$(sha256sum "$file" | cut -d' ' -f1)
        if [ -z "$want" ]; then
            echo "$name is not in corpus.sha256; it has $got" >&2
            exit 1
        elif [ "$want" != "$got" ]; then
            echo "$name has SHA-256 $got, expected $want" >&2
            exit 1
        fi
        zip=$out/$package-$version.zip
        if [ ! -e "$zip" ]; then
            case $kind in
                pip) ln "$file" "$zip" 2>/dev/null || cp "$file" "$zip" ;;
                npm) python3 "$here/tgz-to-zip.py" "$file" "$zip" ;;
            esac
        fi
        if [ "$kind" = npm ]; then
            ln -f "$file" "$out/$package-$version.tgz" 2>/dev/null ||
                cp "$file" "$out/$package-$version.tgz"
        fi
    done
    printf '%s\t%s\t%s\t%s\t%s\n' "$package" "$old" "$new" \
        "$package-$old.zip" "$package-$new.zip" >>"$out/pairs.tsv.new"
    if [ "$kind" = npm ]; then
        printf '%s\t%s\t%s\t%s\t%s\n' "$package.tgz" "$old" "$new" \
            "$package-$old.tgz" "$package-$new.tgz" >>"$out/pairs.tsv.new"
    fi
done <<<"$corpus"
mv "$out/pairs.tsv.new" "$out/pairs.tsv"

while IFS=$'\t' read -r package old new old_file new_file; do
    [[ $old_file == *.zip ]] || continue
    python3 - "$package" "$old" "$new" "$out/$old_file" "$out/$new_file" <<'PYTHON'
import sys, zipfile
name, old, new, *files = sys.argv[1:]
a, b = (
    {e.filename: (e.CRC, e.file_size) for e in zipfile.ZipFile(f).infolist() if not e.is_dir()}
    for f in files
)
changed = sum(1 for path in b if path in a and a[path] != b[path])
print(f"{name} {old} -> {new}: {len(b):,} files, {sum(s for _, s in b.values()) / 1e6:,.1f} MB;"
      f" {changed:,} changed, {len(b.keys() - a.keys()):,} new, {len(a.keys() - b.keys()):,} gone")
PYTHON
done <"$out/pairs.tsv"
