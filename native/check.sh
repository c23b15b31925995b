#!/usr/bin/env bash
# Style, weaknesses and the tests that need neither Python nor a broker. A bare cargo has neither rustfmt nor clippy.
set -euo pipefail
cd "$(dirname "$0")"

if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all --check; fi
if cargo clippy --version >/dev/null 2>&1; then cargo clippy -q --workspace --lib --release --locked -- -D warnings; fi
cargo test -q -p millrace-arrow -p millrace-avro -p millrace-json --release --locked
