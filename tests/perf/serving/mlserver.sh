#!/usr/bin/env bash
# MLServer in an environment of its own: it pins what millrace does not. The second run does nothing.
set -euo pipefail
cd "$(dirname "$0")/../../.."

PYTHON=${PYTHON:-python3}
VENV=.venv-mlserver
# Its workers ask for an event loop where there is none yet, which uvloop from 0.22 on refuses as Python 3.14 does.
WANTED=('mlserver>=1.7,<1.8' 'mlserver-sklearn>=1.7,<1.8' 'uvloop<0.22')

test "$(cat "$VENV/wanted" 2>/dev/null)" = "${WANTED[*]}" && exit
test -x "$VENV/bin/pip" || "$PYTHON" -m venv "$VENV"
test -x "$VENV/bin/uv" || "$VENV/bin/pip" install -q -c constraints.txt uv
"$VENV/bin/uv" pip install --python "$VENV/bin/python" "${WANTED[@]}"
echo "${WANTED[*]}" >"$VENV/wanted"
