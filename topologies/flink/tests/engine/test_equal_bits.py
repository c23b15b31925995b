"""Ten thousand rows through a transform that learns: by Flink, by a live scorer and by batch the same bits."""

import uuid
from datetime import timedelta
from pathlib import Path

import numpy as np
from flink_jobs import Flink
from flink_streams import send, written_down
from scorer_stream import Stream
from weather_rows import ROWS, SEED, as_json, by_batch, random_rows, weather_bundle

from millrace.codec.dead_letters import read_dead_letter
from millrace.codec.reading import read_prediction
from millrace.core.errors import RequestError
from millrace.process.settings import Settings
from millrace.serving.loading import load
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually


def count(stream: Stream, topic: str) -> int:
    try:
        return len(stream.records(topic))
    except RequestError:  # the scorer has not made the topic yet
        return 0


def answers(stream: Stream, deployment: str) -> dict[int, bytes]:
    """Bits of the answer to each row; the id of a record is its row's number."""
    documents = [read_prediction(value or b"") for value in stream.records(f"{deployment}.predictions").values]
    found = {int(each["event_id"]): np.float32(each["outputs"]["scores"]["yes"]).tobytes() for each in documents}
    assert len(found) == len(documents)
    return found


def refused(stream: Stream, deployment: str) -> list[tuple[int, str, str, str]]:
    """Of each dead letter the row, the stage, the reason and what is wrong."""
    letters = map(read_dead_letter, stream.records(f"{deployment}.dlq").headers)
    return sorted((int(dict(each.headers)["id"] or b""), each.stage, each.reason, each.message) for each in letters)


def test_s44_ten_thousand_rows_have_equal_bits_on_flink(
    broker: Broker, settings: Settings, flink: Flink, tmp_path: Path
) -> None:
    s = Stream(broker, settings, f"f-{uuid.uuid4().hex[:10]}", partitions=4)
    table = random_rows(ROWS, seed=SEED)
    bundle = weather_bundle(tmp_path / "bundle", table, name=s.model)
    with s.registry() as registry:
        registry.push(bundle.directory)
    assert bundle.program is not None
    lost = len(bundle.program.apply(table).refused)
    assert lost
    model = load(bundle)
    expected = by_batch(model, table)
    model.close()
    send(s, as_json(table), headers=[[("id", str(row).encode())] for row in range(ROWS)])
    with s.running(s.deployment(batch={"max_records": 700})):
        eventually(
            lambda: count(s, f"{s.name}.predictions") >= len(expected) and count(s, f"{s.name}.dlq") >= lost,
            within=timedelta(minutes=2),
            what="a prediction or a dead letter of each row",
        )
    twin = f"{s.name}-flink"
    flink.run("score", "--file", written_down(s, twin, tmp_path), "--until-end", "--parallelism", "2")
    assert answers(s, s.name) == expected
    assert answers(s, twin) == expected
    assert len(refused(s, twin)) == lost
    assert refused(s, twin) == refused(s, s.name)
