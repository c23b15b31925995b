"""The examples in the core's docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import millrace.core

MODULES = sorted(found.name for found in pkgutil.walk_packages(millrace.core.__path__, "millrace.core."))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
