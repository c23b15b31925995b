"""The alert rules, as Prometheus' own tool reads and tests them."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

PROMTOOL: Final = shutil.which("promtool")
if PROMTOOL is None:
    pytest.skip("promtool is not installed: apt-get install prometheus", allow_module_level=True)

FOLDER: Final = Path(__file__).parents[2] / "compose" / "observability" / "prometheus"
RULES: Final = Path("rules", "millrace.yml")
TESTS: Final = Path("tests", "millrace.yml")


def promtool(*arguments: str | Path, folder: Path = FOLDER) -> "subprocess.CompletedProcess[str]":
    """Run it in a folder."""
    command = [str(PROMTOOL), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", RULES),
        ("test", "rules", TESTS),
        # Where the key lies is another machine's matter.
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=["rules", "their tests", "configuration"],
)
def test_promtool_finds_nothing(arguments: tuple[str | Path, ...]) -> None:
    run = promtool(*arguments)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_rule_that_says_something_else_is_found(tmp_path: Path) -> None:
    for file in (RULES, TESTS):
        (tmp_path / file).parent.mkdir()
        text = (FOLDER / file).read_text()
        (tmp_path / file).write_text(
            text.replace("millrace_scorer_ready_state == 0", "millrace_scorer_ready_state == 1")
        )
    run = promtool("test", "rules", TESTS, folder=tmp_path)
    assert run.returncode != 0
    assert "MillraceScorerNotReady" in run.stdout + run.stderr
