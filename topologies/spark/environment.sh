# Sourced in the project's root: makes Spark's environment, or brings it up to date, and says where its Python is.
command -v java > /dev/null || { echo "Spark needs Java 17 or 21: apt-get install openjdk-17-jre-headless" >&2; exit 1; }
test -x .venv-spark/bin/python || "${PYTHON:-python3}" -m venv .venv-spark
.venv/bin/uv pip install -q --python .venv-spark/bin/python -r topologies/spark/environment.txt
export MILLRACE_SPARK_PYTHON="$PWD/.venv-spark/bin/python"
