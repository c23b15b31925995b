"""What a cluster is told of a process, and what its words say about one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from millrace.core.control.fleet import Slot
from millrace_launcher.logic.enclosed import HOME, INSIDE, LEASE_IS_OVER, LEASE_LOST, exit_code_of
from millrace_launcher.logic.exits import explain_exit
from millrace_launcher.logic.ports import HEALTH_PORT, Launch, Running

NODE: Final = "millrace/node"
ASKED: Final = "millrace/asked"
"""Annotation of a Pod that was asked to end."""
FORGOTTEN: Final = "millrace/forgotten"
"""Annotation of a Pod whose end is known and mentioned no more."""
DRAINED: Final = {"metadata": {"annotations": {ASKED: "yes"}}, "spec": {"activeDeadlineSeconds": 1}}
"""The change by which a Pod is asked to end. Unlike one that is deleted, it keeps its exit code and its log."""

_DEPLOYMENT, _KIND, _NUMBER, _LAUNCH = "millrace/deployment", "millrace/kind", "millrace/number", "millrace/launch"
_USER: Final = 10001
_CONTAINER: Final = "process"
_CANNOT_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_OVER: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Around:
    """What all Pods of a node have alike.

    Attributes:
        node: The node whose daemon makes them.
        account: Their service account.
        claim: The volume of model files; none where empty.
        grace_secs: Time to end, before the cluster kills them.
    """

    node: str
    account: str
    claim: str
    grace_secs: int


def name_of(node: str, slot: Slot, launch: int) -> str:
    """The name of a Pod and of its Secret."""
    return f"millrace-{node}-{slot.deployment}-{slot.kind}-{slot.number}-{launch}"


def secret_document(launch: Launch, files: Mapping[str, str], *, node: str) -> dict[str, Any]:
    """The Secret of a Pod: the guard, and what it shall start with which environment."""
    return {"metadata": _metadata(launch, node), "stringData": dict(files)}


def pod_document(launch: Launch, command: Sequence[str], *, image: str, around: Around) -> dict[str, Any]:
    """The Pod of a process. Its environment is in its Secret, for whoever may look at Pods can read this.

    Args:
        launch: What shall run.
        command: Its command in the container.
        image: The image.
        around: What it has like all others.
    """
    metadata = _metadata(launch, around.node)
    port = launch.environment.get(HEALTH_PORT)
    blobs: dict[str, Any] = {"persistentVolumeClaim": {"claimName": around.claim}} if around.claim else {"emptyDir": {}}
    volumes: dict[str, tuple[str, dict[str, Any]]] = {
        "launch": (INSIDE, {"secret": {"secretName": metadata["name"]}}),
        "home": (HOME, {"emptyDir": {}}),
        "blobs": (f"{HOME}/blobs", blobs),
        "tmp": ("/tmp", {"emptyDir": {}}),  # noqa: S108 -- the container's own
    }
    container = {
        "name": _CONTAINER,
        "image": image,
        "command": ["python", "-I", "-S", f"{INSIDE}/guard.py", *command],
        "ports": [{"name": "health", "containerPort": int(port)}] if port else [],
        "resources": {
            "requests": {"cpu": f"{math.ceil(launch.cores * 1000)}m", "memory": str(launch.memory_bytes)},
            "limits": {"cpu": str(max(math.ceil(launch.cores), 1)), "memory": str(launch.memory_bytes)},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": name, "mountPath": path} for name, (path, _) in volumes.items()],
    }
    return {
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": around.account,
            "terminationGracePeriodSeconds": around.grace_secs,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": name, **source} for name, (_, source) in volumes.items()],
        },
    }


def launch_of(pod: Mapping[str, Any]) -> tuple[Slot, int]:
    """Whose process a Pod is, by its labels."""
    labels = pod["metadata"]["labels"]
    return Slot(labels[_DEPLOYMENT], labels[_KIND], int(labels[_NUMBER])), int(labels[_LAUNCH])


def is_forgotten(pod: Mapping[str, Any] | None) -> bool:
    """Whether a Pod is mentioned no more."""
    return pod is not None and FORGOTTEN in pod["metadata"].get("annotations", {})


def read_pod(pod: Mapping[str, Any], *, is_killed: bool) -> Running:
    """A process as its Pod tells; the reason of its end is said by `explained`.

    Args:
        pod: What the cluster says.
        is_killed: Whether this daemon deleted it, and not for anything that it did.
    """
    slot, launch = launch_of(pod)
    status, state = pod["status"], _state(pod)
    ports = pod["spec"]["containers"][0].get("ports")
    address, over = status.get("podIP", ""), state.get("terminated", {})
    is_over = status.get("phase") in _OVER and "running" not in state
    begun = state.get("running", over).get("startedAt")
    code = exit_code_of(over["exitCode"]) if "exitCode" in over else None
    running = Running(
        slot=slot,
        launch=launch,
        pid=None,
        url=f"http://{address}:{ports[0]['containerPort']}" if address and ports else "",
        started_ms=_ms(begun or pod["metadata"]["creationTimestamp"]),
        is_draining=is_killed or ASKED in pod["metadata"].get("annotations", {}) or code == LEASE_IS_OVER,
        waits="" if is_over or begun else _waits_for(pod, state.get("waiting", {})),
    )
    if not is_over:
        return running
    ended = over.get("finishedAt")
    return replace(running, has_ended=True, ended_ms=_ms(ended) if ended else running.started_ms, exit_code=code)


def explained(ended: Running, pod: Mapping[str, Any], lines: Sequence[str]) -> Running:
    """A process that is over, with the reason: the cluster's, or what its log said last."""
    status, over = pod["status"], _state(pod).get("terminated", {})
    noted = ""
    if over.get("reason") == "OOMKilled":
        memory = int(pod["spec"]["containers"][0]["resources"]["limits"]["memory"])
        noted = f"out of memory: more than {memory >> 20} MiB"
    elif ended.exit_code == LEASE_IS_OVER:
        noted = LEASE_LOST
    elif status.get("reason") and not ended.is_draining:
        noted = ": ".join(filter(None, (str(status["reason"]).lower(), status.get("message", ""))))
    return replace(ended, why=explain_exit(ended.exit_code, noted, lines))


