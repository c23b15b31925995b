"""Features from a real online store: fetched, missing, lost with everything, and repeated by an explanation."""

import json

import httpx
from online_stations import enriched, table_of, write_table
from scorer_stream import MakeStream, Stream

from millrace.client.explaining import Verdict, explain
from millrace.core.errors import Reason
from millrace.serving.shelf import Shelf
from millrace.store.local_redis import LocalRedis
from millrace.testing.waiting import eventually


def readiness(s: Stream) -> str:
    """What the scorer says about itself."""
    return httpx.get(f"http://127.0.0.1:{s.settings.health.port}/readyz").text


def carried(a: float, **more: object) -> bytes:
    return json.dumps({"a": a, "b": 0.5, **more}).encode()


def test_a_prediction_is_made_of_both_and_can_be_repeated_after_the_table_has_moved(
    stream: MakeStream, redis: LocalRedis
) -> None:
    s, deployment = enriched(stream(), redis.settings)
    place = write_table(s, redis.settings, {b"oslo": b'{"c": 0.1, "more": 1}', b"rome": b'{"c": -4}'})
    s.send([carried(1), carried(2), carried(3)], keys=[b"oslo", b"nowhere", b"rome"])
    with s.running(deployment):
        s.wait_for(2)
        s.wait_for(1, f"{s.name}.dlq")
    assert [each["enriched"] for each in s.predictions()] == [{"c": 0.1}, {"c": -4.0}]
    assert {len(each["bins"]) for each in s.predictions()} == {3}
    [letter] = s.dead_letters()
    assert letter.reason is Reason.UNENRICHED
    write_table(s, redis.settings, {b"oslo": b'{"c": 99}'}, at=place)
    inputs = s.records(s.source)
    for row in (0, 2):
        explanation = explain(s.broker.kafka, Shelf.of(s.settings), inputs.take(slice(row, row + 1)), deployment)
        assert (explanation.verdict, explanation.remark) == (Verdict.EQUAL, "")
        assert explanation.features is not None
        assert explanation.features["c"] == {0: 0.1, 2: -4}[row]


def test_a_field_may_be_the_key_and_a_default_stand_in(stream: MakeStream, redis: LocalRedis) -> None:
    s, deployment = enriched(stream(), redis.settings, key_field="station", defaults={"c": 7})
    write_table(s, redis.settings, {b"oslo": b'{"c": 1}'})
    s.send([carried(1, station="oslo"), carried(2, station="nowhere"), carried(3)])
    with s.running(deployment):
        s.wait_for(2)
        s.wait_for(1, f"{s.name}.dlq")
    assert [each["enriched"] for each in s.predictions()] == [{"c": 1.0}, {"c": 7.0}]
    assert [letter.reason for letter in s.dead_letters()] == [Reason.MISSING_FIELD]


def test_while_the_store_is_away_or_being_filled_records_wait_and_none_is_lost(
    stream: MakeStream, own_redis: LocalRedis
) -> None:
    s, deployment = enriched(stream(), own_redis.settings)
    write_table(s, own_redis.settings, {b"oslo": b'{"c": 1}'})
    with s.running(deployment):
        s.send([carried(1)], keys=[b"oslo"])
        s.wait_for(1)
        own_redis.kill()
        s.send([carried(2)], keys=[b"oslo"])
        eventually(lambda: "cannot be reached" in readiness(s), what="a scorer that says why it waits")
        own_redis.start()
        eventually(lambda: "has no table" in readiness(s), what="a scorer that waits for the table")
        write_table(s, own_redis.settings, {b"oslo": b'{"c": 5}'})
        s.wait_for(2)
        eventually(lambda: readiness(s) == "ready\n", what="a scorer that is ready again")
    assert [each["enriched"] for each in s.predictions()] == [{"c": 1.0}, {"c": 5.0}]
    assert s.dead_letters() == []


def test_without_an_online_store_the_scorer_says_how_to_get_one(stream: MakeStream) -> None:
    s = stream()
    deployment = s.deployment(enrich=[{"table": table_of(s), "features": ["c"]}])
    refusal = s.refuses(deployment)
    assert "has features from the online store, but none is named" in refusal.message
    assert "millrace up --redis" in refusal.remedy
