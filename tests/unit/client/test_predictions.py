from datetime import timedelta

import pytest

from millrace.client.predictions import Prediction, parse_predictions, predictions_topic
from millrace.core.errors import InvalidRecordError
from millrace.core.records import Coordinates
from millrace.testing.records import record_batch

CLASSIFIED = (
    b'{"event_id":"e1","source":{"topic":"weather.features","partition":2,"offset":17,"row":3},"deployment":"rain",'
    b'"model":"weather","version":4,"digest":"sha256:ab","transform":"identity","outputs":{"label":"yes",'
    b'"scores":{"no":0.25,"yes":0.75}},"bins":"1a","event_time":1000,"scored_at":1040,"degraded":true}'
)
VALUED = (
    b'{"event_id":"e2","source":{"topic":"weather.features","partition":2,"offset":18},"deployment":"rain",'
    b'"model":"weather","version":4,"digest":"sha256:ab","transform":"identity","outputs":{"value":1.5},'
    b'"bins":"","event_time":1000,"scored_at":1001}'
)


def parse(*values: bytes) -> list[Prediction]:
    keys = [b"omaha"] * len(values)
    return parse_predictions(record_batch(list(values), topic="rain.predictions", partition=2, keys=keys))


def test_a_classification() -> None:
    [prediction] = parse(CLASSIFIED)
    assert prediction.at == Coordinates("rain.predictions", 2, 0)
    assert prediction.source == Coordinates("weather.features", 2, 17, 3)
    assert (prediction.label, prediction.scores, prediction.value) == ("yes", {"no": 0.25, "yes": 0.75}, None)
    assert prediction.latency == timedelta(milliseconds=40)
    assert prediction.degraded


def test_a_regression() -> None:
    [prediction] = parse(VALUED)
    assert (prediction.label, dict(prediction.scores), prediction.value) == (None, {}, 1.5)
    assert not prediction.degraded


def test_the_document_is_what_the_topic_has_and_where_it_lies() -> None:
    [one, other] = parse(CLASSIFIED, VALUED)
    document = one.document()
    assert document.pop("at") == "rain.predictions-2-0"
    assert document.pop("key") == "omaha"
    assert document["source"] == {"topic": "weather.features", "partition": 2, "offset": 17, "row": 3}
    assert document["outputs"] == {"label": "yes", "scores": {"no": 0.25, "yes": 0.75}}
    assert document["degraded"] is True
    assert other.document()["outputs"] == {"value": 1.5}
    assert "degraded" not in other.document()


def test_what_is_no_prediction_is_told_and_passed_over() -> None:
    told: list[Coordinates] = []
    batch = record_batch([b"junk", VALUED, b"{}"], topic="rain.predictions")
    found = parse_predictions(batch, lambda at, _: told.append(at))
    assert [prediction.event_id for prediction in found] == ["e2"]
    assert told == [Coordinates("rain.predictions", 0, 0), Coordinates("rain.predictions", 0, 2)]


def test_what_is_no_prediction_is_raised_when_nobody_is_to_be_told() -> None:
    with pytest.raises(InvalidRecordError):
        parse_predictions(record_batch([b"junk"]))


def test_a_deployment_means_its_predictions() -> None:
    assert predictions_topic("rain") == "rain.predictions"
    assert predictions_topic("rain.predictions") == "rain.predictions"
    assert predictions_topic("rain.shadows") == "rain.shadows"
