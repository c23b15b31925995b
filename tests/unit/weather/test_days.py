"""The data is what its note says, and records are made of it as their readers expect."""

from datetime import UTC, datetime

import numpy as np
import orjson

from examples.weather.days import Days, damage, day_at, day_of, feature_records, label_records, record_id, time_of

DAYS = Days.load()


def test_the_data_is_what_its_note_says() -> None:
    assert len(DAYS) == 18_159
    assert len(DAYS.names) == 8
    assert np.isfinite(DAYS.measured).all()
    assert set(DAYS.truth().tolist()) == {"dry", "rain"}


def test_a_part_of_the_days_keeps_their_numbers() -> None:
    part = DAYS.between(4_000, 4_010).between(4_003, 9_999)
    assert (part.first, part.end) == (4_003, 4_010)
    assert part.record(4_005) == DAYS.record(4_005)


def test_a_record_holds_the_measurements_to_the_bit() -> None:
    (value,) = feature_records("t", DAYS.between(7, 8)).values
    record = orjson.loads(value or b"")
    assert record["id"] == record_id(7)
    assert np.array([record[name] for name in DAYS.names], np.float32).tolist() == DAYS.measured[7].tolist()


def test_a_label_is_found_by_the_id_and_the_key_of_its_day() -> None:
    features = feature_records("f", DAYS.between(7, 9))
    labels = label_records("l", DAYS.between(7, 9))
    documents = [orjson.loads(value or b"") for value in labels.values]
    assert list(labels.keys) == list(features.keys)
    assert [day_of(document["event_id"]) for document in documents] == [7, 8]
    assert [document["label"] for document in documents] == DAYS.truth()[7:9].tolist()


def test_a_record_has_the_time_of_its_day_and_a_truth_that_of_the_next_one() -> None:
    features, labels = feature_records("f", DAYS.between(7, 9)), label_records("l", DAYS.between(7, 9))
    assert features.timestamps_ms.tolist() == [time_of(7), time_of(8)]
    assert [orjson.loads(value or b"")["label_time"] for value in labels.values] == [time_of(8), time_of(9)]
    assert day_at(datetime(1970, 1, 8, 23, 59, tzinfo=UTC)) == 7


def test_damaged_records_follow_their_days() -> None:
    stream = DAYS.between(4_000, 4_100)
    damaged = damage(stream)
    records = feature_records("t", stream, damaged)
    assert len(records) == 100 + len(damaged)
    assert len({record.day for record in damaged}) == len(damaged) >= 5
    at = list(records.values).index(damaged[0].value)
    assert orjson.loads(records.values[at - 1] or b"")["day"] == damaged[0].day
    assert records.keys[at] == records.keys[at - 1]
