import numpy as np
import pytest

from millrace.client.deployments import guess_deployment
from millrace.client.explaining import Answer
from millrace.client.predictions import Prediction
from millrace.core.errors import RequestError
from millrace.core.records import Coordinates

SOURCE = Coordinates("weather.features", 0, 7)


def prediction(label: str | None, scores: dict[str, float], value: float | None, bins: str = "1a") -> Prediction:
    return Prediction(
        at=Coordinates("rain.predictions", 0, 9),
        key=None,
        event_id="e1",
        source=SOURCE,
        deployment="rain",
        model="weather",
        version=1,
        digest="sha256:ab",
        transform="identity",
        label=label,
        scores=scores,
        value=value,
        bins=bins,
        event_time_ms=0,
        scored_at_ms=0,
    )


def test_equal_means_the_same_float_however_it_is_written() -> None:
    third = np.float32(1) / np.float32(3)
    answer = Answer("yes", {"no": float(third), "yes": 0.5}, None, "1a")
    assert answer.equals(prediction("yes", {"no": 0.33333334, "yes": 0.5}, None))
    assert not answer.equals(prediction("yes", {"no": 0.33333337, "yes": 0.5}, None))
    assert Answer(None, {}, 1.5, "").equals(prediction(None, {}, 1.5, ""))


@pytest.mark.parametrize(
    "other",
    [
        prediction("no", {"no": 0.5, "yes": 0.5}, None),
        prediction("yes", {"no": 0.5}, None),
        prediction("yes", {"no": 0.5, "yes": 0.5}, None, bins="1b"),
        prediction("yes", {"no": 0.5, "yes": 0.5}, 1.0),
    ],
)
def test_everything_in_the_answer_counts(other: Prediction) -> None:
    assert not Answer("yes", {"no": 0.5, "yes": 0.5}, None, "1a").equals(other)


def test_the_sign_of_zero_counts() -> None:
    assert not Answer(None, {}, -0.0, "").equals(prediction(None, {}, 0.0, ""))


def test_the_deployment_is_guessed_when_only_one_can_be_meant() -> None:
    assert guess_deployment(frozenset({"rain.predictions", "weather.features"}), SOURCE) == "rain"
    assert guess_deployment(frozenset({"a.predictions", "weather.predictions"}), SOURCE) == "weather"


def test_a_guess_between_several_is_refused() -> None:
    with pytest.raises(RequestError, match="several deployments have predictions: rain, snow") as refused:
        guess_deployment(frozenset({"rain.predictions", "snow.predictions"}), SOURCE)
    assert "--deployment" in refused.value.remedy
    with pytest.raises(RequestError, match="no deployment has written predictions here"):
        guess_deployment(frozenset({"weather.features"}), SOURCE)
