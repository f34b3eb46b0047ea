#!/usr/bin/env bash
# Builds for Windows and for Linux on ARM64, and runs the tests there: under Wine and under QEMU.
# On Debian 12, as root for what is to be installed.
#
#   ci/cross.sh                    install, windows, arm64
#   ci/cross.sh install            what the others need
#   ci/cross.sh windows            lints, tests, launcher and demo for Windows
#   ci/cross.sh arm64              tests of what depends on the processor for ARM64
#   ci/cross.sh windows-all        and lints of everything, and all tests, those of the release server too
#   ci/cross.sh arm64-all          all tests, the launcher and the demo, which take more than an hour
#
# The standard library of those targets is built from Debian's sources, by Debian's compiler, which
# has them; rustup's is not needed. Everything goes to target/cross. Tests that cannot hold under an
# emulator are ignored in their source, with the reason, and counted.
set -euo pipefail
cd "$(dirname "$0")/.."

export DEBIAN_FRONTEND=noninteractive
export CARGO_INCREMENTAL=0
export CARGO_TERM_COLOR=never
export CARGO_TARGET_DIR=$PWD/target/cross
# Before rustup's, cargo clippy included.
export PATH=/usr/bin:$PATH
export RUSTC=/usr/bin/rustc
# Building the standard library is not stable yet.
export RUSTC_BOOTSTRAP=1
std=-Zbuild-std=std,panic_abort,panic_unwind
counts=$PWD/target/ci
limit=$((3 * 1024 * 1024))
# The tests of one target take 10 to 25 minutes, building included: what takes this long hangs.
patience=40m

install() {
    local wanted=(rustc-web cargo-web rust-web-src rust-web-clippy
        mingw-w64 wine64 wine icoutils xvfb
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static) missing=() name
    for name in "${wanted[@]}"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed' ||
            missing+=("$name")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -q
        apt-get install -qy --no-install-recommends "${missing[@]}"
    fi
    rustc --version
    cargo --version
    wine --version 2>/dev/null || true
    qemu-aarch64-static --version | head -1
}

# cargo_for TARGET COMMAND ...: Debian's cargo, with a standard library of its own making.
cargo_for() {
    local target=$1 command=$2
    shift 2
    cargo "$command" --locked "$std" --target "$target" "$@"
}

# The tests of some packages, but for the examples in the documentation, which are the same on every
# system; what they print is kept for the count.
tests_for() {
    local name=$1 target=$2
    mkdir -p "$counts"
    shift 2
    timeout --verbose --kill-after=1m $patience \
        cargo test --locked "$std" --target "$target" --no-fail-fast "$@" 2>&1 |
        tee "$counts/$name.txt"
}

