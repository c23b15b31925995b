"""The import contracts hold, and each of them is shown to fail: a rule that cannot fail proves nothing.

A copy of the packages gets forbidden imports planted; import-linter must name each of them, and the contract it breaks.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

PLANTED: Final = [
    ("millrace/core/records.py", "millrace.telemetry.metrics", "Rooms of millrace stand on each other"),
    ("millrace/process/settings.py", "millrace.kafka.admin", "Rooms of millrace stand on each other"),
    ("millrace/process/clock.py", "millrace.telemetry.logs", "Rooms of millrace stand on each other"),
    ("millrace/core/batching.py", "time", "The core is pure"),
    ("millrace/core/lane.py", "confluent_kafka", "The core is pure"),
    ("millrace/codec/limits.py", "confluent_kafka", "Only millrace.kafka knows a Kafka client"),
    ("millrace_scorer/logic/loop.py", "confluent_kafka", "Only millrace.kafka knows a Kafka client"),
    ("millrace/cli/app.py", "millrace.serving.manifest", "The command line talks through the client"),
    ("millrace_scorer/logic/pending.py", "millrace_scorer.app", "Inside the scorer"),
    ("millrace_launcher/logic/status.py", "millrace_launcher.app", "Inside the launcher"),
    ("millrace_trainer/logic/labels.py", "millrace_trainer.settings", "Inside the trainer"),
    ("millrace_gateway/logic/pending.py", "millrace_gateway.settings", "Inside the gateway"),
    ("millrace_trainer/logic/window.py", "millrace_scorer.logic.ports", "Services never import each other"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, in a folder where they may be spoilt."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "millrace", tmp_path / "millrace", ignore=ignore)
    for service in ROOT.glob("services/*/src/millrace_*"):
        shutil.copytree(service, tmp_path / service.name, ignore=ignore)
    return tmp_path


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


def test_every_forbidden_import_is_found(copy: Path) -> None:
    for file, imported, _ in PLANTED:
        with (copy / file).open("a", encoding="utf-8") as module:
            module.write(f"\nimport {imported}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    for file, imported, contract in PLANTED:
        importer = file.removesuffix(".py").replace("/", ".")
        assert re.search(rf"^{contract}.* BROKEN$", result.stdout, re.MULTILINE), (contract, result.stdout)
        assert re.search(rf"{importer} -> {imported}\b", result.stdout), (importer, imported, result.stdout)
