#!/usr/bin/env bash
# Looks at a launcher that was built for Windows: ci/windows-exe.sh FILE. Says all that is wrong, and
# fails if anything is. Needs icoutils and binutils for MinGW; OBJDUMP names another objdump.
#
# It has to be the launcher as it is shipped (--profile launcher), with Castoff's own icon.
set -euo pipefail

file=${1:?usage: ci/windows-exe.sh FILE}
objdump=${OBJDUMP:-x86_64-w64-mingw32-objdump}
limit=$((3 * 1024 * 1024))
sizes='16 20 24 32 40 48 64 256'

# Those that Windows 10 and later load from System32 whatever lies beside an executable. One is left
# out when in doubt: to name it in the manifest costs nothing.
known='advapi32 clbcatq combase comdlg32 gdi32 imm32 kernel32 msctf msvcrt normaliz nsi ntdll ole32
    oleaut32 psapi rpcrt4 sechost setupapi shcore shell32 shlwapi user32 wldap32 ws2_32'

failed=0
wrong() {
    echo "$file: $*" >&2
    failed=1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

size=$(stat -c %s "$file")
echo "$file: $size bytes, limit $limit"
[ "$size" -lt "$limit" ] || wrong "too large"

"$objdump" -p "$file" >"$work/headers"

grep -q '^Subsystem.*(Windows GUI)' "$work/headers" ||
    wrong "a console window would open: $(grep '^Subsystem' "$work/headers")"
for flag in DYNAMIC_BASE NX_COMPAT HIGH_ENTROPY_VA; do
    grep -qw "$flag" "$work/headers" || wrong "without $flag"
done
grep -q 'Base Relocation Directory \[.reloc\]' "$work/headers" ||
    wrong "cannot be moved in memory, whatever its flags say"

# Resources: 3 and 14 are icons and their group, 16 the version, 24 the manifest.
wrestool -l "$file" >"$work/resources"
wrestool -x -t14 "$file" >"$work/icon.ico" || true
found=$(icotool -l "$work/icon.ico" | sed -n 's/.*--width=\([0-9]*\).*/\1/p' | sort -nu | xargs)
[ "$found" = "$sizes" ] || wrong "the icon has the sizes '$found', not '$sizes'"

# The version's texts are UTF-16: a name, a zero and padding, a value.
wrestool -x --raw -t16 "$file" | iconv -f UTF-16LE -t UTF-8 -c | tr '\0' '\n' >"$work/version" || true
text() {
    awk -v name="$1" '$0 == name || substr($0, length($0) - length(name) + 1) == name { at = 1; next }
        at && $0 != "" { print; exit }' "$work/version"
}
for name in ProductName FileDescription FileVersion ProductVersion InternalName OriginalFilename \
    LegalCopyright; do
    value=$(text "$name")
    echo "$name: $value"
    [ -n "$value" ] || wrong "no $name in its version"
done
[ "$(text OriginalFilename)" = castoff-launcher.exe ] || wrong "another OriginalFilename"
[ "$(text FileVersion)" = "$(text ProductVersion)" ] || wrong "two versions"

wrestool -x --raw -t24 "$file" >"$work/manifest" || true
while read -r what; do
    grep -qF "$what" "$work/manifest" || wrong "the manifest lacks $what"
done <<'EXPECTED'
level="asInvoker" uiAccess="false"
{35138b9a-5d96-4fbd-8e2d-a2440225f93a}
{4a2f28e3-53b9-4441-ba9c-d69d4a4a6e38}
{1f676c76-80e1-4239-95bb-83d0f6d0da78}
{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}
>UTF-8</activeCodePage>
>true</longPathAware>
>PerMonitorV2, PerMonitor</dpiAwareness>
>true/pm</dpiAware>
name="Microsoft.Windows.Common-Controls" version="6.0.0.0"
EXPECTED

# Every DLL that is loaded before the launcher's first line. An API set is no file; comctl32 comes
# from the assembly that the manifest names.
sed -n 's/.*<v3:file name="\([^"]*\)" loadFrom="%SystemRoot%\\system32\\\1"\/>.*/\1/p' \
    "$work/manifest" >"$work/guarded"
[ "$(wc -l <"$work/guarded")" = "$(grep -c '<v3:file' "$work/manifest")" ] ||
    wrong "the manifest has a file that is not loaded from System32 under its own name"
sed -n 's/^[[:space:]]*DLL Name: //p' "$work/headers" | tr '[:upper:]' '[:lower:]' | sort -u \
    >"$work/imported"
[ -s "$work/imported" ] || wrong "nothing is imported"
while read -r dll; do
    case $dll in
        api-ms-win-*.dll | ext-ms-win-*.dll | comctl32.dll) continue ;;
    esac
    [[ " $(xargs <<<"$known") " == *" ${dll%.dll} "* ]] || grep -qxF "$dll" "$work/guarded" ||
        wrong "imports $dll, which can be planted: put it into assets/windows/castoff.manifest"
done <"$work/imported"

[ "$failed" = 0 ] && echo "$file: as it should be"
exit "$failed"
