#!/usr/bin/env bash
# Asks a release server for what its own description (openapi.json) allows, and for what it does not, and
# wants no server error, and no answer that is not described.
#
#   ci/schemathesis.sh CASTOFF [EXAMPLES]     the command, and so many for each address, 50 unless told
#
# Schemathesis comes from PyPI, into target/schemathesis.
set -euo pipefail
cd "$(dirname "$0")/.."

castoff=${1:?the command is missing}
examples=${2:-50}
python=target/schemathesis/bin/python
if [ ! -x "$python" ]; then
    python3 -m venv target/schemathesis
    "$python" -m pip install --quiet --disable-pip-version-check schemathesis
fi
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT

"$castoff" serve --data "$folder" token add tester --role admin >"$folder/token"
"$castoff" serve --data "$folder" app add org.example.app >/dev/null
"$castoff" serve --data "$folder" --listen 127.0.0.1:0 2>"$folder/log" &
until address=$(sed -n 's/^Listening on //p' "$folder/log") && [ -n "$address" ]; do
    sleep 0.1
done
SCHEMATHESIS_HOOKS=ci.schemathesis_hooks PYTHONPATH=. target/schemathesis/bin/schemathesis run "$address/openapi.json" \
    --header "Authorization: Bearer $(cat "$folder/token")" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --max-examples "$examples" --workers 2 --generation-deterministic --no-color ||
    {
        grep -v ' request client' "$folder/log" | tail -50
        exit 1
    }
