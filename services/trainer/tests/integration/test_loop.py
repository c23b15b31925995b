"""The trainer on the real broker: a request goes in, one answer comes out."""

import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import orjson
import psutil
import pytest
from loop_records import accepted, completed
from trainer_stream import ENDS, Loop

from millrace.core.errors import FatalError
from millrace.process.retraining import Failed, Promoted, Refused, Rejected
from millrace.testing.waiting import eventually


def test_a_better_candidate_is_promoted(loop: Loop) -> None:
    loop.send(2000)
    request = loop.request()
    with loop.running():
        loop.wait_for(*ENDS)
    assert loop.steps(request.loop_id) == ["requested", "accepted", "completed", "promoted"]
    assert loop.aliases() == {"champion": 2}
    done = loop.completed()
    assert (done.dataset.rows, done.dataset.train, done.dataset.holdout) == (2000, 1500, 500)
    assert done.evaluation.candidate.value > 0.95
    assert 0.4 < done.evaluation.champion.value < 0.6
    assert done.evaluation.p_value < 1e-20
    with loop.registry() as registry:
        entry, bundle = registry.open(loop.name)
    assert entry.digest == done.digest
    trained = {(each.topic, each.partition, each.next_offset) for each in bundle.manifest.training.topics}
    assert trained == {(topic, p, 1000) for topic in (loop.features, loop.labels) for p in (0, 1)}


def test_a_worse_candidate_is_refused_with_the_numbers(loop: Loop) -> None:
    loop.send(2000, weights=(0, 0, 1))
    loop.request()
    with loop.running(loop.training("functions:guess")):
        loop.wait_for(*ENDS)
    assert loop.steps() == ["requested", "accepted", "completed", "refused"]
    [refused] = [record for record in loop.records() if isinstance(record, Refused)]
    assert "the candidate is not better: accuracy 0." in refused.why
    assert "n = 500" in refused.why
    assert loop.aliases() == {"champion": 1}
    with loop.registry() as registry:
        assert len(registry.versions(loop.name)) == 1


def test_a_person_is_asked(loop: Loop) -> None:
    loop.send(1000)
    loop.request()
    with loop.running(loop.training(promotion={"approval": "person"})):
        loop.wait_for(*ENDS)
    assert loop.steps()[-1] == "proposed"
    assert loop.aliases() == {"challenger": 2, "champion": 1}


@pytest.mark.parametrize(
    ("function", "limits", "why", "last_line"),
    [
        ("functions:fail", {}, "ZeroDivisionError: division by zero", "ZeroDivisionError: division by zero"),
        ("functions:hang", {"wall_secs": 8}, "did not end within 0:00:08", "hanging"),
        ("functions:hoard", {}, "ran out of its 8589934592 bytes of memory", ""),
        ("functions:nothing", {}, "there is no training function 'functions:nothing'", ""),
    ],
)
def test_a_function_that_fails_is_said_with_its_last_words(
    loop: Loop, function: str, limits: dict[str, object], why: str, last_line: str
) -> None:
    loop.send(400)
    loop.request()
    with loop.running(loop.training(function, function=limits)):
        loop.wait_for(*ENDS)
    failed = loop.records()[-1]
    assert isinstance(failed, Failed)
    assert why in failed.why
    assert last_line in "\n".join(failed.log)
    assert loop.aliases() == {"champion": 1}


def test_without_labels_or_with_one_class_nothing_is_trained(loop: Loop) -> None:
    loop.send(400, weights=(0, 0, 0))
    loop.request()
    with loop.running():
        loop.wait_for("failed")
    failed = loop.records()[-1]
    assert isinstance(failed, Failed)
    assert "all records to learn from have the label 'no'" in failed.why


def test_a_request_that_comes_while_another_is_at_work_is_rejected(loop: Loop, tmp_path: Path) -> None:
    loop.send(1000)
    first = loop.request()
    mark = tmp_path / "mark"
    training = loop.training("functions:hang_once", function={"environment": {"MARK": str(mark)}, "wall_secs": 6})
    with loop.running(training):
        eventually(mark.exists, within=timedelta(seconds=120), what="the training")
        second = loop.request()
        loop.wait_for("rejected")
    assert loop.steps(first.loop_id) == ["requested", "accepted", "failed"]
    rejected = loop.records()[-1]
    assert isinstance(rejected, Rejected)
    assert (rejected.loop_id, rejected.blocker) == (second.loop_id, "open_request")


