#!/usr/bin/env bash
# Run the Flink jobs' tests against a real Flink and a real broker, in an environment of its own (about 1 GB, once).
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-flink

test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
"$VENV/bin/pip" install -q -r topologies/flink/environment.txt
MILLRACE_FLINK_PYTHON="$PWD/$VENV/bin/python" exec .venv/bin/python -m pytest topologies/flink/tests "$@"
