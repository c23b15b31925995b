#!/usr/bin/env bash
# Test the jobs on a real Spark, in an environment of its own. The second run is quick to start.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-spark

command -v java > /dev/null || { echo "Spark needs Java 17 or 21: apt-get install openjdk-17-jre-headless" >&2; exit 1; }
test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
.venv/bin/uv pip install -q --python "$VENV/bin/python" -r topologies/spark/environment.txt
export MILLRACE_SPARK_PYTHON="$PWD/$VENV/bin/python"
exec .venv/bin/python -m pytest topologies/spark/tests --timeout=600 "$@"
