#!/usr/bin/env bash
# Batch scoring and copying on a real S3 server, versitygw, which Go builds once.
set -euo pipefail
cd "$(dirname "$0")/../.."

VERSION=v1.8.0
TOOLS=$PWD/.millrace/versitygw-$VERSION

command -v go > /dev/null || { echo "versitygw needs Go 1.25 or newer to be built" >&2; exit 1; }
test -x "$TOOLS/bin/versitygw" || GOPATH="$TOOLS" GOFLAGS=-modcacherw go install "github.com/versity/versitygw/cmd/versitygw@$VERSION"
MILLRACE_VERSITYGW="$TOOLS/bin/versitygw" exec .venv/bin/python -m pytest tests/s3 "$@"