def test_a_killed_trainer_is_followed_by_one_that_answers_once(loop: Loop, tmp_path: Path) -> None:
    loop.send(1000)
    request = loop.request()
    mark = tmp_path / "mark"
    training = loop.training("functions:hang_once", function={"environment": {"MARK": str(mark)}})
    document = tmp_path / "training.json"
    document.write_bytes(orjson.dumps(training.model_dump(mode="json", exclude_defaults=True)))
    environment = {"MILLRACE_KAFKA__BOOTSTRAP": loop.broker.bootstrap, "MILLRACE_HOME": str(loop.settings.home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "millrace_trainer", "--file", str(document)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: mark.exists() and mark.read_text(), within=timedelta(seconds=60), what="the training")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    child = int(mark.read_text())
    eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
    with loop.running(training):
        loop.wait_for(*ENDS)
    with loop.running(training):  # a further start finds nothing to do
        second = loop.request()
        loop.wait_for("rejected", "refused", "proposed", "promoted", times=2)
    assert loop.steps(request.loop_id) == ["requested", "accepted", "completed", "promoted"]
    assert loop.steps(second.loop_id)[0] == "requested"
    assert loop.champion() >= 2


def test_a_trainer_that_died_before_the_promotion_is_followed_by_one_that_does_it(loop: Loop, tmp_path: Path) -> None:
    request = loop.request()
    candidate = loop.push(tmp_path / "candidate", (1, 1, 0))
    head = {"loop_id": request.loop_id, "model": loop.name}
    loop.answer(accepted(request.loop_id).model_copy(update=head))
    loop.answer(completed(request.loop_id).model_copy(update={**head, "candidate": candidate}))
    assert loop.champion() == 1
    with loop.running():
        loop.wait_for(*ENDS)
    assert loop.steps() == ["requested", "accepted", "completed", "promoted"]
    assert loop.champion() == candidate


def test_a_candidate_is_not_put_over_a_champion_that_it_was_not_compared_with(loop: Loop, tmp_path: Path) -> None:
    request = loop.request()
    candidate, other = loop.push(tmp_path / "2", (1, 1, 0)), loop.push(tmp_path / "3", (2, 1, 0))
    head = {"loop_id": request.loop_id, "model": loop.name}
    loop.answer(accepted(request.loop_id).model_copy(update=head))
    loop.answer(completed(request.loop_id).model_copy(update={**head, "candidate": candidate}))
    with loop.registry() as registry:
        registry.set_alias("champion", f"{loop.name}/{other}")
    with loop.running():
        loop.wait_for(*ENDS)
    assert loop.steps()[-1] == "refused"
    assert loop.champion() == other


@pytest.mark.parametrize(("wanted", "end"), [({"champion": 2}, "promoted"), ({}, "refused")], ids=["better", "worse"])
def test_a_rollout_decides_and_a_trainer_that_was_stopped_meanwhile_answers(
    loop: Loop, wanted: dict[str, int], end: str
) -> None:
    loop.send(400)
    request = loop.request()
    training = loop.training(promotion={"approval": "canary"})
    tried = {"champion": 1, "challenger": 2}
    with loop.running(training):
        eventually(lambda: loop.aliases() == tried, within=timedelta(seconds=60), what="the rollout")
    with loop.registry() as registry:  # as the auditor does at its end
        registry.swap_aliases(
            loop.name, expected=tried, wanted={"challenger": None, **wanted}, what="rollout", why="gain in figures"
        )
    with loop.running(training):
        loop.wait_for(*ENDS)
    assert loop.steps(request.loop_id) == ["requested", "accepted", "completed", end]
    answer = loop.records()[-1]
    assert isinstance(answer, Promoted | Refused)
    assert answer.why == "gain in figures"
    assert loop.aliases() == {"champion": 1} | wanted


def test_the_newer_trainer_takes_over(loop: Loop) -> None:
    loop.send(400)
    with pytest.raises(FatalError, match="another process has taken over"), loop.running():  # noqa: PT012
        with loop.running():
            first = loop.request()
            loop.wait_for(*ENDS)
        assert loop.steps(first.loop_id)[-1] in ENDS
        loop.request()
        eventually(lambda: not _is_alive("trainer"), within=timedelta(seconds=120))


def _is_alive(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())
