"""What no file of the repository may hold: names of package indexes, paths of one machine, rooms without a name."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
NAMELESS: Final = frozenset({"utils", "util", "common", "helpers", "helper", "misc"})


def joined(*pieces: str) -> str:
    """What must not stand in a file in one piece, not even in this one."""
    return "".join(pieces)


INDEX_HOSTS: Final = re.compile(
    "|".join(
        (
            joined("py", r"pi\.org"),
            joined("python", "hosted"),
            joined("repo", r"1?\.maven"),
            joined("registry", r"\.npmjs"),
            joined("index", "[-_]url"),
        )
    ),
    re.IGNORECASE,
)
MACHINE_PATHS: Final = re.compile(r"""(?:^|[\s"'`=(:,])/(?:work|root|home|Users)/\w""", re.MULTILINE)
PICKLE: Final = re.compile(r"^\s*(?:import|from)\s+(?:pickle|joblib|cloudpickle|dill|shelve|marshal)\b", re.MULTILINE)


def tracked() -> list[Path]:
    """Every file that git knows and that is there, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """The files among these that are text."""
    for path in paths:
        content = (ROOT / path).read_bytes()
        if b"\0" not in content[:8192]:
            yield path, content.decode("utf-8")


def holding(pattern: re.Pattern[str], paths: Iterable[Path]) -> list[str]:
    """Where the pattern is found, as `file:line`."""
    return [
        f"{path}:{text.count(chr(10), 0, found.start()) + 1}: {found.group().strip()}"
        for path, text in texts(paths)
        for found in pattern.finditer(text)
    ]


def nameless(paths: Iterable[Path]) -> list[Path]:
    """Modules and packages whose name says nothing."""
    return [path for path in paths if path.suffix == ".py" and NAMELESS & {*path.parts[:-1], path.stem}]


def sleeping(name: str, code: str) -> list[str]:
    """Where code sleeps; `sleep(0)` is no sleep. A program that a test writes as text may: it is others' time."""
    return [
        f"{name}:{node.lineno}"
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "sleep"
        and not (isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]


def test_no_file_names_a_package_index() -> None:
    assert holding(INDEX_HOSTS, tracked()) == []


def test_no_file_holds_a_path_of_one_machine() -> None:
    assert holding(MACHINE_PATHS, tracked()) == []


def test_every_module_has_a_name_of_its_own() -> None:
    assert nameless(tracked()) == []


def test_nothing_that_ships_unpickles() -> None:
    shipped = [path for path in tracked() if path.suffix == ".py" and "tests" not in path.parts]
    assert holding(PICKLE, shipped) == []


def test_tests_wait_on_conditions_and_never_for_a_time() -> None:
    # Programs run by hand keep a pace, which is what sleeping is for.
    programs = {"perf", "chaos", "audit_figures", "faust"}
    tests = [p for p in tracked() if p.suffix == ".py" and "tests" in p.parts and not programs & set(p.parts)]
    assert [place for path, text in texts(tests) for place in sleeping(str(path), text)] == []


def test_constraints_are_names_with_exact_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.+!]*", line)] == []
    names = [line.partition("==")[0] for line in lines]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (INDEX_HOSTS, joined("https://py", "pi.org/simple")),
        (INDEX_HOSTS, joined("--extra-index", "-url x")),
        (MACHINE_PATHS, joined('open("/ho', 'me/me/x")')),
        (MACHINE_PATHS, joined("see /wo", "rk/main")),
        (PICKLE, joined("    from job", "lib import load")),
    ],
)
def test_what_is_looked_for_is_found(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(MACHINE_PATHS, "https://example.org/home/page"), (MACHINE_PATHS, "schemas/work/x")],
)
def test_what_is_harmless_is_not_found(pattern: re.Pattern[str], text: str) -> None:
    assert not pattern.search(text)


def test_a_sleep_is_found_and_a_word_is_not() -> None:
    assert sleeping("a.py", "import time\nif True:\n    time.sleep(1)") == ["a.py:3"]
    assert sleeping("a.py", "text = 'time.sleep(1)'") == []
    assert sleeping("a.py", "async def turn(): await asyncio.sleep(0)") == []


def test_a_nameless_module_is_found() -> None:
    assert nameless([Path("millrace/core/utils.py"), Path("a/common/b.py"), Path("a/commons.py")]) == [
        Path("millrace/core/utils.py"),
        Path("a/common/b.py"),
    ]
