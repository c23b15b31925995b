#!/usr/bin/env bash
# The environment of one peer, apart from everything else: `environment.sh quix` makes .venv-peer-quix, or brings it up
# to date.
set -euo pipefail
cd "$(dirname "$0")/../../.."

VENV=.venv-peer-$1
test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
.venv/bin/uv pip install -q --python "$VENV/bin/python" -r "tests/perf/peers/$1/environment.txt"
