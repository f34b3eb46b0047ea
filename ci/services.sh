#!/usr/bin/env bash
# What the release server, the updater and `castoff publish` do with services that not every machine has:
# PostgreSQL, an S3 store, systemd. On Debian 12, as root for what is to be installed.
#
#   ci/services.sh              everything
#   ci/services.sh install      what the others need
#   ci/services.sh tests        the tests of both crates, over PostgreSQL and S3
#   ci/services.sh kills        the server killed at random moments, on SQLite and on PostgreSQL
#   ci/services.sh describe     the server against its own description
#   ci/services.sh unit         the systemd units: of the server, of the updater, and the examples
#
# The services lie in a temporary folder, on free ports, and end with the script.
set -euo pipefail
cd "$(dirname "$0")/.."

export DEBIAN_FRONTEND=noninteractive
export CARGO_INCREMENTAL=0
export CARGO_TERM_COLOR=never
tools=$PWD/target/tools
bin=
address=
folder=$(mktemp -d)
trap finish EXIT

finish() {
    local running
    if [ -e "$folder/postgres/postmaster.pid" ]; then
        runuser -u postgres -- "$bin/pg_ctl" -D "$folder/postgres" -m immediate stop >/dev/null || true
    fi
    running=$(jobs -p)
    # shellcheck disable=SC2086  # one word a process
    [ -z "$running" ] || kill $running 2>/dev/null || true
    wait
    rm -rf "$folder"
}

install() {
    local wanted=(postgresql systemd) missing=() name
    for name in "${wanted[@]}"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed' ||
            missing+=("$name")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -q
        apt-get install -qy --no-install-recommends "${missing[@]}"
    fi
    # A real S3 implementation, of a version that Rust 1.94 builds.
    [ -x "$tools/bin/s3s-fs" ] ||
        cargo install s3s-fs --locked --version 0.14.1 --features binary --debug --root "$tools"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts PostgreSQL, and says in CASTOFF_TEST_POSTGRES where.
postgres() {
    [ -z "${CASTOFF_TEST_POSTGRES:-}" ] || return 0
    local port
    bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort | tail -1)
    port=$(free_port)
    chmod 755 "$folder"
    mkdir "$folder/postgres"
    chown postgres "$folder/postgres"
    runuser -u postgres -- "$bin/initdb" -D "$folder/postgres" -A trust -E UTF8 >/dev/null
    runuser -u postgres -- "$bin/postgres" -D "$folder/postgres" -h 127.0.0.1 -p "$port" -k '' \
        -c max_connections=400 >"$folder/postgres.log" 2>&1 &
    until runuser -u postgres -- "$bin/psql" -h 127.0.0.1 -p "$port" -c 'SELECT 1' >/dev/null 2>&1; do
        sleep 0.2
    done
    export CASTOFF_TEST_POSTGRES=postgres://postgres@127.0.0.1:$port
}

# Starts the store, and says in CASTOFF_TEST_S3 where; and the same one as everybody may read it, without
# credentials, in CASTOFF_TEST_S3_PUBLIC.
store() {
    [ -z "${CASTOFF_TEST_S3:-}" ] || return 0
    mkdir -p "$folder/s3/castoff-test"
    export AWS_ACCESS_KEY_ID=AKTEST AWS_SECRET_ACCESS_KEY=SKTEST
    store_at --access-key $AWS_ACCESS_KEY_ID --secret-key $AWS_SECRET_ACCESS_KEY
    export CASTOFF_TEST_S3=$address
    store_at
    export CASTOFF_TEST_S3_PUBLIC=$address
}

store_at() {
    local port
    port=$(free_port)
    "$tools/bin/s3s-fs" --host 127.0.0.1 --port "$port" "$@" "$folder/s3" >>"$folder/s3.log" 2>&1 &
    address=http://127.0.0.1:$port
    until curl -s -o /dev/null "$address"; do
        sleep 0.2
    done
}

# One build is for everything, of the whole workspace as `cargo test` has it: most of that is built then.
tests() {
    postgres
    store
    cargo test --locked --workspace --features castoff-cli/postgres,castoff-cli/s3 \
        --test server --test publish
}

# The command with everything in it, as `tests` builds it.
castoff() {
    cargo test --quiet --no-run --locked --workspace --features castoff-cli/postgres,castoff-cli/s3 \
        --test server --test publish >&2
    echo target/debug/castoff
}

kills() {
    postgres
    ci/server-torture.py "$(castoff)" 300
    runuser -u postgres -- createdb -h 127.0.0.1 -p "${CASTOFF_TEST_POSTGRES##*:}" torture
    ci/server-torture.py "$(castoff)" 200 --database "$CASTOFF_TEST_POSTGRES/torture"
}

describe() {
    ci/schemathesis.sh "$(castoff)" 25
}

unit() {
    local unit
    mkdir -p "$folder/units"
    # What a unit starts need not be installed where it is looked at.
    for unit in assets/server/*.service assets/agent/*.service; do
        sed -e 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' -e 's|@FOLDER@|/opt/tope|g' \
            -e 's|@LOGS@|/var/log/castoff|g' "$unit" >"$folder/units/${unit##*/}"
    done
    # As it is written for the second of two services.
    sed -i -e 's|@NAME@|second|g' -e 's|@AFTER@|first.service |' -e 's|@WANTS@|Wants=first.service|' \
        "$folder/units/app.service"
    sed -e 's|second|first|g' -e '/^Wants=/d' -e 's|first.service network|network|' \
        "$folder/units/app.service" >"$folder/units/first.service"
    mv "$folder/units/app.service" "$folder/units/second.service"
    systemd-analyze verify "$folder/units/"*.service
}

if [ $# -eq 0 ]; then
    set -- install tests kills describe unit
fi
for part in "$@"; do
    case $part in
        install | tests | kills | describe | unit) "$part" ;;
        *)
            echo "$0: no such part: $part" >&2
            exit 2
            ;;
    esac
done
