#!/usr/bin/env bash
# MLServer in an environment of its own: it pins what millrace does not. The second run does nothing.
set -euo pipefail
cd "$(dirname "$0")/../../.."

PYTHON=${PYTHON:-python3}
VENV=.venv-mlserver

test -x "$VENV/bin/mlserver" && exit
test -x "$VENV/bin/python" || "$PYTHON" -m venv "$VENV"
test -x "$VENV/bin/uv" || "$VENV/bin/pip" install -q -c constraints.txt uv
"$VENV/bin/uv" pip install --python "$VENV/bin/python" 'mlserver>=1.7,<1.8' 'mlserver-sklearn>=1.7,<1.8'
