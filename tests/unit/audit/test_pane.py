"""What a pane counts, and that its arithmetic is exact."""

import json

import numpy as np
import pytest

from millrace.core.audit.columns import LabelledColumns
from millrace.core.audit.fixed import FRACTION_BITS, as_float, natural_log, sum_by_group
from millrace.core.audit.layout import DELAYS, Layout
from millrace.core.audit.pane import UNREADABLE, Pane, count_labels, count_predictions, read_digits
from millrace.core.errors import RequestError
from millrace.core.profile import CategoryCells, NumericCells
from millrace.core.signature import Task

INCOME = NumericCells("income", (0.0, 1.0), 2.0, (0, 0, 5, 5, 0))
CITY = CategoryCells("city", ("a", "b"), (), (0, 4, 6, 0, 0))
BINARY = Layout(Task.BINARY, ("no", "yes"), (INCOME, CITY))


def labelled(
    labels: list[float], scores: list[float], signs: list[int] | None = None, delays: list[int] | None = None
) -> LabelledColumns:
    count = len(labels)
    return LabelledColumns(
        np.array(signs or [1] * count, np.int64),
        (np.array(scores) > 0.5).astype(np.int64),
        np.array(labels, np.float64),
        np.array(scores, np.float64).reshape(count, 1),
        np.array(delays or [0] * count, np.int64),
        np.ones(count),
    )


def one_group(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.zeros(count, np.intp)


def test_the_logarithm_is_that_of_numpy_to_the_last_bits() -> None:
    x = np.geomspace(2.0**-52, 1.0 - 2.0**-52, 10_001)
    assert np.allclose(natural_log(x), np.log(x), rtol=5e-16, atol=5e-16)


def test_sums_are_exact_after_one_rounding() -> None:
    values = np.random.default_rng(1).normal(0, 1e4, 5000)
    groups = np.arange(5000) % 3
    sums = sum_by_group(values, np.ones(5000, np.int64), groups, 3)
    for group in range(3):
        exact = sum(round(abs(v) * 2**FRACTION_BITS) * (1 if v > 0 else -1) for v in values[groups == group].tolist())
        assert sums[group] == exact
        assert as_float(sums[group]) == pytest.approx(values[groups == group].sum(), abs=1e-6)


def test_digits_are_read_and_other_characters_are_not() -> None:
    digits = read_digits([b"0a", b"z1", b"?1", b"1", b"123"], 2)
    assert digits.tolist() == [[0, 10], [35, 1], [UNREADABLE, 1], [UNREADABLE] * 2, [UNREADABLE] * 2]


def test_predictions_fall_into_their_cells() -> None:
    bins = [b"21", b"32", b"00", b"99", b"1"]
    scores = np.array([[0.0], [0.4995], [0.9999], [1.0], [0.5]])
    [pane] = count_predictions(BINARY, scores, read_digits(bins, 2), one_group(5), 1)
    assert (pane.count("predictions"), pane.count("unreadable_bins")) == (5, 2)
    assert pane.feature(0).tolist() == [1, 0, 1, 1, 0]
    assert pane.feature(1).tolist() == [1, 1, 1, 0, 0]
    assert {int(b): int(n) for b, n in enumerate(pane.section("scores")[0]) if n} == {0: 1, 499: 1, 500: 1, 999: 2}


def test_groups_are_counted_apart() -> None:
    groups = np.array([1, 0, 1])
    first, second = count_predictions(BINARY, np.full((3, 1), 0.5), read_digits([b"21"] * 3, 2), groups, 2)
    assert (first.count("predictions"), second.count("predictions")) == (1, 2)


def test_what_is_taken_back_leaves_nothing() -> None:
    labels, scores = [1.0, 0.0, 1.0, 5.0], [0.3, 0.1, 0.97, 0.2]
    [pane] = count_labels(BINARY, labelled(labels * 2, scores * 2, [1] * 4 + [-1] * 4), one_group(8), 1)
    assert not pane.counts.any()
    assert not any(pane.sums)


def test_a_label_that_is_no_class_is_counted_apart() -> None:
    [pane] = count_labels(BINARY, labelled([1.0, -1.0, 2.0, 0.5], [0.6] * 4), one_group(4), 1)
    assert (pane.count("labelled"), pane.count("unknown_labels")) == (1, 3)


def test_an_error_beyond_the_sums_is_clipped_and_counted() -> None:
    layout = Layout(Task.REGRESSION)
    [pane] = count_labels(layout, labelled([0.0, 1e30], [1.0, 0.0]), one_group(2), 1)
    assert pane.count("saturated") == 1
    assert pane.count("labelled") == 2


def test_delays_are_counted_on_a_logarithmic_scale() -> None:
    [pane] = count_labels(BINARY, labelled([1.0] * 3, [0.6] * 3, delays=[0, 1000, 1001]), one_group(3), 1)
    cells = np.flatnonzero(pane.section("delays"))
    assert cells[0] == 0
    assert DELAYS.lower_edges()[cells[1]] <= 1000 < DELAYS.lower_edges()[cells[1] + 1]


@pytest.mark.parametrize("value", [1e-9, 0.5, 1.0, 3.99, 4.0, 1e9, 1e300])
def test_every_value_is_in_the_cell_of_its_edges(value: float) -> None:
    edges = DELAYS.lower_edges()
    cell = int(DELAYS.cell(np.array([value]))[0])
    assert edges[cell] <= value or cell == 0
    assert cell == DELAYS.cells - 1 or value < edges[cell + 1]


def test_json_comes_back_and_does_not_depend_on_order() -> None:
    [a] = count_labels(BINARY, labelled([1.0, 0.0], [0.3, 0.4]), one_group(2), 1)
    [b] = count_labels(BINARY, labelled([1.0], [0.9]), one_group(1), 1)
    assert (a + b).to_json() == (b + a).to_json()
    assert Pane.from_json((a + b).to_json(), BINARY).to_json() == (a + b).to_json()
    assert (a + b - b).to_json() == a.to_json()


def test_panes_of_other_layouts_are_refused() -> None:
    other = Layout(Task.BINARY, ("no", "yes"))
    with pytest.raises(RequestError, match="cannot be added"):
        Pane.empty(BINARY) + Pane.empty(other)
    with pytest.raises(RequestError, match="counted by layout"):
        Pane.from_json(Pane.empty(other).to_json(), BINARY)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"layout":1}', json.dumps({"layout": BINARY.id}).encode()])
def test_what_is_no_pane_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError):
        Pane.from_json(data, BINARY)
