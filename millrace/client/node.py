"""This machine's nodes: start a daemon that outlives the terminal, find it, stop it."""

import importlib.util
import json
import os
import signal
import socket
import sys
import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import psutil

from millrace.client.local import find_kafka
from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.process.children import await_end
from millrace.process.fleet import own_node_name
from millrace.process.settings import Settings

DEFAULT_PORT: Final = 9008
_MODULE: Final = "millrace_launcher"
_START_LIMIT: Final = timedelta(seconds=120)
_STOP_LIMIT: Final = timedelta(seconds=120)
"""Both take a few seconds, and many on a machine that is busy with something else."""
_POLL_SECS: Final = 0.05
_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node of this machine.

    Attributes:
        node: Its name.
        running: Whether its daemon lives.
        pid: The daemon's process, or None if it does not run.
        url: Where its REST API is, or None if it does not run.
    """

    node: str
    running: bool
    pid: int | None = None
    url: str | None = None


def has_launcher() -> bool:
    """Whether the distribution `millrace-launcher` is installed."""
    return importlib.util.find_spec(_MODULE) is not None


def start_node(
    home: Path | None = None,
    *,
    node: str | None = None,
    port: int | None = None,
    bootstrap: str | None = None,
    limit: timedelta = _START_LIMIT,
) -> NodeStatus:
    """Start the daemon of a node unless it runs, and return when it answers.

    Args:
        home: The folder of millrace on this machine; the environment's where absent.
        node: The node's name; the machine's where absent.
        port: Port of the REST API; 9008 where absent and free, else any.
        bootstrap: Kafka; the environment's or the local broker where absent.
        limit: How long to wait for the daemon's answer; one that is later is ended.

    Raises:
        RequestError: The launcher is not installed, no broker is named or runs here, or the port is taken.
        TransientError: The daemon does not answer in time.
        FatalError: The daemon ended; says why.
    """
    if not has_launcher():
        raise RequestError("millrace-launcher is not installed", remedy="install it: pip install millrace-launcher")
    folder = (home or Settings.load().home).absolute()
    name = node or own_node_name()
    found = node_status(folder, node=name)
    if found.running:
        return found
    log = folder / "nodes" / name / "daemon.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {**os.environ, "MILLRACE_HOME": str(folder)}
    if bootstrap is not None:
        environment["MILLRACE_KAFKA__BOOTSTRAP"] = find_kafka(bootstrap).bootstrap
    command = [sys.executable, "-m", _MODULE, "--node", name, "--port", str(_port(port))]
    # Not subprocess.Popen: the daemon is meant to outlive this process, which Popen calls a leak.
    pid = os.posix_spawn(
        command[0],
        command,
        environment,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    try:
        return _await_start(folder, name, pid, log, limit=limit)
    except (KeyboardInterrupt, TransientError):
        os.kill(pid, signal.SIGTERM)  # Nobody waits for it any more, and nobody would know of it.
        raise


def stop_node(home: Path | None = None, *, node: str | None = None) -> NodeStatus:
    """Stop the daemon of a node: it drains what it runs and leaves. Returns what was stopped, once it is gone."""
    folder = (home or Settings.load().home).absolute()
    found = node_status(folder, node=node)
    if found.pid is not None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(found.pid)
            process.send_signal(signal.SIGTERM)
            if not await_end(process, _STOP_LIMIT):
                raise TransientError(
                    f"node {found.node} does not stop", remedy=f"read {folder / 'nodes' / found.node / 'daemon.log'}"
                )
    return found


def node_status(home: Path | None = None, *, node: str | None = None) -> NodeStatus:
    """Whether the daemon of a node runs, and where. Does not wait."""
    folder = (home or Settings.load().home).absolute()
    name = node or own_node_name()
    try:
        said = json.loads((folder / "nodes" / name / "daemon.json").read_text())
        process = psutil.Process(said["pid"])
        # A process is ours by its command line: another one may have got its number.
        is_launcher = any(_MODULE in word.replace("-", "_") for word in process.cmdline())
        if is_launcher and process.status() != psutil.STATUS_ZOMBIE:
            return NodeStatus(name, running=True, pid=process.pid, url=said["url"])
    except (OSError, ValueError, KeyError, psutil.Error):
        pass
    return NodeStatus(name, running=False)


def local_nodes(home: Path | None = None) -> tuple[NodeStatus, ...]:
    """The nodes of this machine whose daemons run, by name."""
    folder = (home or Settings.load().home).absolute()
    names = sorted(path.parent.name for path in (folder / "nodes").glob("*/daemon.json"))
    return tuple(found for found in (node_status(folder, node=name) for name in names) if found.running)


def _port(wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            return 0
    return DEFAULT_PORT


def _await_start(home: Path, node: str, pid: int, log: Path, *, limit: timedelta) -> NodeStatus:
    give_up = time.monotonic() + limit.total_seconds()
    while time.monotonic() < give_up:
        found = node_status(home, node=node)
        if found.running:
            return found
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            raise FatalError(f"the daemon of node {node} ended: {_last_words(log)}", remedy=f"read {log}")
        time.sleep(_POLL_SECS)
    raise TransientError(f"the daemon of node {node} does not answer", remedy=f"read {log}")


def _last_words(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as file:
        lines = deque(file, maxlen=_LINES)
    for line in reversed(lines):
        with suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("level") == "error":
                return f"{entry['event']} ({entry.get('remedy') or 'no remedy is known'})"
    return lines[-1].strip() if lines else "it said nothing"
