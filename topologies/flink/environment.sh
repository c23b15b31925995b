# Sourced in the project's root: makes Flink's environment (about 1 GB), or brings it up to date, and says where it is.
test -x .venv-flink/bin/python || "${PYTHON:-python3}" -m venv .venv-flink
.venv/bin/uv pip install -q --python .venv-flink/bin/python -r topologies/flink/environment.txt
export MILLRACE_FLINK_PYTHON="$PWD/.venv-flink/bin/python"
