import numpy as np
import pytest

from millrace.core.binning import Binner
from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.outputs import Outputs
from millrace.core.profile import SCORE_BINS, CategoryCells, NumericCells, ReferenceProfile, ScoreHistogram
from millrace.core.profiling import build_profile
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task

MIXED = Signature(
    features=(
        Feature("age", DType.INT64),
        Feature("city", DType.STRING),
        Feature("income", nullable=True),
        Feature("embedding", shape=(4,)),
        Feature("member", DType.BOOL),
        Feature("debt", nullable=True),
    ),
    inputs=(
        ModelInput("numbers", ("debt", "income")),
        ModelInput("age", ("age",)),
        ModelInput("city", ("city",)),
        ModelInput("member", ("member",)),
        ModelInput("embedding", ("embedding",)),
    ),
    task=Task.BINARY,
    score_output="scores",
    classes=("no", "yes"),
)


def columns(rows: list[tuple[float, float, int, str | None, bool]]) -> FeatureColumns:
    debt, income, age, city, member = zip(*rows, strict=True)
    return FeatureColumns(
        MIXED,
        (
            np.array([debt, income], np.float32).T.copy(),
            np.array(age, np.int64)[:, None],
            np.array(city, object)[:, None],
            np.array(member)[:, None],
            np.zeros((len(rows), 4), np.float32),
        ),
    )


REFERENCE = columns([(float(i % 2), float(i), 20 + i, "AB"[i % 3 == 0], i % 2 == 0) for i in range(100)])


def test_cells_follow_the_order_of_the_features_and_leave_out_tensors() -> None:
    profile = build_profile(REFERENCE)
    assert [cells.feature for cells in profile.cells] == ["age", "city", "income", "member", "debt"]


def test_each_kind_of_value_has_its_cell() -> None:
    profile = build_profile(REFERENCE)
    nan = float("nan")
    rows = columns(
        [
            (0.0, 0.0, 20, "A", False),
            (1.0, 99.0, 119, "B", True),
            (-0.5, -1.0, 19, None, True),
            (2.0, 99.5, 120, "C", True),
            (nan, nan, 60, "A", True),
            (0.5, float("inf"), 60, "A", True),
            (0.5, float("-inf"), 60, "A", True),
        ]
    )
    # age, city, income, member, debt; A is the more frequent city
    assert Binner(profile, MIXED).strings(rows) == [
        b"21212",
        b"b2b23",
        b"10121",
        b"c4c24",
        b"61020",
        b"61c22",
        b"61122",
    ]


def test_a_feature_of_few_values_has_a_bin_for_each() -> None:
    (debt,) = [cells for cells in build_profile(REFERENCE).cells if cells.feature == "debt"]
    assert debt == NumericCells("debt", lowers=(0.0, 1.0), upper=1.0, counts=(0, 0, 50, 50, 0))


def test_quantile_bins_hold_equal_shares_of_the_reference() -> None:
    (income,) = [cells for cells in build_profile(REFERENCE).cells if cells.feature == "income"]
    assert income.counts == (0, 0, *[10] * 10, 0)


def test_reference_counts_are_those_of_binning_the_reference() -> None:
    profile = build_profile(REFERENCE)
    digits = Binner(profile, MIXED).digits(REFERENCE)
    for position, cells in enumerate(profile.cells):
        assert np.bincount(digits[:, position], minlength=len(cells.counts)).tolist() == list(cells.counts)


