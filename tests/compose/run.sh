#!/usr/bin/env bash
# Builds all images, tells the weather story on three brokers in containers, then starts the stack from nothing, with volumes
# of its own, and tests it. It needs a Docker engine. With arguments for pytest the story is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v docker > /dev/null && docker info > /dev/null 2>&1 \
    || { echo "no Docker engine answers: start one, or set DOCKER_HOST" >&2; exit 1; }
docker compose version > /dev/null 2>&1 || { echo "docker has no compose: install its plugin, v2.24 or newer" >&2; exit 1; }

for image in python:3.11-slim-bookworm apache/kafka:4.3.1 redis:7-bookworm haproxy:2.6 prom/prometheus:v2.42.0; do
    docker image inspect "$image" > /dev/null 2>&1 || docker pull --quiet "$image" > /dev/null 2>&1 \
        || { echo "no image $image: pull it, or give a local image that name (compose/README.md)" >&2; exit 1; }
done
make images
(($#)) || make compose-demo
MILLRACE_COMPOSE=1 exec .venv/bin/python -m pytest --timeout=1800 tests/compose "$@"
