"""A range of a topic is scored again with any version, and compared with what was predicted then."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scorer_stream import Stream

from millrace.cli.app import run
from millrace.client.replaying import RangeOptions, RangeReplayed, replay
from millrace.core.errors import RequestError
from millrace.process.clock import SystemClock
from millrace.process.settings import Settings
from millrace.testing.broker import Broker

ROWS = 300
BEGIN_MS = SystemClock().wall_ms() - 3_600_000  # records of long ago would soon be deleted


@pytest.fixture
def scored(broker: Broker, tmp_path: Path) -> Stream:
    """A stream that version 1 has scored; version 2 answers otherwise."""
    stream = Stream(broker, Settings(home=tmp_path / "home"), f"s-{uuid.uuid4().hex[:10]}", 2)
    stream.push(tmp_path / "one")
    values = np.random.default_rng(3).normal(size=(ROWS, 3)).astype(np.float32)
    rows = [json.dumps(dict(zip("abc", map(float, row), strict=True))).encode() for row in values]
    with stream.running():
        for start in range(0, ROWS, 100):
            stream.send(rows[start : start + 100], at_ms=BEGIN_MS + start * 1_000)
        stream.send([b'{"a": 1}'], at_ms=BEGIN_MS + ROWS * 1_000)
        stream.wait_for(ROWS)
        stream.wait_for(1, f"{stream.name}.dlq")
    assert stream.push(tmp_path / "two", weights=(1, -1, 0.25)) == 2
    return stream


def again(stream: Stream, options: RangeOptions, what: str | None = None) -> tuple[RangeReplayed, list[int]]:
    told: list[int] = []
    with stream.registry() as registry:
        replayed = replay(
            stream.broker.kafka,
            registry,
            what or stream.name,
            options,
            on_planned=told.append,
            on_records=told.append,
        )
    return replayed, told


def document(stream: Stream, folder: Path) -> Path:
    path = folder / "deployment.json"
    path.write_text(json.dumps(stream.deployment().document()))
    return path


def test_the_same_version_gives_equal_bits_and_another_one_differences(scored: Stream, tmp_path: Path) -> None:
    at, output = document(scored, tmp_path), tmp_path / "again.parquet"
    same, told = again(scored, RangeOptions(f"{scored.model}/1", document=at))
    assert (same.records, same.rows, same.compared, same.equal, same.same) == (ROWS + 1, ROWS, ROWS, ROWS, ROWS)
    assert dict(same.refused) == {"missing_field": 1}
    assert told[-1] == ROWS + 1
    other, _ = again(scored, RangeOptions(f"{scored.model}/2", document=at, output=output))
    assert (other.compared, other.rows) == (ROWS, ROWS)
    assert other.equal < other.same < ROWS
    table = pq.read_table(output)
    given = {(each["source"]["partition"], each["source"]["offset"]): each for each in scored.predictions()}
    for row in table.to_pylist():
        was = given[row["partition"], row["offset"]]["outputs"]
        assert (row["given_label"], np.float32(row["given_score_yes"])) == (
            was["label"],
            np.float32(was["scores"]["yes"]),
        )
        assert row["equal"] == (np.float32(row["score_yes"]) == np.float32(was["scores"]["yes"]))
    greatest = max(abs(row["score_yes"] - row["given_score_yes"]) for row in table.to_pylist())
    assert other.largest_difference == pytest.approx(greatest)


def test_the_range_is_exact_and_a_topic_is_compared_with_nothing(scored: Stream, tmp_path: Path) -> None:
    begin, end = (datetime.fromtimestamp((BEGIN_MS + at) / 1000, UTC) for at in (100_000, 200_000))
    found, told = again(scored, RangeOptions(scored.model, begin, end, document(scored, tmp_path)))
    assert (found.records, found.compared, told[0]) == (100, 100, 100)
    assert [(each.partition, each.first_offset, each.next_offset) for each in found.ranges] == [
        (0, 50, 100),
        (1, 50, 100),
    ]
    with pytest.raises(RequestError, match="the end of the range is before its begin"):
        again(scored, RangeOptions(scored.model, end, begin, document(scored, tmp_path)))
    nothing, _ = again(scored, RangeOptions(f"{scored.model}/2"), what=scored.source)
    assert (nothing.rows, nothing.compared) == (ROWS, 0)


def test_the_command_tells_ranges_shares_and_what_is_wrong(
    scored: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(scored.settings.home))
    at = str(document(scored, tmp_path))
    command = ["replay", scored.name, "--file", at, "--bootstrap", scored.broker.kafka.bootstrap]
    assert run([*command, "--model", f"{scored.model}/1"]) == 0
    said = capsys.readouterr().out
    assert f"{scored.source}-1: 0 to 150" in said
    assert f"{ROWS + 1} records: {ROWS} rows scored; refused: 1 missing_field" in said
    assert f"{ROWS} of {ROWS} predictions (100.00%) are equal to the last bit" in said
    assert run([*command, "--model", f"{scored.model}/2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["compared"], found["largest_difference"] > 0) == (ROWS, True)
    output = tmp_path / "rows.csv"
    output.write_text("mine")
    assert run([*command, "--model", scored.model, "--output", str(output)]) == 1
    assert "rows.csv exists" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert run(["replay", "nobody", "--model", scored.model, "--bootstrap", scored.broker.kafka.bootstrap]) == 1
    assert "there is no deployment 'nobody'" in capsys.readouterr().err
