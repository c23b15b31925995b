"""A Spark cluster in the place of worker processes. Spark's environment is its own and lacks millrace.

The driver and the executors get this project's packages as an archive of Python files, and the model as another. What
they must have is in `topologies/spark/environment.txt`: NumPy, Arrow, ONNX Runtime and a few more.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final, cast

import millrace
import millrace_batch
from millrace.core.errors import RequestError, TransientError
from millrace_batch.adapters.worker import Assignment, Died, Told
from millrace_batch.logic.splits import Split

BUNDLE: Final = "millrace-bundle"
"""The folder in which executors find the model."""

_MAIN: Final = "from millrace_batch.adapters.spark_driver import main\n\nmain()\n"
_START: Final = timedelta(minutes=5)
_FAREWELL_SECS: Final = 20.0
_SAID_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Cluster:
    """How Spark is reached.

    Attributes:
        python: The Python of Spark's environment; the driver's, and the executors' where they have the same.
        master: Spark's master: `spark://host:7077`, `yarn`, `local[*]`.
        conf: Further settings of Spark.
    """

    python: str
    master: str = "local[*]"
    conf: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SparkJob:
    """What the driver is told first: what to do, the archives of the packages and of the model, Spark's settings."""

    assignment: Assignment
    package: Path
    bundle: Path
    conf: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ready:
    """The driver has a cluster, which keeps so many splits at once busy."""

    splits: int


class SparkPool:
    """Executors in the place of workers. Close it, or use it in a `with`: then no process is left behind.

    Args:
        assignment: What all of them do; its URIs must mean the same on every machine.
        cluster: Where they are.

    Raises:
        RequestError: There is no Java, or no Python with Spark.
        TransientError: The driver found no cluster in time.
    """

    def __init__(self, assignment: Assignment, cluster: Cluster) -> None:
        _check(cluster)
        self._stack = ExitStack()
        with ExitStack() as undo:
            undo.callback(self._stack.close)
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="millrace-spark-")))
            package, bundle = _package(folder / "millrace.zip"), _archive(folder / "bundle.zip", assignment.bundle)
            self._log = folder / "driver.log"
            self._driver, self._connection = self._start(cluster, package)
            self._connection.send(
                SparkJob(assignment, package, bundle, {"spark.master": cluster.master, **cluster.conf})
            )
            self.size: Final = self._await_ready()
            undo.pop_all()

    @property
    def pids(self) -> list[int]:
        """The driver's process."""
        return [self._driver.pid]

    def start(self, number: int) -> None:
        """Nothing: Spark replaces its executors."""

    def send(self, number: int, split: Split | None) -> None:
        """Have a split scored under a number that no other one at work has."""
        with suppress(BrokenPipeError, ConnectionResetError):  # heard of in `listen`
            if split is not None:
                self._connection.send((number, split))

    def listen(self, timeout: timedelta) -> Iterator[tuple[int, Told | Died]]:
        """What became of splits within the time.

        Raises:
            TransientError: The driver is gone.
        """
        if wait([self._connection], timeout.total_seconds()):
            yield cast("tuple[int, Told | Died]", self._received())

    def close(self) -> None:
        """End the driver, and with it the executors."""
        self._stack.close()

    def __enter__(self) -> "SparkPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, cluster: Cluster, package: Path) -> tuple["subprocess.Popen[bytes]", Connection]:
        ours, theirs = socket.socketpair()
        log = self._stack.enter_context(self._log.open("wb"))
        environment = {**os.environ, "PYSPARK_PYTHON": cluster.python, "PYSPARK_DRIVER_PYTHON": cluster.python}
        environment.pop("PYTHONPATH", None)  # what is in the archive is all that there is of us
        with theirs:
            driver = subprocess.Popen(
                [cluster.python, str(package), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        self._stack.callback(_end, driver)
        connection = self._stack.enter_context(Connection(ours.detach()))
        return driver, connection

    def _await_ready(self) -> int:
        if not wait([self._connection], _START.total_seconds()):
            raise TransientError(f"Spark's driver found no cluster{self._said()}", remedy="check --spark-master")
        ready = self._received()
        assert isinstance(ready, Ready)  # noqa: S101 -- it is what the driver says first
        return ready.splits

    def _received(self) -> object:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise TransientError(
                f"Spark's driver ended{self._said()}", remedy="mend what it says and run again: the job goes on"
            ) from None

    def _said(self) -> str:
        last = self._log.read_text(errors="replace").splitlines()[-_SAID_LINES:]
        return "".join(f"\n    {line}" for line in last)


def _end(driver: "subprocess.Popen[bytes]") -> None:
    """The driver ends by itself when nobody talks to it any more; one that hangs is killed, and Java with it."""
    try:
        driver.wait(_FAREWELL_SECS)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()


def _check(cluster: Cluster) -> None:
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise RequestError(
            "Spark needs Java 17 or 21, and there is none",
            remedy="apt-get install openjdk-17-jre-headless, or set JAVA_HOME",
        )
    found = subprocess.run([cluster.python, "-c", "import pyspark"], capture_output=True, check=False)
    if found.returncode:
        raise RequestError(
            f"{cluster.python} has no pyspark",
            remedy="make an environment of topologies/spark/environment.txt and name its Python: --spark-python PATH",
        )


def _package(path: Path) -> Path:
    """An archive of this project's packages, which Python runs and imports from as it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", _MAIN)
        for package in (millrace, millrace_batch):
            [folder] = map(Path, package.__path__)
            for file in sorted(folder.rglob("*.py")):
                archive.write(file, Path(folder.name) / file.relative_to(folder))
    return path


def _archive(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder))
    return path
