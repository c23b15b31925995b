"""Commands on a real broker: what they print, and how they end."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from millrace.cli.app import run
from millrace.core.records import OutputBatch
from millrace.kafka.broker import LocalBroker
from millrace.kafka.writing import Writer
from millrace.testing.broker import QUICK_JAVA, Broker, temporary_broker
from millrace.testing.plugin import TopicFactory

Capture = pytest.CaptureFixture[str]

PASSWORDS = {
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.client.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        'username="broker" password="b" user_broker="b" user_anna="sesame";'
    ),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No local broker of whoever runs the tests, and room for every line."""
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def at(broker: Broker) -> tuple[str, str]:
    return "--bootstrap", broker.bootstrap


def prediction(offset: int, label: str) -> bytes:
    return json.dumps(
        {
            "event_id": f"e{offset}",
            "source": {"topic": "weather.features", "partition": 0, "offset": offset},
            "deployment": "rain",
            "model": "weather",
            "version": 1,
            "digest": "sha256:ab",
            "transform": "identity",
            "outputs": {"label": label, "scores": {"no": 0.25, "yes": 0.75}},
            "bins": "1",
            "event_time": 1_000,
            "scored_at": 1_010,
        }
    ).encode()


def write(broker: Broker, topic: str, values: list[bytes]) -> None:
    count = len(values)
    with Writer(broker.kafka) as writer:
        times = np.full(count, 1_000, np.int64)
        writer.write(OutputBatch(topic, np.zeros(count, np.int32), times, [b"k"] * count, values))


def test_send_says_what_it_did(at: tuple[str, str], topic: TopicFactory, tmp_path: Path, capsys: Capture) -> None:
    name = topic()
    file = tmp_path / "rows.jsonl"
    file.write_text('{"k":"a"}\n{"k":"b"}\n')
    assert run(["send", name, str(file), "--key", "k", *at]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"sent 2 records (18 B) to {name} in ")
    assert said.err == ""
    assert run(["send", name, str(file), "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 2


def test_send_reads_standard_input(
    at: tuple[str, str], topic: TopicFactory, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = tmp_path / "lines"
    lines.write_text('{"a":1}\n\n{"a":2}\n{"a":3}\n')
    with lines.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run(["send", topic(), "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3


def test_watch_writes_a_line_for_each_prediction_in_a_pipe(
    broker: Broker, at: tuple[str, str], topic: TopicFactory, capsys: Capture
) -> None:
    name = topic("predictions", retention_ms="-1")
    write(broker, name, [prediction(1, "yes"), b"junk", prediction(2, "no")])
    assert run(["watch", name, "--since", "earliest", "--until-now", *at]) == 0
    said = capsys.readouterr()
    documents = [json.loads(line) for line in said.out.splitlines()]
    assert [document["outputs"]["label"] for document in documents] == ["yes", "no"]
    assert documents[0]["at"] == f"{name}-0-0"
    assert f"{name}-0-1 is no prediction" in said.err


def test_watch_stops_after_as_many_as_wanted(
    broker: Broker, at: tuple[str, str], topic: TopicFactory, capsys: Capture
) -> None:
    name = topic("predictions", retention_ms="-1")
    write(broker, name, [prediction(number, "yes") for number in range(10)])
    assert run(["watch", name, "--since", "earliest", "--max", "3", *at]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_empty_queue_of_dead_letters(at: tuple[str, str], topic: TopicFactory, capsys: Capture) -> None:
    name = topic("dlq")
    assert run(["dlq", "show", name, *at]) == 0
    assert capsys.readouterr().out == "no dead letters\n"
    assert run(["dlq", "show", name, "--json", *at]) == 0
    assert capsys.readouterr().out == ""
    assert run(["dlq", "replay", name, *at]) == 0
    assert capsys.readouterr().out == "sent 0 records back\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("send", "no-such-stream", "rows.csv"), "there is no topic 'no-such-stream'"),
        (("watch", "no-such-deployment"), "there is no topic 'no-such-deployment.predictions'"),
        (("dlq", "show", "no-such-deployment"), "there is no topic 'no-such-deployment.dlq'"),
        (("explain", "no-such-topic-0-1"), "there is no topic 'no-such-topic'"),
        (("explain", "nonsense"), "'nonsense' does not name a record"),
        (("watch", "rain", "--since", "once"), "'once' is no place to begin"),
        (("send", "any", "rows.csv", "--as", "avro"), "Avro values need a schema and its id"),
        (("model", "show", "no-such-model"), "there is no model 'no-such-model'"),
        (("model", "push", "no-such-folder"), "no-such-folder"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_in_two_lines(
    command: tuple[str, ...], words: str, at: tuple[str, str], capsys: Capture
) -> None:
    assert run([*command, *at]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    error, remedy = said.err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert remedy.startswith("remedy: ")


@pytest.mark.parametrize(
    "command", [("watch", "rain"), ("send", "weather", "-"), ("model", "list"), ("dlq", "show", "rain")]
)
def test_a_broker_that_is_away_is_said_so(command: tuple[str, ...], capsys: Capture) -> None:
    assert run([*command, "--bootstrap", "127.0.0.1:1"]) == 1
    error, remedy = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in error
    assert "MILLRACE_KAFKA__BOOTSTRAP" in remedy


def test_the_doctor_finds_the_broker_well(at: tuple[str, str], capsys: Capture) -> None:
    assert run(["doctor", "--json", *at]) == 0
    checks = {check["name"]: check for check in map(json.loads, capsys.readouterr().out.splitlines())}
    assert checks["broker"]["state"] == "ok"
    assert "consumer" in checks["group protocols"]["found"]
    assert all(check["remedy"] or check["state"] == "ok" for check in checks.values())


def test_the_doctor_without_a_broker_is_an_error(capsys: Capture) -> None:
    assert run(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "✗ broker" in said
    assert "remedy: run `millrace up`" in said


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker that asks its clients for a password."""
    local = LocalBroker(tmp_path_factory.mktemp("guarded"), java=QUICK_JAVA, properties=PASSWORDS)
    with temporary_broker(local) as running:
        yield running


@pytest.mark.parametrize(
    "command",
    [("watch", "rain"), ("send", "weather", "-"), ("model", "list"), ("dlq", "show", "rain"), ("doctor", "--json")],
    ids=" ".join,
)
def test_refused_credentials_are_said_with_the_remedy(
    command: tuple[str, ...], guarded: LocalBroker, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "BOOTSTRAP": guarded.bootstrap,
        "SECURITY_PROTOCOL": "sasl_plaintext",
        "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": "anna",
        "SASL_PASSWORD": "guess",
    }.items():
        monkeypatch.setenv(f"MILLRACE_KAFKA__{name}", value)
    assert run(list(command)) == 1
    said = capsys.readouterr()
    assert "the broker refused the credentials" in said.out + said.err
    assert "SASL_PASSWORD" in said.out + said.err
    assert "guess" not in said.out + said.err
