"""A scorer under exactly the rights that `millrace acls` gives it, on a broker that checks every one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Final

import pytest
from scorer_stream import Stream

from millrace.client.acls import Service, give, grant
from millrace.core.errors import FatalError
from millrace.kafka.acls import Operation, Resource, Right, withdraw
from millrace.kafka.admin import Admin
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC, Change, ControlWriter, Put
from millrace.kafka.finding import read_deployment
from millrace.kafka.outputs import ensure_output_topics
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.lifecycle import Shutdown
from millrace.process.settings import Settings
from millrace.testing.guarded import GuardedBroker, guarded_broker, signed_in
from millrace.testing.running import at_work
from millrace_scorer.app import Scorer

USER: Final = "scorer"
PRINCIPAL: Final = f"User:{USER}"
NAME: Final = "name"
GOOD: Final = b'{"a": 0.5, "b": -1.25, "c": 3}'
RIGHTS: Final = grant(
    Deployment.parse({"deployment": NAME, "source": {"topic": f"{NAME}.features"}, "model": "m"}, subject="the test"),
    Service.SCORER,
).rights
"""The rights of some deployment; each test has one with a name of its own."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    with guarded_broker(tmp_path_factory.mktemp("guarded"), [USER]) as broker:
        yield broker


@pytest.fixture
def granted(guarded: GuardedBroker, settings: Settings, tmp_path: Path) -> Iterator[Stream]:
    """A deployment of its own with records to score; its scorer's user has the least rights while the test runs."""
    stream = Stream(guarded, settings, f"s-{uuid.uuid4().hex[:10]}")
    stream.push(tmp_path / "bundle")
    document = stream.deployment().document()
    with ControlWriter(guarded.kafka, who="test", topics=(DEPLOYMENTS_TOPIC,)) as writer:
        writer.apply(
            f"deployment/{stream.name}",
            "deploy",
            lambda _: Change([Put(DEPLOYMENTS_TOPIC, stream.name, document)], None),
        )
    stream.send([GOOD] * 10 + [b"nonsense"])
    rights = grant(stream.deployment(), Service.SCORER, principal=PRINCIPAL)
    give(guarded.kafka, [rights])
    yield stream
    withdraw(guarded.kafka, PRINCIPAL, rights.rights)


def scorer(stream: Stream) -> Scorer:
    """A scorer that is started by its deployment's name, as its own user."""
    kafka = signed_in(stream.broker.bootstrap, USER)
    return Scorer(stream.settings, kafka, read_deployment(kafka, stream.name), slot=0, clock=SystemClock())


@contextmanager
def deadline() -> Iterator[Shutdown]:
    """A request to stop that comes after a while: a scorer that nothing is denied must not work for ever."""
    shutdown = Shutdown(clock=SystemClock())
    timer = Timer(10, shutdown.request)
    timer.start()
    try:
        yield shutdown
    finally:
        timer.cancel()


def shown(right: Right) -> str:
    return f"{right.operation.value} {right.name}"


def test_with_the_least_rights_a_scorer_scores_each_record_once(granted: Stream) -> None:
    for _ in range(2):  # the second one finds its topics, its offsets and the lineup of the first
        with at_work(scorer(granted).run, name="scorer"):
            granted.wait_for(1, f"{granted.name}.dlq")
            granted.wait_for(10)
    granted.send([GOOD])
    with at_work(scorer(granted).run, name="scorer"):
        granted.wait_for(11)
    assert [each["source"]["offset"] for each in granted.predictions()] == [*range(10), 11]
    assert len(granted.dead_letters()) == 1


READING_BACK: Final = Right(Resource.TOPIC, f"{NAME}.handovers", Operation.READ)


@pytest.mark.parametrize("right", [each for each in RIGHTS if each != READING_BACK], ids=shown)
def test_without_one_of_them_it_stops_and_says_which(right: Right, granted: Stream) -> None:
    ensure_output_topics(Admin(granted.broker.kafka), granted.deployment())  # as they are at any but the first start
    check_denial(granted, right)


def test_without_the_right_to_read_who_answered_before_it_stops_too(granted: Stream) -> None:
    with at_work(scorer(granted).run, name="scorer"):
        granted.wait_for(10)
    granted.send([GOOD])
    check_denial(granted, READING_BACK)


def check_denial(granted: Stream, right: Right) -> None:
    """Take this right away; the scorer then stops, and its error names what it was and what to do."""
    missing = replace(right, name=right.name.replace(NAME, granted.name))
    withdraw(granted.broker.kafka, PRINCIPAL, [missing])
    with pytest.raises(FatalError, match="not allowed") as denial, deadline() as shutdown:
        scorer(granted).run(shutdown)
    assert denied(right, missing.name) in denial.value.message
    assert "millrace acls" in (denial.value.remedy or "")


def denied(right: Right, name: str) -> str:
    """What the error names: in two cases the client does not say more than what kind of thing it is about."""
    if right.resource is Resource.GROUP:
        return "Group authorization"
    in_transaction = right == Right(Resource.TOPIC, f"{NAME}.handovers", Operation.WRITE)
    return "Topic authorization" if in_transaction else name
