"""The public surface is a reviewed list: a new or vanished name is a visible diff of `exported.txt`."""

import importlib
from pathlib import Path
from typing import Final

import pytest

LIST: Final = Path(__file__).with_name("exported.txt")
PACKAGES: Final = ("millrace.client", "millrace.core", "millrace.testing", "millrace.transform")


def exported() -> list[str]:
    return sorted(f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__)


def test_the_exported_names_are_the_reviewed_ones() -> None:
    assert exported() == LIST.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_exists(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert list(module.__all__) == sorted(module.__all__)
