#!/usr/bin/env bash
# JupyterLab as the launcher starts it: the environment of the project, and JupyterLab on top in one of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-notebook

test -x "$VENV/bin/python" || .venv/bin/python -m venv --without-pip "$VENV"
.venv/bin/uv pip install -q --python "$VENV/bin/python" -c constraints.txt jupyterlab
packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
echo "import site; site.addsitedir('$(packages "$PWD/.venv")')" > "$(packages "$VENV")/project.pth"
exec "$VENV/bin/python" -m pytest tests/notebook "$@"
