"""The rows of acceptance about control: who may do what, what was done, what the model did, and what comes of it.

Two daemons on one machine, a deployment of two scorers, and records that flow all the time.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import numpy as np
import orjson
import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from fleet_stage import PATIENCE, Stage, stage

from millrace.cli.app import run
from millrace.client import Client, ControlClient, Prediction, Until, Verdict
from millrace.client.node import node_status, start_node, stop_node
from millrace.core.errors import RequestError, TransientError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Position, Reader
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import temporary_broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually

NAME = "rain"
SCORERS = 2
BURST = 500
EXPLAINED = int(os.environ.get("MILLRACE_TEST_EXPLAINED", "10"))
"""Predictions that are explained for row S55; the row says a hundred."""

PREDICTED = int(os.environ.get("MILLRACE_TEST_PREDICTIONS", "1000"))
"""Predictions out of which they are chosen; the row says a hundred thousand."""

DOCUMENT = {
    "deployment": NAME,
    "source": {"topic": "rain.features"},
    "model": "rain-model",
    "group": {"session_timeout_ms": 3000},
    "scale": {"scorers": SCORERS},
}
Say = Callable[[str], None]
Lights = Mapping[str, str]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Nodes a and b, and a deployment that is ready, with records that flow evenly."""
    folder = tmp_path_factory.mktemp("control")
    with temporary_broker() as broker:
        Admin(broker.kafka).ensure_topics([TopicSpec("rain.features", SCORERS)])
        with Registry(broker.kafka, Shelf.of(Settings(home=folder / "home")), who="kay") as registry:
            registry.push(linear_bundle(folder / "bundle", name="rain-model").directory)
        with stage(broker, folder / "home") as made:
            made.start("a", "b")
            with made.control() as control:
                control.put(NAME, DOCUMENT)
            made.await_ready(NAME, SCORERS)
            stopping = Event()
            thread = Thread(target=_feed, args=(made, stopping), name="feed")
            thread.start()
            try:
                yield made
            finally:
                stopping.set()
                thread.join()