def test_integers_beyond_the_precision_of_a_double_keep_their_cells() -> None:
    big = 2**62
    reference = columns([(0.0, 0.0, big + i, "A", True) for i in range(3)])
    profile = build_profile(reference)
    rows = columns([(0.0, 0.0, big + i, "A", True) for i in (-1, 0, 1, 2, 3)])
    assert Binner(ReferenceProfile.from_json(profile.to_json()), MIXED).digits(rows)[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_feature_without_any_reference_value_counts_every_number_as_below() -> None:
    nan = float("nan")
    profile = build_profile(columns([(nan, 1.0, 1, "A", True)]))
    rows = columns([(nan, 1.0, 1, "A", True), (3.0, 1.0, 1, "A", True)])
    assert Binner(profile, MIXED).digits(rows)[:, 4].tolist() == [0, 1]


def test_rare_texts_are_other_and_new_texts_unseen() -> None:
    profile = build_profile(columns([(0.0, 0.0, 1, f"city-{i // 2:02}", True) for i in range(60)]))
    (city,) = [cells for cells in profile.cells if isinstance(cells, CategoryCells) and cells.feature == "city"]
    assert (len(city.top), len(city.others)) == (20, 10)
    rows = columns([(0.0, 0.0, 1, name, True) for name in ("city-00", "city-19", "city-20", "elsewhere")])
    assert Binner(profile, MIXED).strings(rows) == [b"21222", b"2k222", b"2l222", b"2m222"]


def test_json_form_is_stable_and_names_the_profile() -> None:
    outputs = Outputs(np.array([[0.2, 0.8], [0.9, 0.1]] * 50, np.float32), np.array([1, 0] * 50))
    profile = build_profile(REFERENCE, outputs, np.array([1, 0] * 50))
    again = ReferenceProfile.from_json(profile.to_json())
    assert again == profile
    assert again.id == profile.id
    assert profile.id.startswith("sha256:")


def test_scores_are_counted_per_class_and_calibrated() -> None:
    outputs = Outputs(np.array([[0.2, 0.8], [0.9, 0.1]] * 50, np.float32), np.array([1, 0] * 50))
    profile = build_profile(REFERENCE, outputs, np.array([1, 0] * 50))
    assert profile.scores is not None
    assert profile.isotonic is not None
    assert {i: n for i, n in enumerate(profile.scores.counts[1]) if n} == {100: 50, 800: 50}
    assert (profile.isotonic[0], profile.isotonic[799], profile.isotonic[800], profile.isotonic[999]) == (0, 0, 1, 1)


def test_predicted_values_are_counted_between_their_extremes() -> None:
    profile = build_profile(REFERENCE, Outputs(np.linspace(-5, 5, 100, dtype=np.float32), None))
    assert profile.scores is not None
    assert (profile.scores.lower, profile.scores.upper, len(profile.scores.counts)) == (-5.0, 5.0, 1)
    assert sum(profile.scores.counts[0]) == 100


def test_scores_beyond_the_edges_are_in_the_outermost_bins() -> None:
    histogram = ScoreHistogram(0.0, 1.0, ((0,) * SCORE_BINS,))
    assert histogram.bins(np.array([-3, 0, 0.5, 1, 7], np.float32)).tolist() == [0, 0, 500, 999, 999]


def test_no_rows_are_no_reference() -> None:
    with pytest.raises(RequestError, match="needs rows"):
        build_profile(REFERENCE.take(slice(0, 0)))


def test_no_rows_have_no_bins() -> None:
    assert Binner(build_profile(REFERENCE), MIXED).strings(REFERENCE.take(slice(0, 0))) == []


def test_a_profile_of_other_features_is_refused() -> None:
    signature = Signature((Feature("x"),), (ModelInput("x", ("x",)),), Task.REGRESSION, score_output="y")
    with pytest.raises(RequestError, match="different features"):
        Binner(build_profile(REFERENCE), signature)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b'{"rows": 1}',
        b'{"rows":1,"cells":[{"feature":"x","lowers":[2,1],"upper":3,"counts":[0,0,0,0,0]}],"scores":null,"isotonic":null}',
        b'{"rows":1,"cells":[{"feature":"x","lowers":[1],"upper":3,"counts":[0]}],"scores":null,"isotonic":null}',
        b'{"rows":1,"cells":[{"feature":"x","lowers":[1],"upper":null,"counts":[0,0,0,0]}],"scores":null,"isotonic":null}',
        b'{"rows":1,"cells":[{"feature":"x","top":["a"],"others":["a"],"counts":[0,0,0,0]}],"scores":null,"isotonic":null}',
        b'{"rows":1,"cells":[],"scores":{"lower":0,"upper":1,"counts":[[1]]},"isotonic":null}',
    ],
)
def test_what_is_no_profile_is_refused(document: bytes) -> None:
    with pytest.raises(RequestError, match=r"profile|histogram"):
        ReferenceProfile.from_json(document)


def test_a_constant_prediction_has_a_histogram() -> None:
    counts = ((0,) * SCORE_BINS,)
    found = ScoreHistogram(2.5, 2.5, counts).bins(np.array([2.5, 2.0, 1e30, -1e30], np.float32))
    assert found.tolist() == [0, 0, SCORE_BINS - 1, 0]
