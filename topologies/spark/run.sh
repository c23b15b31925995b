#!/usr/bin/env bash
# Test the jobs on a real Spark, in an environment of its own. The second run is quick to start.
set -euo pipefail
cd "$(dirname "$0")/../.."

source topologies/spark/environment.sh
exec .venv/bin/python -m pytest topologies/spark/tests --timeout=600 "$@"
