"""What a container engine is told of a process, and what its words say about one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from millrace.core.control.fleet import Slot
from millrace_launcher.logic.enclosed import HOME, INSIDE, LEASE_IS_OVER, LEASE_LOST, exit_code_of
from millrace_launcher.logic.exits import explain_exit
from millrace_launcher.logic.ports import HEALTH_PORT, Launch, Running

OWNER: Final = "millrace.owner"
SLOT: Final = "millrace.slot"
LAUNCH: Final = "millrace.launch"
LEASE_FOLDER: Final = "/run/millrace-lease"
HOST_NETWORK: Final = "host"

_LOG: Final = {"Type": "json-file", "Config": {"max-size": "4m", "max-file": "2"}}
_MOST_PROCESSES: Final = 4096
_OVER: Final = frozenset({"exited", "dead", "removing"})


@dataclass(frozen=True, slots=True)
class Around:
    """What all containers of a node have alike.

    Attributes:
        owner: Names the node among all daemons that use the engine.
        lease_folder: The folder of the node's lease.
        blobs: The folder of model files.
        mounts: Further folders, as the engine writes them.
        network: Their network.
        user: Their user and group.
        processors: Processors that the machine has.
    """

    owner: str
    lease_folder: str
    blobs: str
    mounts: tuple[str, ...]
    network: str
    user: str
    processors: int


def container_document(
    launch: Launch, command: Sequence[str], *, image: str, folder: str, around: Around
) -> dict[str, Any]:
    """What the engine is told to make: nothing of it is secret, for whoever may use the engine can read it.

    Args:
        launch: What shall run.
        command: Its command in the container.
        image: The image.
        folder: Where its guard and its launch.json lie on this machine.
        around: What it has like all others.
    """
    processors = min(max(math.ceil(launch.cores), 1), around.processors)
    return {
        "Image": image,
        "Entrypoint": ["python", "-I", "-S", f"{INSIDE}/guard.py"],
        "Cmd": list(command),
        "User": around.user,
        "Labels": {OWNER: around.owner, SLOT: str(launch.slot), LAUNCH: str(launch.launch)},
        # The node asks the process itself; the check of an image would be a second process every few seconds.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Mounts": [
                _bind(folder, INSIDE, is_written=False),
                _bind(around.lease_folder, LEASE_FOLDER, is_written=False),
                _bind(around.blobs, f"{HOME}/blobs", is_written=True),
            ],
            "Binds": list(around.mounts),
            "Tmpfs": {"/tmp": "mode=1777"},  # noqa: S108 -- the container's own
            "NetworkMode": around.network,
            "Memory": launch.memory_bytes,
            "MemorySwap": launch.memory_bytes,
            "NanoCpus": processors * 1_000_000_000,
            "PidsLimit": _MOST_PROCESSES,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "RestartPolicy": {"Name": "no"},
            "LogConfig": _LOG,
        },
    }


def launch_of(labels: Mapping[str, str]) -> tuple[Slot, int]:
    """Whose process a container is, by its labels.

    Raises:
        RequestError: They say something else.
    """
    return Slot.parse(labels[SLOT]), int(labels[LAUNCH])


def read_container(inspected: Mapping[str, Any], port: str, *, is_asked: bool) -> Running:
    """A process as its container tells; the reason of its end is said by `explained`.

    Args:
        inspected: What the engine says.
        port: Port of its health; empty without one.
        is_asked: Whether it was asked to end.
    """
    state = inspected["State"]
    slot, launch = launch_of(inspected["Config"]["Labels"])
    running = Running(
        slot=slot,
        launch=launch,
        pid=state["Pid"] or None,
        url=f"http://{_address(inspected)}:{port}" if port else "",
        started_ms=_ms(state["StartedAt"]) or _ms(inspected["Created"]),
        is_draining=is_asked,
        waits="starting" if state["Status"] == "created" else "",
    )
    if state["Status"] not in _OVER:
        return running
    code = exit_code_of(state["ExitCode"])
    return replace(
        running,
        has_ended=True,
        ended_ms=_ms(state["FinishedAt"]),
        exit_code=code,
        is_draining=is_asked or code == LEASE_IS_OVER,
    )


def explained(ended: Running, inspected: Mapping[str, Any], lines: Sequence[str], *, noted: str) -> Running:
    """A process that is over, with the reason.

    Args:
        ended: The process.
        inspected: What the engine says.
        lines: The last lines of its log.
        noted: What it was killed for.
    """
    state = inspected["State"]
    if not noted and state["OOMKilled"]:
        noted = f"out of memory: more than {inspected['HostConfig']['Memory'] >> 20} MiB"
    elif not noted and ended.exit_code == LEASE_IS_OVER:
        noted = LEASE_LOST
    return replace(ended, why=explain_exit(ended.exit_code, noted or state["Error"], lines))


def port_of(launch: Mapping[str, Any]) -> str:
    """The port of a process's health, by its launch.json; empty without one."""
    return str(launch.get("environment", {}).get(HEALTH_PORT, ""))


def _bind(source: str, target: str, *, is_written: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": not is_written}


def _address(inspected: Mapping[str, Any]) -> str:
    networks = inspected["NetworkSettings"]["Networks"]
    return next((each["IPAddress"] for each in networks.values() if each["IPAddress"]), "127.0.0.1")


def _ms(written: str) -> int:
    """Milliseconds since 1970 of a time as the engine writes it; the year 1 is none."""
    return max(int(datetime.fromisoformat(written).timestamp() * 1000), 0)
