"""The import contracts hold, and each of them is shown to fail: a rule that cannot fail proves nothing.

A copy of the packages gets one forbidden import planted; import-linter must name the contract that it breaks.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SCORER: Final = Path("services/scorer/src/millrace_scorer")

PLANTED: Final = [
    ("millrace/core/records.py", "import millrace.telemetry.metrics", "Rooms of millrace stand on each other"),
    ("millrace/process/settings.py", "import millrace.kafka", "Rooms of millrace stand on each other"),
    ("millrace/process/clock.py", "import millrace.telemetry.logs", "Rooms of millrace stand on each other"),
    ("millrace/core/batching.py", "import time", "The core is pure"),
    ("millrace/core/lane.py", "import confluent_kafka", "The core is pure"),
    ("millrace/codec/limits.py", "import confluent_kafka", "Only millrace.kafka knows a Kafka client"),
    (f"{SCORER}/logic/loop.py", "import confluent_kafka", "Only millrace.kafka knows a Kafka client"),
    ("millrace/cli/app.py", "import millrace.serving.manifest", "The command line talks through the client"),
    (f"{SCORER}/logic/loop.py", "import millrace_scorer.app", "Inside the scorer"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contracts, in a folder where they may be spoilt."""
    folder = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "millrace", folder / "millrace", ignore=ignore)
    shutil.copytree(ROOT / SCORER, folder / "millrace_scorer", ignore=ignore)
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of a folder, whatever is installed."""
    program = "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_contracts_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED)
def test_a_forbidden_import_is_found(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file.replace(str(SCORER), "millrace_scorer")
    original = path.read_text(encoding="utf-8")
    path.write_text(f"{original}\n{line}\n", encoding="utf-8")
    try:
        result = lint_imports(copy)
    finally:
        path.write_text(original, encoding="utf-8")
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [text for text in result.stdout.splitlines() if text.strip().endswith("BROKEN")]
    assert any(contract in text for text in broken), result.stdout
