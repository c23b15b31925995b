"""What changes when a process runs in a container instead of beside its daemon."""

from collections.abc import Mapping, Sequence
from typing import Final

from millrace.core.errors import RequestError
from millrace_launcher.logic.ports import Launch

HOME: Final = "/var/lib/millrace"
"""The folder of millrace in images."""
INSIDE: Final = "/run/millrace"
"""Where a container finds its guard and what it shall start."""
DEFAULT_IMAGES: Final = {
    **{kind: f"millrace/{kind}:0.1.0" for kind in ("scorer", "auditor", "gateway", "materializer", "trainer", "batch")},
    "table": "millrace/materializer:0.1.0",
}
"""The project's own images, by kind of process."""
NODE_IMAGE: Final = "millrace/launcher:0.1.0"
"""The image of all other kinds: everything is in it."""

LEASE_IS_OVER: Final = 121
"""Exit code of a guard whose node lost its lease; `guard.py` says the same."""
LEASE_LOST: Final = "the node lost its lease"

_OURS: Final = ("MILLRACE_", "OTEL_")
_GPUS: Final = "CUDA_VISIBLE_DEVICES"
_SIGNALLED: Final = 128
_LAST_SIGNAL: Final = 64


def image_of(kind: str, named: Mapping[str, str]) -> str:
    """The image of a kind of process: the one that is named, else the project's."""
    return named.get(kind) or DEFAULT_IMAGES.get(kind, NODE_IMAGE)


def environment_inside(launch: Launch, own: Mapping[str, str], host: str) -> dict[str, str]:
    """The environment variables of a process in a container.

    What the daemon has of its machine, such as PATH and HOME, stays there: images have their own.

    Args:
        launch: What shall start.
        own: The daemon's environment.
        host: Address on which the process serves its health.

    Raises:
        RequestError: It is to have GPUs, which containers do not get.
    """
    if launch.environment.get(_GPUS):
        raise RequestError(
            f"{launch.slot} asks for GPUs, and containers of this runner get none",
            remedy="set scale.gpus to 0, or run it on a node whose runner is local",
        )
    wanted = {
        name: value for name, value in launch.environment.items() if name.startswith(_OURS) or own.get(name) != value
    }
    return {**wanted, "MILLRACE_HOME": HOME, "MILLRACE_HEALTH__HOST": host}


def command_inside(command: Sequence[str], *, python: str) -> tuple[str, ...]:
    """The command in a container, whose Python is the first that its image finds.

    Args:
        command: The command beside the daemon.
        python: The daemon's own Python.
    """
    return tuple("python" if position == 0 and word == python else word for position, word in enumerate(command))


def exit_code_of(said: int) -> int:
    """The exit code of a process from that of its container: negative for a signal."""
    is_signal = _SIGNALLED < said <= _SIGNALLED + _LAST_SIGNAL
    return _SIGNALLED - said if is_signal else said
