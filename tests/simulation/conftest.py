import pytest

DEFAULT_SEEDS = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=DEFAULT_SEEDS, help="how many schedules to simulate")
    parser.addoption("--seed", type=int, default=None, help="simulate this schedule alone")


@pytest.fixture
def seeds(pytestconfig: pytest.Config) -> range:
    """The seeds of this run. Without this folder on the command line the options do not exist."""
    only: int | None = pytestconfig.getoption("--seed", default=None)
    if only is not None:
        return range(only, only + 1)
    return range(pytestconfig.getoption("--seeds", default=DEFAULT_SEEDS))
