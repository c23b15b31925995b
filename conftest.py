"""The kind of a test is the folder that it lies in, and decides what it may use and who runs it."""

from pathlib import Path
from typing import Final

import hypothesis
import pytest

_ROOT: Final = Path(__file__).parent
_KINDS: Final = (
    *("unit", "property", "contract", "simulation", "integration", "e2e"),
    *("frameworks", "engine", "s3", "compose", "containers", "kubernetes", "notebook"),
)
_MARKERS: Final = {**dict(zip(_KINDS, _KINDS, strict=True)), "architecture": "contract", "acceptance": "integration"}

# The machines that run the tests are shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile("shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test of `tests/KIND/` and `services/*/tests/KIND/` with its kind."""
    for item in items:
        folders = item.path.relative_to(_ROOT).parts
        kind = folders[folders.index("tests") + 1]
        if kind not in _MARKERS:
            raise pytest.UsageError(f"{item.path}: {kind!r} is no kind of test; kinds are {', '.join(_MARKERS)}")
        item.add_marker(_MARKERS[kind])