@pytest.fixture(autouse=True)
def _here(fleet: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user of this machine has in his environment."""
    monkeypatch.setenv("MILLRACE_HOME", str(fleet.home))
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", fleet.broker.bootstrap)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints a figure, whatever pytest captures."""

    def said(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")  # noqa: T201 -- figures are for people

    return said


def _feed(fleet: Stage, stopping: Event) -> None:
    """Ten records a partition, again and again."""
    with Writer(fleet.broker.kafka) as writer:
        while not stopping.wait(0.1):
            _send(writer, 20)


def _send(writer: Writer, count: int) -> None:
    """So many records, as many for each partition."""
    rows = np.arange(count)
    values = [b'{"a": %d, "b": 0.5, "c": -1}' % (row % 100) for row in rows.tolist()]
    stamps = np.full(count, time.time_ns() // 1_000_000, np.int64)
    writer.write(OutputBatch("rain.features", (rows % SCORERS).astype(np.int32), stamps, [None] * count, values))
    writer.flush()


def lights(answers: Sequence[Mapping[str, Any]]) -> Lights:
    """The light of each answer, by a word of its question."""
    found = {answer["question"]: answer["light"] for answer in answers}
    return {
        word: light
        for question, light in found.items()
        for word in ("observe", "fails", "loop", "balanced")
        if word in question
    }


def predictions(fleet: Stage) -> Iterator[Prediction]:
    """What there is now."""
    return Client(fleet.broker.bootstrap).predictions(NAME, start=Position.EARLIEST, until=Until.NOW)


def at_least(count: int, fleet: Stage) -> list[Prediction]:
    """All predictions, once there are so many."""

    def found() -> list[Prediction]:
        known = list(predictions(fleet))
        return known if len(known) >= count else []

    return eventually(found, within=PATIENCE, what=f"{count} predictions")


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of a command, and what it said on standard output."""
    capsys.readouterr()
    code = run(words)
    return code, capsys.readouterr().out


def test_s39_the_four_questions_have_answers_with_numbers(
    fleet: Stage, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    with fleet.control() as control:
        well = {"observe": "green", "fails": "green", "loop": "yellow", "balanced": "green"}

        def are_well() -> bool:
            answers = control.answers(NAME)  # at one moment
            assert lights(answers) == well
            assert all(answer["says"] and answer["numbers"] and answer["evidence"] for answer in answers)
            assert answers[0]["numbers"]["records_per_sec"] > 0
            shares = answers[3]["numbers"]["shares"]
            assert len(shares) == SCORERS
            assert all(abs(share - 1) <= 0.15 for share in shares.values()), shares
            return True

        eventually(are_well, within=PATIENCE, what="four answers")
        code, said = command(capsys, "answers", NAME)
        assert (code, "\x1b" in said, "Is the load balanced?" in said) == (0, False, True)

        psutil.Process(fleet.pid(NAME, f"{NAME}/scorer/0")).kill()
        begun = time.monotonic()
        eventually(lambda: lights(control.answers(NAME))["fails"] == "red", within=PATIENCE, what="the second answer")
        say(f"the answer is red {time.monotonic() - begun:.1f} s after a kill")
        fleet.await_ready(NAME, SCORERS)
        eventually(lambda: lights(control.answers(NAME))["fails"] == "green", within=PATIENCE, what="all well again")


def test_s53_a_prediction_names_everything_it_rests_on(fleet: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    prediction = at_least(1, fleet)[0]
    code, said = command(capsys, "lineage", str(prediction.at), "--json")
    assert code == 0
    found = orjson.loads(said)
    with fleet.control() as control:
        environments = {node["node"]: node["inventory"]["environment"] for node in control.nodes()}
        slots = {process["name"] for process in control.processes()}
    by = found["scored_by"]
    assert by["environment"] == environments[by["node"]]
    assert by["slot"] in slots
    assert (found["model"], found["version"], found["digest"]) == ("rain-model", 1, prediction.digest)
    assert found["transform"] == prediction.transform
    assert (found["pushed"]["who"], found["promoted"]["who"]) == ("kay", "kay")
    assert found["reference"].startswith("sha256:")
    assert found["trained_on"] is not None
    assert found["remarks"] == []
    of_record = Client(fleet.broker.bootstrap).lineage(prediction.source, NAME)
    assert of_record.document() == found, "the record leads to the same"


def test_s54_what_was_done_is_in_the_history_once_and_in_order(
    fleet: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {**DOCUMENT, "deployment": "told", "scale": {"scorers": 0}}
    with fleet.control() as control:
        control.put("told", document)
        control.put("told", document)
        control.scale("told", {"auditors": 0, "scorers": 0})
        text = control.create_key("session", role="operator")["key"]
        with ControlClient(control.url, token=text) as operator:
            operator.scale("told", {"gateways": 0, "scorers": 0, "materializers": 0})
            operator.put("told", {**document, "slo": {"latency_ms": 250}})
            with pytest.raises(RequestError, match="this takes the role admin"):
                operator.create_key("more")
            with pytest.raises(RequestError, match="there is no deployment 'nothing'"):
                operator.delete("nothing")
            operator.delete("told")
        control.revoke_key("session")
        told = [r for r in control.history() if r["subject"] in {"deployment/told", "key/session", "refusals"}]
    owner = told[0]["who"]
    assert [(r["who"], r["what"]) for r in told] == [
        (owner, "put deployment"),
        (owner, "create key"),
        ("key/session", "put deployment"),
        ("key/session", "refused: create_key"),
        ("key/session", "refused: delete"),
        ("key/session", "delete deployment"),
        (owner, "revoke key"),
    ], "what changes nothing leaves no trace, and is refused to nobody"
    changed = told[2]
    [before], [after] = changed["before"].values(), changed["after"].values()
    assert before["told"] != after["told"]
    assert after["told"]["slo"]["latency_ms"] == 250
    assert changed["result"] == "changed"
    code, said = command(capsys, "history", "told", "--who", "key/session", "--json")
    assert (code, [orjson.loads(line)["what"] for line in said.splitlines()]) == (
        0,
        ["put deployment", "delete deployment"],
    )
    assert command(capsys, "history", "--verify")[0] == 0


def test_a_key_that_is_revoked_opens_nothing_on_any_node_and_lies_nowhere(fleet: Stage, say: Say) -> None:
    with fleet.control("a") as a, fleet.control("b") as b:
        text = a.create_key("short", lasts=timedelta(days=1))["key"]
        with ControlClient(a.url, token=text) as here, ControlClient(b.url, token=text) as there:
            eventually(lambda: _role(there) == "viewer", within=PATIENCE, what="the key on the other node")
            rotated = b.rotate_key("short")["key"]
            eventually(lambda: _role(here) is None, within=PATIENCE, what="the end of the old text")
            with ControlClient(a.url, token=rotated) as here_now, ControlClient(b.url, token=rotated) as there_now:
                assert _role(here_now) == _role(there_now) == "viewer"
                a.revoke_key("short")
                begun = time.monotonic()
                assert _role(here_now) is None, "at once where it was revoked"
                eventually(lambda: _role(there_now) is None, within=PATIENCE, what="its end on the other node")
                say(f"a revoked key opens nothing elsewhere after {time.monotonic() - begun:.2f} s")
    secrets = (text.rpartition("_")[2], rotated.rpartition("_")[2])
    for secret in secrets:
        assert not [place for place, content in _written(fleet) if secret.encode() in content]


def _role(control: ControlClient) -> str | None:
    with suppress(RequestError):
        return str(control.caller()["role"])
    return None


def _written(fleet: Stage) -> Iterator[tuple[str, bytes]]:
    """Everything that a key could have got to: topics, logs and files, and the titles of processes."""
    for topic in Admin(fleet.broker.kafka).topic_names():
        with Reader(fleet.broker.kafka, topic) as reader:
            for batch in reader:
                for key, value in zip(batch.keys, batch.values, strict=True):
                    yield topic, (key or b"") + (value or b"")
    for folder, _, names in os.walk(fleet.home):
        for path in (Path(folder) / name for name in names):
            with suppress(OSError):  # a socket, or gone by now
                yield str(path), path.read_bytes()
    for process in psutil.process_iter(["cmdline"]):
        yield f"process {process.pid}", " ".join(process.info["cmdline"] or []).encode()


def test_the_search_for_keys_finds_one_that_is_there(fleet: Stage) -> None:
    token = (fleet.home / "launcher.token").read_bytes().strip()
    assert [place for place, content in _written(fleet) if token in content] == [str(fleet.home / "launcher.token")]


def test_s55_any_prediction_is_found_and_scored_again_to_the_same_bits(fleet: Stage, say: Say) -> None:
    client = Client(fleet.broker.bootstrap)
    with Writer(fleet.broker.kafka) as writer:
        for _ in range(PREDICTED // BURST):
            _send(writer, BURST)
    known = at_least(PREDICTED, fleet)
    chosen = known[:: max(1, len(known) // EXPLAINED)][:EXPLAINED]
    assert len(chosen) == EXPLAINED
    begun = time.monotonic()
    assert {client.explain(each.at, NAME).verdict for each in chosen} == {Verdict.EQUAL}
    say(f"{(time.monotonic() - begun) / EXPLAINED:.2f} s to explain one of {len(known)} predictions")

    # Retention, or somebody's right to be forgotten: the record goes, what it was scored as stays, and says so.
    first = next(each for each in known if each.source.partition == 0)
    gone = TopicPartition(first.source.topic, 0, first.source.offset + 1)
    admin = AdminClient(fleet.broker.kafka.client())
    [deleted] = admin.delete_records([gone]).values()
    deleted.result(timeout=30)
    with pytest.raises(RequestError, match=r"was deleted: rain\.features-0 begins at offset"):
        client.explain(first.at, NAME)
    assert client.lineage(first.at).prediction == first
    assert "features" not in first.document()


def test_s57_every_process_is_in_the_process_table_and_the_reverse(fleet: Stage) -> None:
    def agree() -> bool:
        with fleet.control() as control:
            told = {p["pid"]: p["name"] for p in control.processes() if p["state"] != "ended"}
        return told == _process_table(fleet)

    eventually(agree, within=PATIENCE, what="the same processes in both")
    assert set(_process_table(fleet).values()) == {f"{NAME}/scorer/{number}" for number in range(SCORERS)}


def _process_table(fleet: Stage) -> dict[int, str]:
    """The services that this fleet's daemons run, by what their command lines say."""
    found = {}
    for process in psutil.process_iter(["cmdline", "status"]):
        words: list[str] = process.info["cmdline"] or []
        with suppress(psutil.Error):
            if words[1:2] == ["-m"] and process.environ().get("MILLRACE_HOME") == str(fleet.home) and "--slot" in words:
                kind = words[2].removeprefix("millrace_")
                found[process.pid] = f"{words[words.index('--name') + 1]}/{kind}/{words[words.index('--slot') + 1]}"
    return found


@pytest.mark.parametrize("program", ["millrace_launcher", "millrace_gateway", "millrace_scorer"])
def test_s60_a_program_explains_itself(program: str) -> None:
    said = subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, text=True, check=True).stdout
    assert "usage: millrace-" in said


def test_s60_the_daemon_and_what_it_runs_answer_for_their_health(fleet: Stage) -> None:
    with fleet.control() as control:
        served = [process["url"] for process in control.processes() if process["state"] != "ended"]
    served += [_health(fleet.home / f"{node}.log") for node in ("a", "b")]
    assert len(served) == SCORERS + 2
    with httpx.Client(trust_env=False, timeout=60) as client:
        for url in (url + path for url in served for path in ("/livez", "/readyz")):
            eventually(lambda url=url: client.get(url).is_success, within=PATIENCE, what=url)  # type: ignore[misc]


def _health(log: Path) -> str:
    """Where a daemon serves its health: its first line says so."""
    entries = (orjson.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return str(next(entry["health"] for entry in entries if "health" in entry))


def test_s63_a_node_is_started_once_and_stopped_whole(fleet: Stage) -> None:
    first = start_node(fleet.home, node="c", port=0, bootstrap=fleet.broker.bootstrap)
    assert start_node(fleet.home, node="c", port=0, bootstrap=fleet.broker.bootstrap) == first
    assert stop_node(fleet.home, node="c").pid == first.pid
    assert not node_status(fleet.home, node="c").running
    assert not [p for p in psutil.process_iter(["cmdline"]) if any("nodes/c/" in w for w in p.info["cmdline"] or [])]


def test_s63_a_node_that_nobody_waits_for_any_more_is_not_left_behind(fleet: Stage) -> None:
    with pytest.raises(TransientError, match="the daemon of node late does not answer"):
        start_node(fleet.home, node="late", port=0, bootstrap=fleet.broker.bootstrap, limit=timedelta(0))

    def daemons() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-4:-2] == ["--node", "late"]]

    eventually(lambda: not daemons(), within=PATIENCE, what="the end of the daemon")
    assert not node_status(fleet.home, node="late").running


def test_s63_who_waited_until_it_is_ready_gets_predictions(fleet: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, "wait-ready", NAME, "--within", "60")[0] == 0
    before = time.time_ns() // 1_000_000
    latest = Client(fleet.broker.bootstrap).predictions(NAME, start=Position.LATEST, until=Until.STOPPED)
    assert next(latest).scored_at_ms >= before


def test_s72_the_command_line_works_against_another_node_with_a_key(
    fleet: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with fleet.control("b") as control:
        url, key = control.url, control.create_key("remote", role="operator")["key"]
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "elsewhere"))
    assert command(capsys, "whoami", "--launcher", url)[0] == 1, "a stranger"
    monkeypatch.setenv("MILLRACE_KEY", key)
    assert command(capsys, "whoami", "--launcher", url) == (0, "key/remote: operator\n")
    (tmp_path / "key").write_text(f"{key}\n")
    monkeypatch.delenv("MILLRACE_KEY")
    monkeypatch.setenv("MILLRACE_KEY_FILE", str(tmp_path / "key"))
    code, said = command(capsys, "scale", NAME, f"scorers={SCORERS}", "--launcher", url)
    assert (code, said) == (0, f"{NAME}: scorers {SCORERS}\n")
    assert command(capsys, "keys", "list", "--launcher", url)[0] == 1, "an operator gives no keys"


def test_an_address_that_others_reach_wants_a_key(fleet: Stage) -> None:
    with fleet.control() as control:
        known = control.keys()
        for key in known:
            control.revoke_key(key["name"])
    environment = {
        **os.environ,
        "MILLRACE_LAUNCHER__HOST": "0.0.0.0",  # noqa: S104 -- that it is refused
        "MILLRACE_LAUNCHER__NODE": "open",
    }
    command = [sys.executable, "-m", "millrace_launcher", "--port", "0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert refused.returncode == 2
    assert "would be open to others on 0.0.0.0" in refused.stderr
    assert "millrace keys create NAME --role admin" in refused.stderr
