#!/usr/bin/env bash
# What stands on Faust, in an environment of its own: the features' test, then the experiment with the judge's shell.
# With --features only the first, which takes half a minute.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-faust

test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
.venv/bin/uv pip install -q --python "$VENV/bin/python" -r topologies/faust/environment.txt
MILLRACE_FAUST_PYTHON="$PWD/$VENV/bin/python" .venv/bin/python -m pytest topologies/faust/tests
test "${1:-}" = --features || exec .venv/bin/python -m tests.faust --python "$VENV/bin/python" "$@"
