import numpy as np

from millrace.process.retraining import OffsetRange
from millrace_trainer.logic.fingerprint import Fingerprint

RANGE = OffsetRange(topic="weather.features", partition=0, first_offset=0, next_offset=6)
NUMBERS = np.arange(6, dtype=np.float32)
TEXTS = ["a", "bc", "", "ü", "d", "e"]


def digest(cuts: list[int], texts: list[str] = TEXTS, ranges: tuple[OffsetRange, ...] = (RANGE,)) -> str:
    fingerprint = Fingerprint(ranges, ["x", "label"])
    for start, stop in zip([0, *cuts], [*cuts, 6], strict=True):
        fingerprint.add("x", NUMBERS[start:stop])
        fingerprint.add("label", texts[start:stop])
    return fingerprint.digest()


def test_how_many_rows_are_read_at_a_time_does_not_matter() -> None:
    assert digest([]) == digest([1]) == digest([2, 3, 5]) == digest([1, 2, 3, 4, 5])


def test_every_value_matters_and_where_one_text_ends() -> None:
    assert digest([], ["ab", "c", "", "ü", "d", "e"]) != digest([])


def test_the_ranges_matter() -> None:
    other = RANGE.model_copy(update={"next_offset": 7})
    assert digest([], ranges=(other,)) != digest([])
