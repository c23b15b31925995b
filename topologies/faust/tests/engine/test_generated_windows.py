"""Windows and streams that nobody has written, in the environment of Faust and in this one: the same rows."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from elsewhere import Elsewhere, elsewhere
from hypothesis import given, settings
from hypothesis import strategies as st
from windowed_stream import WindowedStream


@pytest.fixture(scope="module")
def there() -> Iterator[Elsewhere]:
    with elsewhere(Path(os.environ["MILLRACE_FAUST_PYTHON"]), "windows_elsewhere") as answering:
        yield answering


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_s24_a_generated_stream_gives_equal_rows(there: Elsewhere, seed: int, batch: int) -> None:
    stream = WindowedStream.of(seed, count=400)
    question = {"transform": stream.program.document(), "records": stream.records, "batch": batch}
    assert there.ask(question) == stream.rows(until_end=True)
