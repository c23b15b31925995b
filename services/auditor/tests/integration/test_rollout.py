"""A rollout on the real broker: pairs and labels in; a decision, the aliases and the history out."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from audit_stream import STARTED_MS, Event
from rollout_stream import FORGIVING, Paired, Tried, paired
from scorer_stream import Stream

from millrace.client.labels import Label, send_labels
from millrace.core.rollout import RolloutMode
from millrace.kafka.admin import Admin
from millrace.kafka.history import HistoryEntry, read_history
from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

BETTER = {"champion": 0.3, "challenger": 0.1}
WORSE = {"champion": 0.1, "challenger": 0.3}
BOTH = [RolloutMode.SHADOW, RolloutMode.CANARY]


class MakeTried(Protocol):
    def __call__(self, *, mode: RolloutMode = RolloutMode.SHADOW, **rollout: Any) -> Tried: ...  # noqa: ANN401


@pytest.fixture
def tried(broker: Broker, tmp_path: Path) -> MakeTried:
    def make(*, mode: RolloutMode = RolloutMode.SHADOW, **rollout: Any) -> Tried:  # noqa: ANN401
        name = f"r-{uuid.uuid4().hex[:10]}"
        made = Tried(broker, Settings(home=tmp_path / "home"), name, 2, mode=mode, rollout=rollout)
        made.push_both(tmp_path / f"{name}-bundles")
        return made

    return make


def play(t: Tried, made: list[Paired]) -> None:
    """Pairs, half of their labels before them, and time."""
    half = len(made) // 2
    t.tell(made[:half])
    t.shadow(made)
    t.tell(made[half:])
    t.let_time_pass(made[-1].number)


def wait_for_end(t: Tried) -> dict[str, Any]:
    eventually(lambda: [r for r in t.results() if r != "pending"], within=timedelta(seconds=120), what="the end")
    return t.decisions()[-1]


def counted(made: list[Paired]) -> dict[str, int]:
    right = [(event.champion == event.truth, event.challenger == event.truth) for event in made]
    return {
        "ties": sum(a == b for a, b in right),
        "champion": sum(a and not b for a, b in right),
        "challenger": sum(b and not a for a, b in right),
    }


def what_the_auditor_did(t: Tried) -> list[HistoryEntry]:
    records = read_history(t.broker.kafka, subject=f"model/{t.model}")
    return [record.entry for record in records if record.entry.who.startswith("auditor/")]


@pytest.mark.parametrize("mode", BOTH)
def test_a_planted_worse_challenger_is_rolled_back(tried: MakeTried, mode: RolloutMode) -> None:
    t = tried(mode=mode)
    made = paired(1, 0, 300, **WORSE)
    with t.running():
        play(t, made)
        decision = wait_for_end(t)
    assert t.results() == ["pending", "rolled_back"]
    assert t.aliases() == {"champion": 1}
    assert decision["pairs"] == counted([event for event in made if event.at_ms < decision["until_ms"]])
    [entry] = what_the_auditor_did(t)
    assert entry.result == {"is_as_wanted": True, "why": decision["why"]}


def test_too_little_difference_within_the_pairs_allowed_keeps_the_champion(tried: MakeTried) -> None:
    t = tried(max_pairs=120)
    with t.running():
        play(t, paired(2, 0, 300, champion=0.2, challenger=0.2))
        decision = wait_for_end(t)
    assert (decision["outcome"], decision["result"], t.aliases()) == ("undecided", "kept", {"champion": 1})


def test_where_a_person_decides_nothing_moves(tried: MakeTried) -> None:
    t = tried(follow="propose")
    with t.running():
        play(t, paired(3, 0, 300, **BETTER))
        wait_for_end(t)
    assert (t.results()[-1], t.aliases()) == ("proposed", {"champion": 1, "challenger": 2})
    assert what_the_auditor_did(t) == []


def test_what_a_person_decided_meanwhile_stands(tried: MakeTried) -> None:
    """The judge is killed between its decision and the aliases, a person moves them, and another judge goes on."""
    t = tried()
    with t.running():
        play(t, paired(4, 0, 300, **BETTER))
        decision = wait_for_end(t)
    with t.registry() as registry:
        registry.set_alias("champion", f"{t.model}/1")
        registry.set_alias("challenger", f"{t.model}/2")
    pending = next(value for value in t.records(t.topic("rollouts")).values if b'"pending"' in (value or b""))
    with t.registry() as registry:
        registry.swap_aliases(t.model, expected={}, wanted={"challenger": None}, what="no more of this", why="a person")
    t.put("rollouts", b"decision/1/2", pending)
    with t.running():
        eventually(lambda: len(t.results()) == 4, within=timedelta(seconds=120), what="the second result")
    assert t.results() == ["pending", decision["result"], "pending", "superseded"]
    assert t.aliases() == {"champion": 1}


def test_kill_9_again_and_again_decides_once(tried: MakeTried, tmp_path: Path) -> None:
    t = tried()
    t.predict([Event(0, 0.9, "yes")])
    made = paired(5, 0, 300, **BETTER)
    parts = [made[:100], made[100:200], made[200:]]
    document = t.write_document(tmp_path)
    for part in parts:
        with until_killed(t, document, tmp_path / "log"):
            t.tell(part)
            t.shadow(part)
            wait_for_evidence(t, part[-1].at_ms - 1_000)
    t.let_time_pass(300)
    with until_killed(t, document, tmp_path / "log"):
        eventually(t.decisions, within=timedelta(seconds=120), what="a decision")  # killed at about the swap
    with t.running():
        decision = wait_for_end(t)
    assert t.results() == ["pending", "promoted"]
    assert decision["pairs"] == counted([event for event in made if event.at_ms < decision["until_ms"]])
    assert len(what_the_auditor_did(t)) == 1
    assert t.aliases() == {"champion": 2}


@contextmanager
def until_killed(t: Tried, document: Path, log: Path) -> Iterator[None]:
    """A real auditor of the role, ended by SIGKILL."""
    environment = {
        **os.environ,
        "MILLRACE_KAFKA__BOOTSTRAP": t.broker.kafka.bootstrap,
        "MILLRACE_HOME": str(t.settings.home),
    }
    command = [sys.executable, "-m", "millrace_auditor", "--file", str(document), "--role", "rollout"]
    with log.open("ab") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.kill()


def wait_for_evidence(t: Tried, until_ms: int) -> None:
    eventually(lambda: newest(t) >= until_ms, within=timedelta(seconds=120), what="evidence")


def newest(t: Tried) -> int:
    """Event time up to which all partitions' evidence has come."""
    if t.topic("rollouts") not in Admin(t.broker.kafka).topic_names():
        return 0
    documents = t.documents(t.topic("rollouts"))
    reached = {each["partition"]: each["newest_ms"] for each in documents if each["type"] == "audit.progress.v1"}
    return int(min(reached.values())) if len(reached) == t.partitions else 0


