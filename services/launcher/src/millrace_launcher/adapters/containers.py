"""Processes in containers of this machine, each with a guard inside that knows the node's lease.

FOLDER/<deployment>.<kind>.<number>/<launch>/
    launch.json, guard.py, stop      the container sees the folder; see guard.py
    kill                             the reason it was killed for
    forgotten                        its end is known and mentioned no more

The folder is for what the engine does not keep: without it, containers are found by their labels all the same.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any, Final

import structlog

from millrace.core.control.fleet import Slot
from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace.process.lifecycle import DRAIN
from millrace_launcher.adapters import guard
from millrace_launcher.adapters.engine import Container, Engine
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.logic.containers import (
    HOST_NETWORK,
    LEASE_FOLDER,
    OWNER,
    Around,
    container_document,
    explained,
    launch_of,
    port_of,
    read_container,
)
from millrace_launcher.logic.enclosed import command_inside, environment_inside, image_of
from millrace_launcher.logic.ports import Launch, Runner, Running
from millrace_launcher.settings import ContainerSettings

log = structlog.get_logger()

_GRACE_SECS: Final = DRAIN.total_seconds() + 2
_KEPT: Final = 5
"""Launches of a slot whose logs are kept."""
_LINES_OF_REASON: Final = 50


@dataclass(frozen=True, slots=True)
class ContainerRunner:
    """Runs processes in containers. See `millrace_launcher.logic.ports.Runner`.

    While the engine is away, what it said last stands, and containers end with their lease as everything does.

    Attributes:
        engine: Runs the containers.
        place: The node's folder.
        settings: Images, network and user.
        own: The daemon's environment.
        python: The daemon's Python, instead of which a container takes its own.
        grace_secs: Time to drain.
    """

    engine: Engine
    place: NodeFolder
    settings: ContainerSettings
    own: Mapping[str, str]
    python: str
    grace_secs: float = _GRACE_SECS
    _ended: dict[str, Running] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What is over does not change any more, and its log is long."""
    _begun: dict[str, Container] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What the engine says of a container that runs stays as it is until its end."""
    _said: list[Running] = field(default_factory=list, init=False, repr=False, compare=False)

    def start(self, launch: Launch) -> None:
        """See `Runner.start`.

        Raises:
            RequestError: The image is not there, or no engine answers.
            FatalError: The folder cannot be written to.
        """
        folder = self._of(launch.slot, launch.launch)
        try:
            launches = self._launches(launch.slot)
            if launches and (latest := self._look(launches[-1])) is not None and not latest.has_ended:
                raise RequestError(f"{launch.slot} runs already", remedy="drain it first")
            document = self._document(launch, folder)
            self._write(launch, folder)
            self._run(launch, document)
            self._prune(launches)
        except TransientError as error:
            raise RequestError(error.message, remedy=error.remedy) from error
        except OSError as error:
            raise FatalError(f"{folder} cannot be used: {error.strerror}", remedy="make room, or its rights") from error

    def drain(self, slot: Slot) -> None:
        """See `Runner.drain`."""
        if (running := self._live(slot)) is not None:
            self._note(slot, running.launch, "stop")

    def kill(self, slot: Slot, *, why: str = "") -> None:
        """See `Runner.kill`."""
        if (running := self._live(slot)) is None:
            return
        self._note(slot, running.launch, "kill", why)
        try:
            self.engine.kill(self._name(slot, running.launch))
        except TransientError as error:
            log.warning("a container could not be killed", slot=str(slot), why=error.message)

    def processes(self) -> Sequence[Running]:
        """See `Runner.processes`."""
        try:
            latest: dict[Slot, Container] = {}
            for each in self._containers():
                latest[launch_of(each["Labels"])[0]] = each
            looked = [self._look(each) for each in latest.values()]
        except TransientError as error:
            log.warning("what runs in containers is not known", why=error.message, remedy=error.remedy)
            return list(self._said)
        self._said[:] = [
            found for found in looked if found is not None and not self._has(found.slot, found.launch, "forgotten")
        ]
        return list(self._said)

    def forget(self, slot: Slot) -> None:
        """See `Runner.forget`."""
        for found in self.processes():
            if found.slot == slot and found.has_ended:
                self._note(slot, found.launch, "forgotten")

    def log(self, slot: Slot, *, lines: int) -> Iterable[str]:
        """See `Runner.log`.

        Raises:
            TransientError: No engine answers.
        """
        kept: deque[str] = deque(maxlen=lines)
        for each in self._launches(slot):
            kept.extend(self.engine.log(each["Id"], lines=lines))
        return list(kept)

    def close(self) -> None:
        """See `Runner.close`."""
        self.engine.close()

    def _containers(self) -> Sequence[Container]:
        """This node's containers, earlier launches first."""
        found = self.engine.containers(f"{OWNER}={self.place.path}")
        return sorted(found, key=lambda each: launch_of(each["Labels"])[1])

    def _launches(self, slot: Slot) -> list[Container]:
        return [each for each in self._containers() if launch_of(each["Labels"])[0] == slot]

    def _live(self, slot: Slot) -> Running | None:
        """The process of a slot that runs."""
        return next((found for found in self.processes() if found.slot == slot and not found.has_ended), None)

    def _look(self, listed: Container) -> Running | None:
        """What a container does; None if it is gone by now."""
        container = listed["Id"]
        if (known := self._ended.get(container)) is not None:
            return known
        begun = self._begun.get(container) if listed["State"] == "running" else None
        inspected = begun or self.engine.inspect(container)
        if inspected is None:
            return None
        if inspected["State"]["Status"] == "created":  # Its daemon ended in between; starting it twice does no harm.
            with suppress(RequestError):
                self.engine.start(container)
        slot, launch = launch_of(inspected["Config"]["Labels"])
        folder = self._of(slot, launch)
        why = _read(folder / "kill")
        is_asked = (folder / "stop").exists() or why == ""
        found = read_container(inspected, port_of(_read_json(folder / "launch.json")), is_asked=is_asked)
        if found.has_ended:
            lines = self.engine.log(container, lines=_LINES_OF_REASON)
            found = explained(found, inspected, lines, noted=why or "")
            self._ended[container] = found
            self._begun.pop(container, None)
        elif inspected["State"]["Status"] == "running":
            self._begun[container] = inspected
        return found

    def _document(self, launch: Launch, folder: Path) -> Container:
        around = Around(
            owner=str(self.place.path),
            lease_folder=str(self.place.lease.parent),
            blobs=str(self.place.home.absolute() / "blobs"),
            mounts=tuple(self.settings.mounts),
            network=self.settings.network,
            user=self.settings.user,
            processors=os.cpu_count() or 1,
        )
        Path(around.blobs).mkdir(parents=True, exist_ok=True)
        command = command_inside(launch.command, python=self.python)
        image = image_of(launch.slot.kind, self.settings.images)
        return container_document(launch, command, image=image, folder=str(folder), around=around)

    def _write(self, launch: Launch, folder: Path) -> None:
        """Write down what shall start. The node's folder is its owner's; in it a container must be able to read."""
        host = "127.0.0.1" if self.settings.network == HOST_NETWORK else "0.0.0.0"  # noqa: S104 -- the container's own
        told = {
            "environment": environment_inside(launch, self.own, host),
            "folder": launch.folder,
            "grace_secs": self.grace_secs,
            "lease": {"file": f"{LEASE_FOLDER}/{self.place.lease.name}"},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "launch.json").write_text(json.dumps(told))
        copyfile(guard.__file__, folder / "guard.py")
        for path, mode in ((folder, 0o755), (folder / "launch.json", 0o644), (folder / "guard.py", 0o644)):
            path.chmod(mode)
        self.place.lease.parent.chmod(0o755)

    def _run(self, launch: Launch, document: Container) -> None:
        container = self.engine.create(self._name(launch.slot, launch.launch), document)
        try:
            self.engine.start(container)
        except MillraceError:
            with suppress(TransientError):
                self.engine.remove(container)
            raise

    def _prune(self, earlier: Sequence[Container]) -> None:
        for old in earlier[: 1 - _KEPT]:
            slot, launch = launch_of(old["Labels"])
            self.engine.remove(old["Id"])
            self._ended.pop(old["Id"], None)
            rmtree(self._of(slot, launch), ignore_errors=True)

    def _name(self, slot: Slot, launch: int) -> str:
        """The name of a container, another one for each node of each home that uses the engine."""
        owner = sha256(str(self.place.path).encode()).hexdigest()[:8]
        return f"millrace-{owner}-{slot.deployment}-{slot.kind}-{slot.number}-{launch}"

    def _of(self, slot: Slot, launch: int) -> Path:
        return self.place.containers / f"{slot.deployment}.{slot.kind}.{slot.number}" / str(launch)

    def _has(self, slot: Slot, launch: int, mark: str) -> bool:
        return (self._of(slot, launch) / mark).exists()

    def _note(self, slot: Slot, launch: int, mark: str, said: str = "") -> None:
        folder = self._of(slot, launch)
        folder.mkdir(parents=True, exist_ok=True)  # Somebody may have deleted it.
        partial = folder / f"{mark}.partial"
        partial.write_text(said, encoding="utf-8")
        partial.replace(folder / mark)


def make_runner(place: NodeFolder) -> Runner:
    """The runner `container`, as the daemon of a node uses it.

    Raises:
        RequestError: A setting is not valid.
    """
    settings = ContainerSettings.load()
    return ContainerRunner(Engine(settings.engine), place, settings, dict(os.environ), sys.executable)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        read: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read
