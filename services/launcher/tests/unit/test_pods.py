"""What a cluster is told of a process, and what its words say about one."""

import copy
import json
from typing import Any

import pytest

from millrace.core.control.fleet import Slot
from millrace_launcher.logic.pods import (
    FORGOTTEN,
    Around,
    explained,
    is_forgotten,
    launch_of,
    pod_document,
    read_pod,
    secret_document,
    vanished,
)
from millrace_launcher.logic.ports import Launch

AROUND = Around(node="n", account="process", claim="blobs", grace_secs=15)
LAUNCH = Launch(
    Slot("rain-1", "scorer", 0), 9, ("python",), {"MILLRACE_HEALTH__PORT": "7", "SECRET": "hush"}, 1.5, 64 << 20
)
BEGAN, ENDED = "2026-11-23T10:00:01Z", "2026-11-23T10:00:02Z"


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:  # noqa: ANN401 -- the API's own document
    """A Pod as the API tells it."""
    made = copy.deepcopy(pod_document(LAUNCH, ("python", "-m", "x"), image="mine", around=AROUND))
    made["metadata"]["creationTimestamp"] = "2026-11-23T10:00:00Z"
    made["status"] = {"phase": "Pending", **status}
    if state is not None:
        made["status"]["containerStatuses"] = [{"state": state}]
    return made


def over(code: int, ended_by: str = "Error", **status: Any) -> dict[str, Any]:  # noqa: ANN401 -- the API's own document
    """A Pod that has ended."""
    ended = {"exitCode": code, "reason": ended_by, "startedAt": BEGAN, "finishedAt": ENDED}
    return pod({"terminated": ended}, **{"phase": "Failed", **status})


def test_a_pod_says_whose_it_is_and_nothing_that_is_secret() -> None:
    made = pod()
    assert launch_of(made) == (LAUNCH.slot, 9)
    assert "hush" not in json.dumps(made)
    assert secret_document(LAUNCH, {"launch.json": "{}"}, node="n")["metadata"] == {
        key: made["metadata"][key] for key in ("name", "labels")
    }
    [container] = made["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": str(64 << 20)}
    assert container["resources"]["requests"]["cpu"] == "1500m"


def test_without_a_claim_model_files_are_the_pods_own() -> None:
    made = pod_document(LAUNCH, ("x",), image="mine", around=Around("n", "process", "", 1))
    assert {"name": "blobs", "emptyDir": {}} in made["spec"]["volumes"]


def test_a_pod_that_runs() -> None:
    found = read_pod(pod({"running": {"startedAt": BEGAN}}, phase="Running", podIP="10.0.0.7"), is_killed=False)
    assert (found.url, found.waits, found.has_ended, found.started_ms) == (
        "http://10.0.0.7:7",
        "",
        False,
        1795428001000,
    )


@pytest.mark.parametrize(
    ("found", "waits"),
    [
        (pod(), "starting"),
        (pod({"waiting": {"reason": "ContainerCreating"}}), "starting"),
        (
            pod({"waiting": {"reason": "ErrImagePull", "message": "denied"}}),
            "the image mine cannot be pulled: denied (",
        ),
        (pod({"waiting": {"reason": "CreateContainerError", "message": "no"}}), "CreateContainerError: no"),
        (
            pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes"}]),
            "no machine of the cluster fits: 0/3 nodes (",
        ),
    ],
    ids=["new", "creating", "pull", "other", "unschedulable"],
)
def test_a_pod_that_waits_says_why(found: dict[str, Any], waits: str) -> None:
    assert read_pod(found, is_killed=False).waits.startswith(waits)


@pytest.mark.parametrize(
    ("found", "code", "why"),
    [
        (over(1), 1, "exit code 1: no such model"),
        (over(137, "OOMKilled"), -9, "out of memory: more than 64 MiB"),
        (over(121), 121, "the node lost its lease"),
        (over(143), -15, "killed by signal 15 (SIGTERM)"),
        (pod(phase="Failed", reason="Evicted", message="low on disk"), None, "evicted: low on disk"),
    ],
    ids=["error", "memory", "lease", "signal", "evicted"],
)
def test_an_end_has_a_reason(found: dict[str, Any], code: int | None, why: str) -> None:
    ended = explained(read_pod(found, is_killed=False), found, ["no such model"])
    assert (ended.has_ended, ended.exit_code, ended.why) == (True, code, why)


def test_a_phase_comes_before_the_end_and_is_not_believed() -> None:
    late = pod({"running": {"startedAt": BEGAN}}, phase="Failed", reason="DeadlineExceeded")
    assert not read_pod(late, is_killed=False).has_ended


def test_a_pod_that_was_asked_to_end_has_no_reason_but_its_own() -> None:
    found = over(0, "Completed", reason="DeadlineExceeded")
    found["metadata"]["annotations"] = {"millrace/asked": "yes"}
    ended = explained(read_pod(found, is_killed=False), found, ["drained"])
    assert (ended.is_draining, ended.exit_code, ended.why) == (True, 0, "exit code 0: drained")


@pytest.mark.parametrize(
    ("killed_for", "is_draining", "code", "why"),
    [
        ("", True, -9, "killed by signal 9 (SIGKILL)"),
        ("hung", False, -9, "hung"),
        (None, False, None, "its Pod was deleted by somebody else"),
    ],
    ids=["asked", "hung", "somebody"],
)
def test_a_pod_that_is_gone(killed_for: str | None, code: int | None, why: str, *, is_draining: bool) -> None:
    running = read_pod(pod({"running": {"startedAt": BEGAN}}, phase="Running"), is_killed=False)
    ended = vanished(running, killed_for=killed_for, now_ms=5)
    assert (ended.has_ended, ended.ended_ms, ended.is_draining, ended.exit_code, ended.why) == (
        *(True, 5),
        *(is_draining, code, why),
    )


def test_what_is_forgotten_says_so_itself() -> None:
    found = over(0)
    assert not is_forgotten(found)
    found["metadata"]["annotations"] = {FORGOTTEN: "yes"}
    assert is_forgotten(found)
    assert not is_forgotten(None)
