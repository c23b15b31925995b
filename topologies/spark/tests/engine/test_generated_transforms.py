"""Transforms that nobody has written, in the environment of Spark and in this one: the same bits."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from elsewhere import Elsewhere, elsewhere
from generated_transforms import generated_transforms, write_case
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_elsewhere import by_table


@pytest.fixture(scope="module")
def there() -> Iterator[Elsewhere]:
    with elsewhere(Path(os.environ["MILLRACE_SPARK_PYTHON"]), "tables_elsewhere") as answering:
        yield answering


@settings(max_examples=40)
@given(generated_transforms(), st.integers(0, 2**32 - 1))
def test_s44_a_generated_transform_gives_equal_bits(there: Elsewhere, document: dict[str, Any], seed: int) -> None:
    with TemporaryDirectory() as folder:
        case = write_case(Path(folder), document, seed)
        here = by_table(Path(case["bundle"]), Path(case["rows"]))
        assert there.ask(case) == here
