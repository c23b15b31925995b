#!/usr/bin/env bash
# Test the jobs on a real Flink, in an environment of its own (about 1 GB). The second run is quick to start.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-flink

test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
.venv/bin/uv pip install -q --python "$VENV/bin/python" -r topologies/flink/environment.txt
export MILLRACE_FLINK_PYTHON="$PWD/$VENV/bin/python"
exec .venv/bin/python -m pytest topologies/flink/tests --timeout=1800 "$@"
