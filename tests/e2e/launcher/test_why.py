"""Eight faults, planted in real processes: the first line of `why` names each, and `--plan` those it can know."""

import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_stage import PATIENCE, Stage, stage

from millrace.client import ControlClient
from millrace.core.errors import MillraceError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually

TOPIC = "rain.features"
MARK = uuid.uuid4().hex[:6]
GOOD, POISON = b'{"a": 1, "b": 0.5, "c": -1}', b'{"a": "wet", "b": 0.5, "c": -1}'

Document = dict[str, Any]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody else listens."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield int(somebody.getsockname()[1])


@pytest.fixture
def node(own_broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_port: int) -> Iterator[Stage]:
    """A node, a topic, and a model."""
    monkeypatch.setenv("MILLRACE_GATEWAY__REST__PORT", str(taken_port))
    monkeypatch.setenv("MILLRACE_GATEWAY__GRPC__PORT", "0")
    Admin(own_broker.kafka).ensure_topics([TopicSpec(TOPIC, 1)])
    home = tmp_path / "home"
    with Registry(own_broker.kafka, Shelf.of(Settings(home=home)), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name="rain-model").directory)
    with stage(own_broker, home) as made:
        made.start("a")
        yield made


def document(name: str, *, source: Mapping[str, Any] | None = None, **sections: Any) -> Document:  # noqa: ANN401 -- JSON
    return {
        "deployment": f"{name}-{MARK}",
        "source": {"topic": TOPIC, **(source or {})},
        "model": "rain-model",
        "group": {"session_timeout_ms": 3000},
        **sections,
    }


def send(broker: LocalBroker, *values: bytes) -> None:
    count = len(values)
    stamps = np.full(count, time.time_ns() // 1_000_000, np.int64)
    with Writer(broker.kafka) as writer:
        writer.write(OutputBatch(TOPIC, np.zeros(count, np.int32), stamps, [None] * count, list(values)))
        writer.flush()


def cause(control: ControlClient, wanted: Document) -> str:
    """The first line about a deployment."""
    return control.why(wanted["deployment"])[0]


def await_cause(control: ControlClient, wanted: Document, *words: str) -> str:
    """Wait until the first line about a deployment has all these words."""
    said: list[str] = []

    def names_it() -> bool:
        with suppress(MillraceError):
            said.append(cause(control, wanted))
            return all(word in said[-1] for word in words)
        return False

    try:
        eventually(names_it, within=PATIENCE, what=f"the cause {words}")
    except AssertionError:
        pytest.fail(f"{words} is not the first line, but {said[-1:]}")
    return said[-1]


def faults(control: ControlClient, wanted: Document) -> list[str]:
    found: list[str] = control.plan(wanted["deployment"], wanted)["faults"]
    return found


def known_beforehand(control: ControlClient, wanted: Document, *words: str) -> None:
    """`--plan` refuses, and the process that is started all the same fails with the same words."""
    [fault] = faults(control, wanted)
    assert all(word in fault for word in words)
    control.put(wanted["deployment"], wanted)
    assert fault in await_cause(control, wanted, *words)
    control.delete(wanted["deployment"])


def seen_when_it_fails(control: ControlClient, wanted: Document, *words: str) -> None:
    assert faults(control, wanted) == []
    control.put(wanted["deployment"], wanted)
    await_cause(control, wanted, *words)
    control.delete(wanted["deployment"])


def count(broker: LocalBroker, topic: str) -> int:
    with suppress(MillraceError), Reader(broker.kafka, topic) as reader:
        return sum(map(len, reader))
    return 0


def test_s36_s37_the_first_line_names_the_planted_cause(node: Stage, tmp_path: Path, taken_port: int) -> None:
    broken = tmp_path / "broken.avsc"
    broken.write_text('{"type": "record", "name": "day"', encoding="utf-8")
    absent = tmp_path / "absent.yaml"
    broker = node.broker
    assert isinstance(broker, LocalBroker)
    with node.control() as control:
        # Known beforehand: in the same words.
        known_beforehand(control, document("size", scale={"cores": 500}), "no node fits", "a has", "needed 500")
        known_beforehand(control, document("path", scale={"scorers": 0, "training": str(absent)}), str(absent))
        avro = {"format": "avro", "schemas": {"1": str(broken)}}
        known_beforehand(control, document("schema", source=avro), "schema 1 in", "broken.avsc")

        # Seen when it happens.
        seen_when_it_fails(control, document("memory", scale={"memory_mb": 64}), "out of memory: used", "of 64 MiB")
        door = document("door", scale={"scorers": 0, "gateways": 1})
        seen_when_it_fails(control, door, f":{taken_port}", "in use")

        # A record that cannot be scored: the processes are all well.
        rain = document("rain")
        control.put(rain["deployment"], rain)
        node.await_ready(rain["deployment"], 1)
        assert cause(control, rain) == f"{rain['deployment']} is ready: 1 of 1 processes are ready"
        send(broker, GOOD, POISON, GOOD)
        await_cause(control, rain, "cannot score every record", f"{TOPIC}-0-1", "is a text instead of float32")
        eventually(
            lambda: count(broker, f"{rain['deployment']}.predictions") == 2, within=PATIENCE, what="its neighbours"
        )

        # A goal that no batch size meets: known as soon as a scorer has learned what a record costs.
        control.scale(rain["deployment"], {"scorers": 0})
        fast = document("rain", slo={"latency_ms": 3}, batch={"transaction_ms": 1, "max_wait_ms": 1})
        eventually(lambda: faults(control, fast), within=PATIENCE, what="what the scorer learned")
        known_beforehand(control, fast, "slo.latency_ms 3 is out of reach", "one record alone takes")

        # The broker goes away.
        control.put(rain["deployment"], rain)
        broker.kill()
        await_cause(control, rain, f"the broker {broker.kafka.bootstrap} does not answer")
