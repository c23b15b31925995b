#!/usr/bin/env bash
# Processes of deployments in containers: the contract of runners, and a scorer that is killed. It needs a Docker engine.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v docker > /dev/null && docker info > /dev/null 2>&1 || { echo "no Docker engine answers: start one" >&2; exit 1; }
docker image inspect python:3.11-slim-bookworm > /dev/null 2>&1 || docker pull --quiet python:3.11-slim-bookworm > /dev/null \
    || { echo "no image python:3.11-slim-bookworm: pull it, or give a local image that name" >&2; exit 1; }
docker build --quiet --network "${MILLRACE_BUILD_NETWORK:-default}" --file services/scorer/Dockerfile --tag millrace/scorer:0.1.0 .
MILLRACE_TEST_CONTAINERS=1 exec .venv/bin/python -m pytest tests/containers services/launcher/tests/containers "$@"
