"""Candidates that are killed and frozen: only the elected one's decisions stay in the log."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import orjson
import pytest

from millrace.kafka.admin import Admin
from millrace.kafka.control_writer import Put
from millrace.kafka.election import Election
from millrace.kafka.reading import Reader
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

PROGRAM = Path(__file__).with_name("candidate.py")
PATIENCE = timedelta(seconds=40)

StartCandidate = Callable[..., "Candidate"]


class Candidate:
    """A candidate's process, and what it said."""

    def __init__(self, broker: Broker, topic: str, name: str, said: Path, *options: str) -> None:
        self.name = name
        self._said = said
        with said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), broker.bootstrap, topic, name, *options], stdout=output
            )

    def said(self, word: str) -> int:
        return self._said.read_text().split("\n").count(word)


@pytest.fixture
def start(broker: Broker, tmp_path: Path) -> Iterator[StartCandidate]:
    with ExitStack() as stack:

        def started(topic: str, name: str, *options: str) -> Candidate:
            candidate = Candidate(broker, topic, name, tmp_path / name, *options)
            stack.callback(candidate.process.wait)
            stack.callback(candidate.process.kill)
            return candidate

        yield started


def authors(broker: Broker, topic: str) -> list[str]:
    """Who decided, in the order of the log."""
    with Reader(broker.kafka, topic) as reader:
        return [orjson.loads(value)["by"] for batch in reader for value in batch.values if value is not None]


def terms(broker: Broker, topic: str) -> list[str]:
    """Who decided, each term once."""
    return [name for name, _ in groupby(authors(broker, topic))]


def await_decisions(broker: Broker, topic: str, name: str, *, more_than: int = 0) -> None:
    eventually(
        lambda: authors(broker, topic).count(name) > more_than, within=PATIENCE, what=f"decisions of {name} in {topic}"
    )


def test_a_frozen_leader_cannot_write_when_it_wakes(broker: Broker, topic: TopicFactory, start: StartCandidate) -> None:
    office = topic("office", cleanup_policy="compact")
    old = start(office, "old")
    await_decisions(broker, office, "old")
    start(office, "new")
    old.process.send_signal(signal.SIGSTOP)
    await_decisions(broker, office, "new")
    old.process.send_signal(signal.SIGCONT)
    eventually(lambda: old.said("standing by") > 0, within=PATIENCE, what="the old leader noticing")
    await_decisions(broker, office, "new", more_than=authors(broker, office).count("new"))
    assert terms(broker, office) == ["old", "new"]


def test_a_candidate_that_comes_to_its_office_late_cannot_write(
    broker: Broker, topic: TopicFactory, start: StartCandidate
) -> None:
    office = topic("office", cleanup_policy="compact")
    late = start(office, "late", "--late")
    eventually(lambda: late.said("frozen"), within=PATIENCE, what="the candidate's election")
    start(office, "new")
    await_decisions(broker, office, "new")
    late.process.send_signal(signal.SIGCONT)
    eventually(lambda: late.said("refused"), within=PATIENCE, what="the late candidate's refusal")
    # It may have fenced the true leader, who takes the office up again.
    await_decisions(broker, office, "new", more_than=authors(broker, office).count("new"))
    assert terms(broker, office) == ["new"]


def test_a_killed_leader_is_followed(broker: Broker, topic: TopicFactory, start: StartCandidate) -> None:
    office = topic("office", cleanup_policy="compact")
    first = start(office, "first")
    await_decisions(broker, office, "first")
    start(office, "second")
    first.process.kill()
    await_decisions(broker, office, "second")
    assert terms(broker, office) == ["first", "second"]


def test_one_candidate_of_many_is_elected_and_hands_over(broker: Broker, topic: TopicFactory) -> None:
    office = topic("office", cleanup_policy="compact")
    with ExitStack() as stack:
        rivals = [
            stack.enter_context(Election(broker.kafka, office, group=f"{office}-office", session=timedelta(seconds=3)))
            for _ in range(3)
        ]

        def elected() -> list[Election]:
            return [rival for rival in rivals if rival.turn(timedelta(milliseconds=10))]

        eventually(lambda: len(elected()) == 1, within=PATIENCE, what="one of three being elected")
        [first] = elected()
        written = first.decide([Put(office, "a", {"by": "first"}), Put(office, "b", None)])
        assert written is not None
        assert all(rival.decide([Put(office, "c", {})]) is None for rival in rivals if rival is not first)
        group = Admin(broker.kafka).committed(f"{office}-office")
        assert list(group.values()) == [written], "the office's offset says how far decisions go"
        first.close()
        rivals.remove(first)
        eventually(lambda: len(elected()) == 1, within=PATIENCE, what="a successor")
