"""New answers beside those that were given."""

from typing import Any

import numpy as np

from millrace.client.comparing import Answers, compare, row_keys
from millrace.client.predictions import Prediction
from millrace.core.outputs import Outputs
from millrace.core.records import Coordinates

CLASSES = ("no", "yes")


def prediction(offset: int, row: int = 0, **answer: Any) -> Prediction:  # noqa: ANN401 -- label, scores or value
    place, source = Coordinates("p", 0, offset), Coordinates("f", 0, offset, row)
    filled = {"label": None, "scores": {}, "value": None, **answer}
    return Prediction(
        place,
        None,
        "e",
        source,
        "d",
        "m",
        1,
        "sha256:0",
        "identity",
        **filled,
        bins="",
        event_time_ms=0,
        scored_at_ms=0,
    )


def outputs(*yes: float) -> Outputs:
    second = np.array(yes, np.float32)
    return Outputs(np.stack((1 - second, second), axis=1), (second > 0.5).astype(np.intp))


def keys(*offsets: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return row_keys(np.array(offsets, np.int64), np.zeros(len(offsets), np.int32))


def test_equal_bits_same_labels_and_differences_are_told_apart() -> None:
    given = Answers.of_predictions(
        [
            prediction(9, label="no", scores={"no": 0.75, "yes": 0.25}),
            prediction(3, label="yes", scores={"no": 0.25, "yes": 0.75}),
            prediction(7, label="yes", scores={"no": 0.25, "yes": 0.75}),
            prediction(3, label="no", scores={"no": 1.0, "yes": 0.0}),  # a later one for the same record
        ],
        CLASSES,
    )
    found = compare(Answers.of_outputs(keys(3, 4, 7, 9), outputs(0.75, 0.5, 1.0, 0.75), CLASSES), given)
    assert found.is_found.tolist() == [True, False, True, True]
    assert found.is_equal.tolist() == [True, False, False, False]
    assert found.is_same.tolist() == [True, False, True, False]
    assert found.difference.tolist()[2:] == [0.25, 0.5]
    assert np.isnan(found.difference[1])


def test_a_value_is_the_same_when_its_bits_are() -> None:
    given = Answers.of_predictions([prediction(1, value=0.1), prediction(2, value=0.2)], ())
    found = compare(Answers.of_outputs(keys(1, 2), Outputs(np.array([0.1, 0.3], np.float32), None), ()), given)
    assert found.is_equal.tolist() == found.is_same.tolist() == [True, False]


def test_rows_of_a_record_have_places_of_their_own_and_nothing_is_compared_with_nothing() -> None:
    given = Answers.of_predictions([prediction(5, 2, value=1.0)], ())
    rows = row_keys(np.array([5, 5, 6]), np.array([0, 2, 0], np.int32))
    new = Answers.of_outputs(rows, Outputs(np.ones(3, np.float32), None), ())
    assert compare(new, given).is_found.tolist() == [False, True, False]
    nothing = Answers.of_predictions([], CLASSES)
    assert not compare(Answers.of_outputs(keys(1), outputs(0.5), CLASSES), nothing).is_found.any()
    assert len(compare(nothing, nothing).place) == 0