@pytest.mark.parametrize("mode", BOTH)
def test_a_planted_better_challenger_of_a_real_scorer_is_promoted(
    broker: Broker, tmp_path: Path, mode: RolloutMode
) -> None:
    """Version 1 looks at feature a, version 2 at b, and b is what the truth follows."""
    t = Tried(broker, Settings(home=tmp_path / "home"), f"r-{uuid.uuid4().hex[:10]}", 1, mode=mode)
    scored = Stream(broker, t.settings, t.name)
    for number, weights in ((1, (1, 0, 0)), (2, (0, 1, 0))):
        scored.push(tmp_path / str(number), weights=weights)
    with t.registry() as registry:
        registry.set_alias("challenger", f"{t.model}/2")
    values = np.random.default_rng(6).normal(size=(400, 3)).round(3).tolist()
    rows: list[bytes | None] = [json.dumps(dict(zip("abc", row, strict=True))).encode() for row in values]
    keys = [b"key-%d" % number for number in range(400)]
    with scored.running(scored.deployment(rollout={**FORGIVING, "mode": mode.value, "share": 0.5})), t.running():
        scored.send(rows, keys=keys, at_ms=STARTED_MS)
        scored.wait_for(400)
        truth = [
            Label(each["event_id"], "yes" if values[each["source"]["offset"]][1] > 0 else "no", STARTED_MS + 1)
            for each in scored.predictions()
        ]
        send_labels(broker.kafka, t.name, truth)
        scored.send(rows, keys=keys, at_ms=STARTED_MS + 300_000)
        decision = wait_for_end(t)
        sent = 800
        while scored.predictions()[-1]["version"] != 2 or not is_over(scored):
            scored.send(rows[:20], keys=keys[:20], at_ms=STARTED_MS + 300_000)
            sent += 20
            scored.wait_for(sent)
    assert (decision["result"], t.aliases()) == ("promoted", {"champion": 2})
    assert decision["pairs"]["champion"] == 0


def is_over(scored: Stream) -> bool:
    newest = json.loads(scored.records(f"{scored.name}.handovers").values[-1] or b"")
    return bool((newest["champion"]["version"], newest["mode"]) == (2, "none"))
