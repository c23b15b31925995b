"""What every daemon holds from its start on."""

import subprocess
import sys


def test_a_daemon_and_its_pages_load_no_runtime_of_models() -> None:
    script = (
        "import millrace_launcher.app, sys; print(*sorted({'onnx', 'onnxruntime', 'matplotlib'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert said.split() == [], "each costs every node some 50 MB"
