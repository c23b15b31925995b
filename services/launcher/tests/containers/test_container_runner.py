"""The contract of runners on containers of a real engine, and what containers are besides."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from runner_contract import MEMORY_BYTES, PATIENCE, SLOT, Bench, RunnerContract, python_program

from millrace.core.errors import RequestError
from millrace.testing.waiting import eventually
from millrace_launcher.adapters.containers import ContainerRunner
from millrace_launcher.adapters.engine import Engine
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.logic.ports import Launch, Running
from millrace_launcher.settings import ContainerSettings

IMAGE = "python:3.11-slim-bookworm"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
CONFINED = (
    "import json, os, pathlib\nsaid = {'user': os.getuid(), 'home': os.environ['MILLRACE_HOME'], "
    "'path': os.environ['PATH'], 'secret': os.environ['MILLRACE_SASL']}\n"
    "try: pathlib.Path('/written').touch()\nexcept OSError as error: said['root'] = error.strerror\n"
    "pathlib.Path('/tmp/written').touch()\nprint(json.dumps(said))"
)


@pytest.fixture
def place(tmp_path: Path) -> NodeFolder:
    made = NodeFolder(tmp_path, "a")
    made.path.mkdir(parents=True)
    made.renew(1e9, timedelta(days=1))
    return made


@pytest.fixture
def bench(place: NodeFolder) -> Iterator[Bench]:
    """A runner whose containers are removed with the test."""
    engine = Engine(ContainerSettings().engine)
    settings = ContainerSettings(images={"scorer": IMAGE})
    runner = ContainerRunner(engine, place, settings, dict(os.environ), sys.executable, grace_secs=1)
    try:
        with Bench(runner, python_program).closing() as made:
            yield made
    finally:
        with_engine = Engine(ContainerSettings().engine)
        for each in with_engine.containers(f"millrace.owner={place.path}"):
            with_engine.remove(each["Id"])
        with_engine.close()


def launch(code: str, *, number: int = 1, memory_bytes: int = MEMORY_BYTES, **environment: str) -> Launch:
    given = {"PATH": os.environ["PATH"], **environment}
    return Launch(SLOT, number, (sys.executable, "-u", "-c", code), given, 0.5, memory_bytes)


def described(bench: Bench) -> Any:  # noqa: ANN401 -- the engine's own document
    """What the engine says of the only container, as everybody can read who may use it."""
    runner = bench.runner
    assert isinstance(runner, ContainerRunner)
    [listed] = runner.engine.containers(f"millrace.owner={runner.place.path}")
    return runner.engine.inspect(listed["Id"])


class TestContainers(RunnerContract):
    """The contract."""


def test_another_runner_adopts_what_runs(bench: Bench, place: NodeFolder) -> None:
    bench.start("waits")
    bench.await_line("up")
    found = bench.only()
    assert isinstance(bench.runner, ContainerRunner)
    successor = replace(bench.runner, engine=Engine(ContainerSettings().engine))
    [adopted] = successor.processes()
    assert adopted == found
    assert adopted.pid is not None
    successor.drain(SLOT)
    eventually(lambda: bench.only().has_ended, within=PATIENCE, what="the end, which the first one sees as well")
    assert bench.only().exit_code == 0
    assert list(successor.processes()) == list(bench.runner.processes())
    successor.close()


class Interrupted(Engine):
    """Whoever uses it is ended between making a container and starting it."""

    def start(self, container: str) -> None:
        """End."""
        raise SystemExit


def test_a_container_whose_daemon_ended_before_it_began_is_begun(bench: Bench) -> None:
    assert isinstance(bench.runner, ContainerRunner)
    ending = replace(bench.runner, engine=Interrupted(ContainerSettings().engine))
    with pytest.raises(SystemExit):
        ending.start(launch("print('up')"))
    ending.close()
    ended = bench.await_end()
    assert (ended.exit_code, list(bench.runner.log(SLOT, lines=9))) == (0, ["up"])


def test_what_does_not_end_is_killed(bench: Bench) -> None:
    bench.runner.start(launch(STUBBORN))
    bench.await_line("up")
    bench.runner.drain(SLOT)
    ended = bench.await_end()
    assert (ended.exit_code, ended.why) == (-signal.SIGKILL, "killed by signal 9 (SIGKILL)")


def test_a_container_ends_with_the_lease_of_its_node(bench: Bench, place: NodeFolder) -> None:
    bench.runner.start(launch(STUBBORN))
    bench.await_line("up")
    place.renew(0, timedelta(0))
    ended = bench.await_end()
    assert (ended.why, ended.is_draining) == ("the node lost its lease", True)


def test_too_much_memory_is_the_reason(bench: Bench) -> None:
    bench.runner.start(launch("x = bytearray(200 << 20)\nimport signal; signal.pause()", memory_bytes=64 << 20))
    ended = bench.await_end()
    assert (ended.why, ended.is_draining) == ("out of memory: more than 64 MiB", False)


def test_somebody_elses_kill_is_a_crash(bench: Bench) -> None:
    bench.start("waits")
    bench.await_line("up")
    os.kill(bench.only().pid or 0, signal.SIGKILL)
    ended = bench.await_end()
    assert (ended.exit_code, ended.is_draining, ended.why) == (-9, False, "killed by signal 9 (SIGKILL)")


def test_a_container_has_no_rights_and_its_secrets_are_told_to_nobody(bench: Bench) -> None:
    bench.runner.start(launch(CONFINED, MILLRACE_SASL="hush", MILLRACE_HEALTH__PORT="7"))
    ended = bench.await_end()
    assert ended.exit_code == 0, ended.why
    [line] = bench.runner.log(SLOT, lines=1)
    said = json.loads(line)
    assert said["path"] != os.environ["PATH"]
    assert {"user": 10001, "home": "/var/lib/millrace", "secret": "hush"}.items() <= said.items()
    assert said["root"] == "Read-only file system"
    assert ended.url == "http://127.0.0.1:7"
    found = described(bench)
    assert "hush" not in json.dumps(found)
    host = found["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["CapDrop"]) == (MEMORY_BYTES, 1_000_000_000, ["ALL"])


def test_a_program_that_is_not_there_is_a_reason(bench: Bench) -> None:
    bench.runner.start(Launch(SLOT, 1, ("no-such-program",), {}, 1, MEMORY_BYTES))
    assert bench.await_end().why == "exit code 127: cannot be started: No such file or directory: no-such-program"


def test_an_image_that_is_not_there_is_refused_with_the_remedy(bench: Bench) -> None:
    assert isinstance(bench.runner, ContainerRunner)
    absent = replace(bench.runner, settings=ContainerSettings(images={"scorer": "millrace/absent:9"}))
    with pytest.raises(RequestError, match="No such image: millrace/absent:9") as refused:
        absent.start(launch("pass"))
    assert refused.value.remedy.startswith("pull or build it on this node")
    assert list(bench.runner.processes()) == []


def test_the_logs_of_the_last_launches_are_kept(bench: Bench) -> None:
    def over(number: int) -> Running | None:
        return next((each for each in bench.runner.processes() if each.launch == number and each.has_ended), None)

    for number in range(1, 8):
        bench.runner.start(launch(f"print({number})", number=number))
        eventually(lambda number=number: over(number), within=PATIENCE, what=f"launch {number}")  # type: ignore[misc]
    assert list(bench.runner.log(SLOT, lines=99)) == ["3", "4", "5", "6", "7"]


def test_without_an_engine_nothing_starts_and_the_remedy_is_named(place: NodeFolder) -> None:
    engine = Engine(place.path / "no.sock")
    runner = ContainerRunner(engine, place, ContainerSettings(), {}, sys.executable)
    with pytest.raises(RequestError, match="no container engine answers") as refused:
        runner.start(launch("pass"))
    assert "MILLRACE_CONTAINERS__ENGINE" in refused.value.remedy
    assert list(runner.processes()) == []
    runner.close()
