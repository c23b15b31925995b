"""Who gets a second chance in `make test`."""

import pytest

from tests.again import MOST, may_be_asked_again

PROCESSES = "tests/integration/lane/test_contract.py::TestShared::test_an_abort"


@pytest.mark.parametrize(
    "test",
    [PROCESSES, "services/scorer/tests/integration/test_x.py::test_y", "tests/acceptance/test_batch.py::test_s18[2]"],
)
def test_a_test_of_processes_is_asked_again(test: str) -> None:
    assert may_be_asked_again([test])


@pytest.mark.parametrize("test", ["tests/unit/lane/test_spec.py::test_x", "tests/property/codec/test_avro.py::test_x"])
def test_what_decides_by_itself_is_not(test: str) -> None:
    assert not may_be_asked_again([PROCESSES, test])


def test_neither_are_many_nor_an_end_without_a_failed_test() -> None:
    assert not may_be_asked_again([f"{PROCESSES}_{n}" for n in range(MOST + 1)])
    assert not may_be_asked_again([])
