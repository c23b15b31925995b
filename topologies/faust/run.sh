#!/usr/bin/env bash
# Test what stands on Faust, in an environment of its own. With `experiment` the one with the judge's shell instead, and
# its options after it; it ends with 1 where Faust did anything wrong, which it does.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-faust

test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
.venv/bin/uv pip install -q --python "$VENV/bin/python" -r topologies/faust/environment.txt
export MILLRACE_FAUST_PYTHON="$PWD/$VENV/bin/python"
if test "${1:-}" = experiment; then
    exec .venv/bin/python -m tests.faust --python "$MILLRACE_FAUST_PYTHON" "${@:2}"
fi
exec .venv/bin/python -m pytest topologies/faust/tests "$@"
