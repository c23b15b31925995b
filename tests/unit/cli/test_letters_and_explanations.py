"""How dead letters, explanations and models look, at a fixed width."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from millrace.cli.dead_letters import letter_rows, replay_line
from millrace.cli.doctor import check_line, verdict
from millrace.cli.explain import explanation_view
from millrace.cli.models import versions_table
from millrace.cli.output import listing
from millrace.client import Answer, Check, DeadLetter, Explanation, ModelVersion, Prediction, Replayed, State, Verdict
from millrace.codec.dead_letters import Circumstances
from millrace.codec.dead_letters import DeadLetter as Story
from millrace.core.errors import Reason
from millrace.core.records import Coordinates
from millrace.core.signature import Task
from millrace.serving.catalogue import VersionEntry
from millrace.serving.manifest import BaselineMetric, RuntimeKind
from millrace.testing.records import record_batch

SOURCE = Coordinates("weather.features", 0, 7)


def shown(what: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def letter(value: bytes | None) -> DeadLetter:
    where = Circumstances("rain", "weather/1", "scorer-rain")
    story = Story(
        SOURCE, Reason.MISSING_FIELD, "field 'wind' is absent", "decode", "InvalidRecordError", where, 5, 1, ()
    )
    return DeadLetter(Coordinates("rain.dlq", 0, 3), b"k", value, (), 5, story)


def explanation(**parts: object) -> Explanation:
    record = record_batch([b'{"wind":1.5}'], topic=SOURCE.topic, first_offset=7, keys=[b"omaha"])
    return Explanation(SOURCE, record, **parts)  # type: ignore[arg-type]


PREDICTION = Prediction(
    at=Coordinates("rain.predictions", 0, 9),
    key=b"omaha",
    event_id="e1",
    source=SOURCE,
    deployment="rain",
    model="weather",
    version=3,
    digest="sha256:" + "ab" * 32,
    transform="identity",
    label="yes",
    scores={"no": 0.25, "yes": 0.75},
    value=None,
    bins="5",
    event_time_ms=1_000,
    scored_at_ms=1_042,
)


def test_a_dead_letter_is_a_line() -> None:
    rows = list(letter_rows([letter(value).document() for value in (b'{"rain": 1}', None, b"\xff")]))
    table = listing(("source", "reason", "why", "value", "replays"), rows, whole=("source", "reason"))
    lines = shown(table, 100)
    assert lines[1].split("  ") == [
        *("weather.features-0-7", "missing_field", "field 'wind' is absent", '{"rain": 1}', "1")
    ]
    assert "(none)" in lines[2]
    assert "\\xff" in lines[3]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_columns_that_must_be_whole_are_not_shortened(width: int) -> None:
    rows = list(letter_rows([letter(b"x" * 200).document()]))
    lines = shown(listing(("source", "reason", "why", "value", "replays"), rows, whole=("source", "reason")), width)
    assert len(lines) == 2
    assert "weather.features-0-7  missing_field" in lines[1]
    assert len(lines[1]) <= width


@pytest.mark.parametrize(
    ("replayed", "line"),
    [
        (Replayed(), "sent 0 records back"),
        (Replayed(3, 1, 2, 1), "sent 3 records back, 1 refused by the loop guard, 2 passed over, 1 unreadable"),
    ],
)
def test_a_replay_is_a_line(replayed: Replayed, line: str) -> None:
    assert replay_line(replayed) == line


def test_an_explanation_compares_what_was_predicted_with_what_is_answered_now() -> None:
    answer = Answer("yes", {"no": 0.25, "yes": 0.75}, None, "5")
    parts = {"prediction": PREDICTION, "answer": answer, "features": {"wind": 1.5}}
    lines = shown(explanation_view(explanation(verdict=Verdict.EQUAL, **parts)))
    assert "record    weather.features-0-7" in lines
    assert "features  wind=1.5" in lines
    assert "model       weather/3  abababababab" in lines
    assert "latency     0.042 s from the record's timestamp to its scoring" in lines
    assert ["score", "yes", "0.75", "0.75"] in [line.split() for line in lines]
    assert lines[-1] == "weather.features-0-7 scored again: equal to the last bit"


def test_an_explanation_of_a_dead_letter_says_why() -> None:
    dead = explanation(
        verdict=Verdict.DEAD_LETTER, remark="missing_field: field 'wind' is absent", dead_letter=letter(b"")
    )
    assert shown(explanation_view(dead))[-2:] == [
        "weather.features-0-7 could not be scored; it is a dead letter",
        "missing_field: field 'wind' is absent",
    ]


def test_every_verdict_has_words() -> None:
    for each in Verdict:
        assert shown(explanation_view(explanation(verdict=each)))[-1].startswith("weather.features-0-7 ")


def test_versions_are_a_line_each() -> None:
    time = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)
    entry = VersionEntry(
        name="weather",
        version=3,
        digest="sha256:" + "ab" * 32,
        runtime=RuntimeKind.ONNX,
        task=Task.BINARY,
        features=8,
        metrics=(BaselineMetric(name="accuracy", value=0.8067, lower=0.78, upper=0.83, rows=1_500),),
        profile="sha256:" + "cd" * 32,
        bytes=253_200,
        created_at=time,
        pushed_at=time,
    )
    lines = shown(versions_table([ModelVersion(entry, ("champion",))]))
    assert lines[0].split() == ["version", "aliases", "task", "baseline", "pushed", "(UTC)"]
    assert lines[1] == "weather/3  champion  binary  accuracy 0.807  2026-11-23 01:30"


def test_a_finding_has_its_remedy_below_it() -> None:
    lines = shown(check_line(Check("disk", State.WARNING, "1 GB free", "make room")))
    assert lines == ["! disk            1 GB free", "                  remedy: make room"]
    assert shown(check_line(Check("disk", State.OK, "9 GB free"))) == ["✓ disk            9 GB free"]
    assert [shown(verdict(state))[-1] for state in State] == [
        "all is well",
        "it works; see the warnings",
        "something does not work; see the errors",
    ]