def vanished(running: Running, *, killed_for: str | None, now_ms: int) -> Running:
    """A process whose Pod is gone.

    Args:
        running: What was known of it.
        killed_for: What this daemon killed it for, empty where it was asked to; None where somebody else deleted it.
        now_ms: The time, milliseconds since 1970.
    """
    why = "its Pod was deleted by somebody else" if killed_for is None else killed_for
    return replace(
        running,
        has_ended=True,
        ended_ms=now_ms,
        exit_code=None if killed_for is None else -9,
        is_draining=running.is_draining or killed_for == "",
        waits="",
        why=why or explain_exit(-9, "", ()),
    )


def _metadata(launch: Launch, node: str) -> dict[str, Any]:
    slot = launch.slot
    labels = {
        NODE: node,
        _DEPLOYMENT: slot.deployment,
        _KIND: slot.kind,
        _NUMBER: str(slot.number),
        _LAUNCH: str(launch.launch),
    }
    return {"name": name_of(node, slot, launch.launch), "labels": labels}


def _state(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the only container; empty before it has one."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    found: dict[str, Any] = statuses[0].get("state", {})
    return found


def _waits_for(pod: Mapping[str, Any], waiting: Mapping[str, str]) -> str:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _CANNOT_PULL:
        image = pod["spec"]["containers"][0]["image"]
        return (
            f"the image {image} cannot be pulled: {message or reason} (push it where the cluster finds it, or name "
            "another one in MILLRACE_KUBERNETES__IMAGES)"
        )
    for condition in pod["status"].get("conditions") or ():
        if condition.get("reason") == "Unschedulable":
            return (
                f"no machine of the cluster fits: {condition.get('message', '')} (add one, or ask for less in "
                "scale.cores and scale.memory_mb)"
            )
    return f"{reason}: {message}" if message else "starting"


def _ms(written: str) -> int:
    return int(datetime.fromisoformat(written).timestamp() * 1000)
