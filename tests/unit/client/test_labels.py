import pytest

from millrace.client.labels import Label, LabelOperation, to_records
from millrace.codec.reading import read_label
from millrace.core.errors import RequestError
from millrace.core.records import Coordinates
from millrace.kafka.writing import BY_KEY

SOURCE = Coordinates("weather.features", 2, 17)


def test_a_label_writes_what_differs_from_the_defaults() -> None:
    assert Label("e1", "yes", 5).document() == {"event_id": "e1", "label": "yes", "label_time": 5}
    full = Label("e1", 1, 5, revision=2, source=SOURCE, weight=0.5)
    assert full.document() == {
        "event_id": "e1",
        "label": 1,
        "label_time": 5,
        "revision": 2,
        "source": "weather.features-2-17",
        "weight": 0.5,
    }


def test_labels_are_read_back_by_the_contract() -> None:
    labels = [
        Label("e1", "yes", 5, key=b"k", source=SOURCE),
        Label("e2", 1.5, 6, key=b"k", revision=3),
        Label("e3", None, 7, key=b"k", operation=LabelOperation.RETRACT),
    ]
    values = to_records("weather.labels", labels, partitions=4).values
    assert [dict(read_label(value)) for value in values] == [label.document() for label in labels]


def test_a_label_goes_to_the_partition_of_its_event() -> None:
    labels = [
        Label("e1", 1, 5, key=b"k"),
        Label("e2", 1, 5, key=b"k", source=SOURCE),
        Label("weather.features-1-3", 1, 5),
    ]
    batch = to_records("weather.labels", labels, partitions=4)
    assert batch.partitions.tolist() == [BY_KEY, 2, 1]
    assert list(batch.keys) == [b"k", b"k", None]


def test_a_label_that_belongs_nowhere_is_refused() -> None:
    with pytest.raises(RequestError, match="nothing tells the partition of the label for event 'e1'"):
        to_records("weather.labels", [Label("e1", 1, 5)], partitions=4)
    with pytest.raises(RequestError, match="a partition that the labels topic does not have"):
        to_records("weather.labels", [Label("e1", 1, 5, source=SOURCE)], partitions=2)


def test_a_label_without_a_label_can_only_retract() -> None:
    with pytest.raises(RequestError, match="the label of event 'e1' says nothing"):
        Label("e1", None, 5)
