"""Processes in Pods of a Kubernetes cluster, each with a guard inside that knows the node's Lease.

Everything that is known of them is in the cluster. Only what this daemon killed lives on in its memory: a Pod that is
deleted takes its exit code and its log along.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import RLock
from typing import Final

import structlog

from millrace.core.clock import Clock
from millrace.core.control.fleet import Slot
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import DRAIN
from millrace_launcher.adapters import guard
from millrace_launcher.adapters.cluster import Cluster, Document
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.adapters.renewing import LeaseRenewal, lease_name
from millrace_launcher.logic.enclosed import command_inside, environment_inside, image_of
from millrace_launcher.logic.pods import (
    DRAINED,
    FORGOTTEN,
    NODE,
    Around,
    explained,
    is_forgotten,
    launch_of,
    name_of,
    pod_document,
    read_pod,
    secret_document,
    vanished,
)
from millrace_launcher.logic.ports import Launch, Runner, Running
from millrace_launcher.settings import KubernetesSettings

log = structlog.get_logger()

_GRACE_SECS: Final = int(DRAIN.total_seconds()) + 2
_FOR_THE_GUARD: Final = 5
"""Seconds that a Pod has beyond the grace of its program."""
_AT_ONCE: Final = 1
"""The shortest grace for which the cluster waits until the process is really over."""
_KEPT: Final = 3
"""Launches of a slot whose logs are kept."""
_LINES: Final = 200
_LINES_OF_REASON: Final = 50
_GOOD_FOR: Final = timedelta(milliseconds=500)
"""How long an answer of the API is taken again: the node looks five times a second."""


@dataclass(slots=True)
class PodRunner:
    """Runs processes in Pods. See `millrace_launcher.logic.ports.Runner`.

    While the API is away, what it said last stands, and Pods end with their lease as everything does.

    Attributes:
        cluster: The namespace.
        place: The node's folder.
        settings: Images, accounts and volumes.
        own: The daemon's environment.
        python: The daemon's Python, instead of which a container takes its own.
        clock: The system's.
        renewal: Renews the node's Lease; closed with this runner.
    """

    cluster: Cluster
    place: NodeFolder
    settings: KubernetesSettings
    own: Mapping[str, str]
    python: str
    clock: Clock
    renewal: LeaseRenewal
    _listed: tuple[float, Sequence[Document]] | None = field(default=None, init=False)
    _known: dict[str, Running] = field(default_factory=dict, init=False)
    """What ran when it was looked at last, or is over and does not change any more, by the name of its Pod."""
    _killed: dict[str, str] = field(default_factory=dict, init=False)
    """What Pods were deleted for."""
    _words: dict[str, list[str]] = field(default_factory=dict, init=False)
    """What Pods that are gone had said, as far as this daemon saw it."""
    _forgotten: set[str] = field(default_factory=set, init=False)
    _said: Sequence[Running] = field(default=(), init=False)
    _lock: RLock = field(default_factory=RLock, init=False)

    def start(self, launch: Launch) -> None:
        """See `Runner.start`.

        Raises:
            RequestError: The cluster refuses, or does not answer.
        """
        if self._live(launch.slot) is not None:
            raise RequestError(f"{launch.slot} runs already", remedy="drain it first")
        around = Around(
            node=self.place.node,
            account=self.settings.process_account,
            claim=self.settings.claim,
            grace_secs=_GRACE_SECS + _FOR_THE_GUARD,
        )
        command = command_inside(launch.command, python=self.python)
        pod = pod_document(launch, command, image=image_of(launch.slot.kind, self.settings.images), around=around)
        secret = secret_document(launch, self._files(launch), node=self.place.node)
        try:
            with self._lock:
                self._prune(launch.slot)
            self.cluster.create_secret(secret)
            with self._changing():
                self.cluster.create_pod(pod)
        except TransientError as error:
            raise RequestError(error.message, remedy=error.remedy) from error

    def drain(self, slot: Slot) -> None:
        """See `Runner.drain`."""
        running = self._live(slot)
        if running is None:
            return
        if running.waits:  # The cluster counts the time of a Pod from when a machine has it.
            self.kill(slot)
        elif not running.is_draining:
            with self._trying("a Pod could not be asked to end", slot), self._changing():
                self.cluster.patch_pod(self._name(running), DRAINED)

    def kill(self, slot: Slot, *, why: str = "") -> None:
        """See `Runner.kill`."""
        running = self._live(slot)
        if running is None:
            return
        name = self._name(running)
        with self._trying("a Pod could not be killed", slot), self._changing():
            if name not in self._killed:
                self._words[name] = self.cluster.log(name, lines=_LINES)
                self._killed[name] = why
            self.cluster.delete_pod(name, grace_secs=_AT_ONCE)

    def processes(self) -> Sequence[Running]:
        """See `Runner.processes`."""
        try:
            with self._lock:
                self._said = self._look()
        except MillraceError as error:
            log.warning("what runs in Pods is not known", why=error.message, remedy=error.remedy)
        return list(self._said)

    def forget(self, slot: Slot) -> None:
        """See `Runner.forget`."""
        for found in self.processes():
            if found.slot == slot and found.has_ended:
                name = self._name(found)
                with self._trying("a Pod could not be forgotten", slot), self._changing():
                    self.cluster.patch_pod(name, {"metadata": {"annotations": {FORGOTTEN: "yes"}}})
                    self._forgotten.add(name)

    def log(self, slot: Slot, *, lines: int) -> Iterable[str]:
        """See `Runner.log`.

        Raises:
            RequestError: The cluster refuses.
            TransientError: It does not answer.
        """
        kept: deque[str] = deque(maxlen=lines)
        named = {name_of(self.place.node, slot, launch): launch for launch in self._launches(slot)}
        for name in sorted(named.keys() | self._words_of(slot), key=lambda each: int(each.rpartition("-")[2])):
            kept.extend(self._words[name] if name in self._words else self.cluster.log(name, lines=lines))
        return list(kept)

    def close(self) -> None:
        """See `Runner.close`."""
        self.renewal.close()
        self.cluster.close()

    def _look(self) -> list[Running]:
        pods = {pod["metadata"]["name"]: pod for pod in self._pods()}
        for name, pod in pods.items():
            self._known[name] = self._read(name, pod)
        for name in [each for each, found in self._known.items() if each not in pods and not found.has_ended]:
            now_ms = self.clock.wall_ms()
            self._known[name] = vanished(self._known[name], killed_for=self._killed.get(name), now_ms=now_ms)
            self._words.setdefault(name, [])
            self.cluster.delete_secret(name)
        latest: dict[Slot, Running] = {}
        for found in sorted(self._known.values(), key=lambda each: each.launch):
            latest[found.slot] = found
        return [
            each
            for each in latest.values()
            if self._name(each) not in self._forgotten and not is_forgotten(pods.get(self._name(each)))
        ]

    def _read(self, name: str, pod: Document) -> Running:
        known = self._known.get(name)
        if known is not None and known.has_ended:
            return known
        found = read_pod(pod, is_killed=self._killed.get(name) == "")
        if found.has_ended and name in self._killed:  # Its end may be told before its Pod is gone.
            found = vanished(found, killed_for=self._killed[name], now_ms=self.clock.wall_ms())
        elif found.has_ended:
            found = explained(found, pod, self.cluster.log(name, lines=_LINES_OF_REASON))
        return found

    def _pods(self) -> Sequence[Document]:
        now = self.clock.monotonic()
        if self._listed is None or now - self._listed[0] > _GOOD_FOR.total_seconds():
            self._listed = (now, self.cluster.pods(f"{NODE}={self.place.node}"))
        return self._listed[1]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """What was listed before is old after the change."""
        try:
            yield
        finally:
            self._listed = None

    @contextmanager
    def _trying(self, what: str, slot: Slot) -> Iterator[None]:
        """Say that something failed which the node does again and again."""
        try:
            yield
        except MillraceError as error:
            log.warning(what, slot=str(slot), why=error.message, remedy=error.remedy)

    def _live(self, slot: Slot) -> Running | None:
        """The process of a slot that runs, as it is now."""
        self._listed = None
        return next((found for found in self.processes() if found.slot == slot and not found.has_ended), None)

    def _launches(self, slot: Slot) -> list[int]:
        """The launches of a slot whose Pods are there, oldest first."""
        found = (launch_of(pod) for pod in self._pods())
        return sorted(launch for whose, launch in found if whose == slot)

    def _words_of(self, slot: Slot) -> set[str]:
        return {name for name in self._words if name.rpartition("-")[0] == self._stem(slot)}

    def _files(self, launch: Launch) -> Mapping[str, str]:
        told = {
            # The address of a Pod is its own: others reach it there.
            "environment": environment_inside(launch, self.own, "0.0.0.0"),  # noqa: S104
            "folder": launch.folder,
            "grace_secs": _GRACE_SECS,
            "lease": {"namespace": self.settings.namespace, "name": lease_name(self.place.node)},
        }
        return {"launch.json": json.dumps(told), "guard.py": Path(guard.__file__).read_text(encoding="utf-8")}

    def _prune(self, slot: Slot) -> None:
        old = [name_of(self.place.node, slot, launch) for launch in self._launches(slot)[: 1 - _KEPT]]
        for name in old:
            self.cluster.delete_pod(name, grace_secs=_AT_ONCE)
            self.cluster.delete_secret(name)
        gone = sorted(self._words_of(slot), key=lambda each: int(each.rpartition("-")[2]))[: 1 - _KEPT]
        for name in (*old, *gone):
            for memory in (self._known, self._killed, self._words):
                memory.pop(name, None)
            self._forgotten.discard(name)

    def _name(self, running: Running) -> str:
        return name_of(self.place.node, running.slot, running.launch)

    def _stem(self, slot: Slot) -> str:
        return name_of(self.place.node, slot, 0).rpartition("-")[0]


def make_runner(place: NodeFolder) -> Runner:
    """The runner `kubernetes`, as the daemon of a node uses it.

    Raises:
        RequestError: A setting is not valid, or it is not said where the API is.
    """
    settings = KubernetesSettings.load()
    cluster, clock = Cluster(_address(settings), settings.account, settings.namespace), SystemClock()
    renewal = LeaseRenewal(cluster, place, clock)
    return PodRunner(cluster, place, settings, dict(os.environ), sys.executable, clock, renewal)


def _address(settings: KubernetesSettings) -> str:
    """Where the API is: where the settings say, or where Kubernetes tells every Pod."""
    if settings.url:
        return settings.url
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise RequestError(
            "it is not said where the API of the cluster is",
            remedy="run the launcher in a Pod, or set MILLRACE_KUBERNETES__URL",
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