# Up to three tests that failed are run once more, alone, and it is said: of the thousands of
# processes that the tests start, Wine 8 now and then does not start one (error 1359, internal).
once_more() {
    local name=$1 target=$2 failed
    shift 2
    mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$counts/$name.txt")
    echo "failed, and run once more: ${failed[*]}"
    [ ${#failed[@]} -gt 0 ] && [ ${#failed[@]} -le 3 ] &&
        cargo_for "$target" test --workspace --tests "$@" -- --exact "${failed[@]}"
}

# A client of Windows: a prefix, and a library that Wine 8 lacks and Rust's standard library wants.
wine_prefix() {
    export WINEPREFIX=$PWD/target/wine WINEDEBUG=-all
    local system=$WINEPREFIX/drive_c/windows/system32
    if [ ! -e "$system/bcryptprimitives.dll" ]; then
        rm -rf "$WINEPREFIX"
        mkdir -p "$WINEPREFIX"
        wineboot -i
        wineserver -w
        printf '%s\n' '#include <windows.h>' '#include <ntsecapi.h>' \
            '__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)' \
            '{ return RtlGenRandom(data, (ULONG)length); }' |
            x86_64-w64-mingw32-gcc -shared -O2 -x c - -o "$system/bcryptprimitives.dll" -ladvapi32
    fi
}

for_windows() {
    target=x86_64-pc-windows-gnu
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="--cfg emulated"
    wine_prefix
    # Windows keep away from the screen of whoever works here.
    Xvfb :77 -screen 0 1024x768x24 >/dev/null 2>&1 &
    trap 'kill %1' EXIT
    export DISPLAY=:77
}

# The tests but for some, the launcher as it is shipped, and the demo.
tests_for_windows() {
    tests_for windows "$target" --workspace --tests "$@" -- "${skipped[@]}" ||
        once_more windows "$target" "$@"
    cargo_for "$target" build --profile launcher -p castoff --bin castoff-launcher
    ci/windows-exe.sh "$CARGO_TARGET_DIR/$target/launcher/castoff-launcher.exe"
    # The command as its tests have built it.
    wine "$CARGO_TARGET_DIR/$target/debug/castoff.exe" demo </dev/null
}

# Lints where there is code of Windows' own. Left out of the tests from end to end are those of rules about
# what a server says, of which the system makes no difference.
windows() {
    local target skipped=(--skip attacks:: --skip bad_input:: --skip sources::)
    for_windows
    cargo_for "$target" clippy -p castoff -p castoff-publish -p castoff-testkit -p castoff-windows \
        --all-targets -- -D warnings
    tests_for_windows --exclude castoff-server
}

windows_all() {
    local target skipped=()
    for_windows
    cargo_for "$target" clippy --workspace --all-targets -- -D warnings
    tests_for_windows
}

# Lets the system start programs of ARM64, as the tests do with the launcher.
register_arm64() {
    local folder=/proc/sys/fs/binfmt_misc
    [ -e $folder/register ] || mount -t binfmt_misc none $folder
    [ -e $folder/qemu-aarch64 ] || printf '%s' \
        ':qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:' \
        '\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:' \
        '/usr/bin/qemu-aarch64-static:FC' >$folder/register
}

for_arm64() {
    target=aarch64-unknown-linux-gnu
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="--cfg emulated"
    export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
    # The emulator translates at every start what is run: the less there is, the sooner it is done.
    export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=none
    register_arm64
}

arm64_all() {
    local target size launcher
    for_arm64
    patience=120m
    tests_for arm64 "$target" --workspace --tests
    cargo_for "$target" build --profile launcher -p castoff --bin castoff-launcher
    launcher=$CARGO_TARGET_DIR/$target/launcher/castoff-launcher
    size=$(stat -c %s "$launcher")
    echo "castoff-launcher for ARM64: $size bytes, limit $limit"
    [ "$size" -lt "$limit" ]
    "$CARGO_TARGET_DIR/$target/debug/castoff" demo </dev/null
}

# The engine, the documents, and of the tests from end to end those that install, start and go back. The
# others are of rules, answers and the order of writes, which no processor changes.
arm64() {
    local target packages=(-p castoff -p castoff-publish -p castoff-testkit)
    for_arm64
    cargo_for "$target" test --no-run "${packages[@]}" --lib --test documents --test pack --test e2e
    patience=12m
    unless_stuck arm64 "$target" "${packages[@]}" --lib --test documents --test pack
    unless_stuck arm64-e2e "$target" "${packages[@]}" --test e2e -- \
        archives:: install:: selfupdate:: start:: trial:: --skip uninstall::
    cat "$counts/arm64-e2e.txt" >>"$counts/arm64.txt"
}

# Tests that take 3 minutes at most, and once more where they did not end: of the thousands of processes
# that they start, the emulator now and then does not come back from the fork of one (a lock that another
# thread held then), and whoever started it waits for ever.
unless_stuck() {
    local status=0
    tests_for "$@" || status=$?
    if [ "$status" = 124 ]; then
        echo "the tests did not end within $patience, and are run once more"
        tests_for "$@"
        return
    fi
    return "$status"
}

if [ $# -eq 0 ]; then
    set -- install windows arm64
fi
for part in "$@"; do
    case $part in
        install | windows | windows-all | arm64 | arm64-all) ("${part/-/_}") ;;
        *)
            echo "$0: no such part: $part" >&2
            exit 2
            ;;
    esac
done
