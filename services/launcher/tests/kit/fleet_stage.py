"""Daemons as processes of their own, to be killed, frozen and started again, and what the outside sees of them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import psutil

from millrace.client import ControlClient
from millrace.client.node import node_status
from millrace.core.errors import MillraceError
from millrace.testing.broker import Broker
from millrace.testing.waiting import eventually

PATIENCE: Final = timedelta(seconds=180)
_LINES: Final = 60


@dataclass
class Stage:
    """Some nodes on one machine, all in one home."""

    broker: Broker
    home: Path
    lease_secs: float = 6
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *nodes: str, port: int = 0) -> None:
        """Start the daemons of these nodes, and wait until they answer; on any port unless one is named."""
        for node in nodes:
            log = self.home / f"{node}.log"
            environment = {
                **os.environ,
                "MILLRACE_HOME": str(self.home),
                "MILLRACE_KAFKA__BOOTSTRAP": self.broker.bootstrap,
                "MILLRACE_LAUNCHER__CORES": "4",
                "MILLRACE_LAUNCHER__LEASE_SECS": str(self.lease_secs),
            }
            command = [sys.executable, "-m", "millrace_launcher", "--node", node, "--port", str(port)]
            with log.open("ab") as output:
                self.daemons[node] = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        for node in nodes:
            eventually(lambda node=node: self.answers(node), within=PATIENCE, what=f"node {node}")  # type: ignore[misc]

    def answers(self, node: str) -> bool:
        """Whether this daemon of the node answers."""
        found = node_status(self.home, node=node)
        return found.running and found.pid == self.daemons[node].pid

    @contextmanager
    def control(self, node: str | None = None) -> Iterator[ControlClient]:
        """The API of a node, or of any that lives."""
        chosen = node or next(name for name, daemon in self.daemons.items() if daemon.poll() is None)
        with ControlClient(node_status(self.home, node=chosen).url, home=self.home) as control:
            yield control

    def slots(self, deployment: str, *, via: str | None = None) -> Mapping[str, Mapping[str, Any]]:
        """The slots of a deployment, as the API tells them."""
        with self.control(via) as control:
            return {slot["slot"]: slot for slot in control.deployment(deployment)["slots"]}

    def await_ready(self, deployment: str, count: int, *, besides: str | None = None) -> None:
        """Wait until so many processes are ready, none of them on the node `besides`."""

        def is_so() -> bool:
            with suppress(MillraceError):
                found = self.slots(deployment).values()
                ready = [slot for slot in found if slot["state"] == "ready"]
                here = [slot for slot in ready if slot["assignment"]["node"] == besides]
                return len(ready) == count and not here
            return False

        eventually(is_so, within=PATIENCE, what=f"{count} ready processes of {deployment}")

    def pid(self, deployment: str, slot: str) -> int:
        """The process of a slot."""
        return int(self.slots(deployment)[slot]["process"]["pid"])

    def kill_daemon(self, node: str) -> None:
        """Kill a daemon alone; what it runs goes on for a while."""
        self.daemons[node].kill()
        self.daemons[node].wait()

    def cut_power(self, node: str) -> None:
        """End a node as a power cut would: its daemon, its keepers and what they keep."""
        self.kill_daemon(node)
        for keeper in keepers(self.home / "nodes" / node):
            keeper.kill()

    def freeze(self, node: str) -> None:
        """Stop a daemon in whatever it does."""
        self.daemons[node].send_signal(signal.SIGSTOP)

    def thaw(self, node: str) -> None:
        """Let it go on."""
        self.daemons[node].send_signal(signal.SIGCONT)

    def stop(self, *nodes: str) -> list[int]:
        """Ask daemons to leave, wait, and return their exit codes."""
        for node in nodes:
            self.daemons[node].terminate()
        return [self.daemons[node].wait(timeout=180) for node in nodes]

    def close(self) -> None:
        """End everything that was started; what the daemons said last is shown beside a failure."""
        for node, daemon in self.daemons.items():
            said = (self.home / f"{node}.log").read_text(errors="replace").splitlines()[-_LINES:]
            print(f"--- daemon of {node}, exit code {daemon.poll()}", *said, sep="\n")  # noqa: T201 -- pytest keeps it
        for node in self.daemons:
            self.thaw(node)
            self.cut_power(node)


def keepers(folder: Path) -> list[psutil.Process]:
    """The keepers of a node's processes."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.startswith(f"{folder}/") for word in words) and any("keeper.py" in word for word in words):
            found.append(process)
    return found


def workers(deployment: str) -> list[int]:
    """The slot numbers of all scorers of a deployment that this machine runs, as its process table tells."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        is_scorer = "millrace_scorer" in words and deployment in words
        if is_scorer and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(int(words[words.index("--slot") + 1]))
    return found


@contextmanager
def stage(broker: Broker, home: Path) -> Iterator[Stage]:
    """A stage whose daemons and processes end with it."""
    made = Stage(broker, home)
    try:
        yield made
    finally:
        made.close()
