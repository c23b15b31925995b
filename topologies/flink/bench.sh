#!/usr/bin/env bash
# Measure the join of predictions with labels on a Flink in the process of the job; one line of JSON.
set -euo pipefail
cd "$(dirname "$0")/../.."

source topologies/flink/environment.sh
export PYTHONPATH=.:topologies/flink/tests/kit:services/auditor/tests/kit
exec .venv/bin/python topologies/flink/bench.py "$@"
