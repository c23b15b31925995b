#!/usr/bin/env bash
# Export from PyTorch, Keras and XGBoost in an environment of their own: their wheels are gigabytes, so `make test`
# leaves them out. The second run is quick.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-python3}
VENV=.venv-frameworks

test -x "$VENV/bin/python" || "$PYTHON" -m venv "$VENV"
test -x "$VENV/bin/uv" || "$VENV/bin/pip" install -q -c constraints.txt uv
"$VENV/bin/uv" pip install --python "$VENV/bin/python" -c constraints.txt \
    -e '.[sklearn,lightgbm,xgboost,torch,keras,testing]' pytest-timeout hypothesis

# One thread each: the answers are compared, not the speed.
export MILLRACE_FRAMEWORKS=1 OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
for file in tests/frameworks/test_*.py; do
    # A process each: PyTorch and TensorFlow in one process crash. Their own warnings are not ours to mend.
    "$VENV/bin/python" -m pytest "$file" -W default "$@"
done
