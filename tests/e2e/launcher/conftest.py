from collections.abc import Callable

import pytest

DEFAULT_RESTARTS = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--restarts", type=int, default=DEFAULT_RESTARTS, help="how often a node is stopped and started")


@pytest.fixture
def restarts(pytestconfig: pytest.Config) -> int:
    """How often. Without this folder on the command line the option does not exist."""
    found: int = pytestconfig.getoption("--restarts", default=DEFAULT_RESTARTS)
    return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure, whatever pytest captures."""

    def said(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")  # noqa: T201 -- figures are for people

    return said
