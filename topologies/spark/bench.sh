#!/usr/bin/env bash
# Measure the batch job on a Spark cluster of two workers; one line of JSON. Paths are those of the caller.
#   bash topologies/spark/bench.sh --input DIR --model BUNDLE --output DIR
set -euo pipefail
CALLER=$PWD
cd "$(dirname "$0")/../.."

source topologies/spark/environment.sh
PYTHON=$PWD/.venv/bin/python
BENCH=$PWD/topologies/spark/bench.py
cd "$CALLER"
exec "$PYTHON" "$BENCH" "$@"
