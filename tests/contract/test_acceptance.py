"""The table of promises names tests that exist, and every test that is named after a row is in it."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "acceptance.md"
FOLDER = ROOT / "tests" / "acceptance"

TEST = re.compile(r"`(?P<file>[\w./-]+\.py)::(?P<name>\w+)`")
ROW = re.compile(r"S\d\d|Y\d")
NAMED_AFTER_A_ROW = re.compile(r"test_(?P<row>s\d\d)_\w+")


@dataclass(frozen=True, slots=True)
class Promise:
    """A line of the table."""

    row: str
    shown: str
    tests: tuple[tuple[str, str], ...]


def read_promises(page: str) -> list[Promise]:
    """The lines of the table on a page."""
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(("| S", "| Y"))]
    return [Promise(row, shown, tuple(TEST.findall(tests))) for row, shown, tests in cells]


def functions_of(file: Path) -> set[str]:
    """The names of all functions in a file; none where there is no such file."""
    if not file.exists():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def faults(promises: list[Promise], root: Path) -> list[str]:
    """What is wrong with a table."""
    found = [f"{each.row}: no row of the specification" for each in promises if not ROW.fullmatch(each.row)]
    found += [f"{each.row}: names no test" for each in promises if not each.tests]
    found += [
        f"{each.row}: there is no {file}::{name}"
        for each in promises
        for file, name in each.tests
        if name not in functions_of(root / file)
    ]
    return found


def test_every_test_that_is_named_exists() -> None:
    assert faults(read_promises(PAGE.read_text()), ROOT) == []


def test_every_test_that_is_named_after_a_row_stands_beside_that_row() -> None:
    listed = {(each.row.lower(), name) for each in read_promises(PAGE.read_text()) for _, name in each.tests}
    written = {
        (match["row"], name)
        for file in FOLDER.glob("test_*.py")
        for name in functions_of(file)
        if (match := NAMED_AFTER_A_ROW.fullmatch(name))
    }
    assert written <= listed


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("| S47 | a swap | `tests/contract/test_acceptance.py::test_of_nothing` |", "there is no"),
        ("| S47 | a swap | `tests/contract/no_such_file.py::test_x` |", "there is no"),
        ("| S47 | a swap | later |", "names no test"),
        ("| S470 | a swap | `tests/contract/test_acceptance.py::faults` |", "no row"),
    ],
)
def test_a_wrong_line_is_found(line: str, fault: str) -> None:
    [found] = faults(read_promises(line), ROOT)
    assert fault in found
