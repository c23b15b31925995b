#!/usr/bin/env bash
# Test the jobs on a real Flink, in an environment of its own. The second run is quick to start.
set -euo pipefail
cd "$(dirname "$0")/../.."

source topologies/flink/environment.sh
exec .venv/bin/python -m pytest topologies/flink/tests --timeout=1800 "$@"
