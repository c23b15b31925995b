#!/usr/bin/env bash
# Kill the judge's shell in Faust again and again, in an environment of its own. The second run is quick to start.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-faust

test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
"$VENV/bin/pip" install -q -r topologies/faust/environment.txt
exec .venv/bin/python -m tests.faust --python "$VENV/bin/python" "$@"
