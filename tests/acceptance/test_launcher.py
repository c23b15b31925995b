"""The rows of acceptance about what the launcher runs: jobs, kinds of others, GPUs, environments, readiness.

Three daemons on one machine: `a` has two GPUs that a driver tells of, `b` another version of a library, `c` is as `a`.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fleet_stage import PATIENCE, Stage, stage

from millrace.cli.app import run
from millrace.client import ControlClient
from millrace.client.identity import who_am_i
from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.fleet import ASSIGNMENTS_TOPIC
from millrace.kafka.reading import Reader
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.export import Origin, export_function
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import temporary_broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import eventually

TOPIC = "rain.features"
NEEDED, PLANTED = "2.9.0", "2.8.0"
"""Versions of a library that nobody imports here."""

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebooks" / "iris.ipynb"

TRIES = 3
"""How often a scorer that crashes is started again here."""

WAITING = "import os, signal; print('device', os.environ['CUDA_VISIBLE_DEVICES'], flush=True); signal.pause()"

HERALD = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from millrace_launcher.logic.kinds import Kind

KIND = Kind("herald", "herald")

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"calling")

    def log_message(self, *args):
        pass

if __name__ == "__main__":
    print("herald", *sys.argv[1:], flush=True)
    HTTPServer(("127.0.0.1", int(os.environ["MILLRACE_HEALTH__PORT"])), Answer).serve_forever()
"""
"""A package of somebody else's with a kind of process."""

LABORATORY = """
import os, sys
from http.server import HTTPServer

from herald import Answer

[port] = [word.partition("=")[2] for word in sys.argv if word.startswith("--ServerApp.port=")]
HTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
"""
"""Stands for JupyterLab, which tests do not install: listens where it is told."""

Say = Callable[[str], None]


def plant(folder: Path, name: str, version: str, *, entry_points: str = "") -> None:
    """What an installer leaves of a distribution."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(metadata(name, version))
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points)


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel that has nothing but its name and version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", metadata(name, version))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "".join(f"{info}/{each},,\n" for each in ("METADATA", "WHEEL", "RECORD")))


def metadata(name: str, version: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def uv_without_index(wheels: Path, target: Path) -> str:
    """The command of the uv that this environment has; it finds packages in a folder, and nowhere else."""
    uv = Path(sys.executable).with_name("uv")
    where = ["--no-index", "--no-cache", "--find-links", str(wheels), "--target", str(target)]
    return shlex.join([str(uv), "pip", "install", "--python", sys.executable, *where])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The three nodes, a topic with records, and two models: one scores, one does not any more."""
    folder = tmp_path_factory.mktemp("launcher")
    packages, drivers = folder / "packages", folder / "drivers"
    plant(packages, "herald", "1.0", entry_points="[millrace.kinds]\nherald = herald:KIND\n")
    (packages / "herald.py").write_text(HERALD)
    laboratory = packages / "jupyterlab"
    laboratory.mkdir()
    (laboratory / "__init__.py").touch()
    (laboratory / "__main__.py").write_text(LABORATORY)
    rules = packages / "rules.py"
    rules.write_text("def score(features):\n    return features['a'] * 0.0\n")
    for node, version in (("a", NEEDED), ("b", PLANTED), ("c", NEEDED)):
        plant(folder / node, "torch", version)
    drivers.mkdir()
    (drivers / "nvidia-smi").write_text("#!/bin/sh\nprintf 'Fake GPU\\nFake GPU\\n'\n")
    (drivers / "nvidia-smi").chmod(0o755)
    wheels = folder / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "torch", NEEDED)
    home = folder / "home"
    with temporary_broker() as broker, pytest.MonkeyPatch.context() as patch:
        Admin(broker.kafka).ensure_topics([TopicSpec(TOPIC, 1)])
        patch.syspath_prepend(packages)
        sample = {name: np.linspace(0, 1, 10) for name in "abc"}
        origin = Origin("rules-model", datetime(2026, 1, 1, tzinfo=UTC))
        silent = export_function("rules:score", sample, origin=origin, directory=folder / "rules-bundle")
        with Registry(broker.kafka, Shelf.of(Settings(home=home)), who="kay") as registry:
            registry.push(linear_bundle(folder / "bundle", name="rain-model").directory)
            registry.push(silent.directory)
        rules.write_text("def score(features):\n    raise OSError('the rule book is gone')\n")
        send(broker.kafka, 20)
        patch.setenv("MILLRACE_LAUNCHER__HUNG_SECS", "3")
        patch.setenv("MILLRACE_LAUNCHER__CRASH_TRIES", str(TRIES))
        patch.setenv("MILLRACE_LAUNCHER__CRASH_WAIT_SECS", "0.5")
        patch.setenv("MILLRACE_LAUNCHER__INSTALLER", uv_without_index(wheels, folder / "b"))
        with stage(broker, home) as made:
            for node in "abc":
                patch.setenv("PYTHONPATH", f"{folder / node}:{packages}")
                path = os.environ["PATH"]
                with pytest.MonkeyPatch.context() as here:
                    if node == "a":
                        here.setenv("PATH", f"{drivers}:{path}")
                    made.start(node)
            yield made


@pytest.fixture
def control(fleet: Stage) -> Iterator[ControlClient]:
    with fleet.control("c") as client:
        yield client


@pytest.fixture(autouse=True)
def _here(fleet: Stage, control: ControlClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user of this machine has in his environment. He asks one node, which has read what it has written."""
    monkeypatch.setenv("MILLRACE_HOME", str(fleet.home))
    monkeypatch.setenv("MILLRACE_LAUNCHER__URL", control.url)
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", fleet.broker.bootstrap)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints a figure, whatever pytest captures."""

    def said(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")  # noqa: T201 -- figures are for people

    return said


def send(kafka: Any, count: int) -> None:  # noqa: ANN401
    values = [b'{"a": %d, "b": 0.5, "c": -1}' % number for number in range(count)]
    stamps = np.full(count, time.time_ns() // 1_000_000, np.int64)
    with Writer(kafka) as writer:
        writer.write(OutputBatch(TOPIC, np.zeros(count, np.int32), stamps, [None] * count, values))
        writer.flush()


def await_job(control: ControlClient, name: str, state: str) -> dict[str, Any]:
    """The job, once it is in this state."""
    eventually(lambda: control.job(name)["state"] == state, within=PATIENCE, what=f"{name} {state}")
    return control.job(name)


def submit(control: ControlClient, code: str, **rest: Any) -> str:  # noqa: ANN401 -- JSON
    """Launch a program; its id."""
    return str(control.submit({"kind": "python", "arguments": ["-u", "-c", code], **rest})["job"])


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_s62_what_is_launched_has_an_id_and_is_among_the_processes(
    control: ControlClient, capsys: pytest.CaptureFixture[str], say: Say
) -> None:
    begun = time.monotonic()
    assert run(["launch", "python", "--", "-u", "-c", WAITING]) == 0
    name = capsys.readouterr().out.strip()
    eventually(lambda: f"{name}/python/0" in {each["name"] for each in control.processes()}, within=PATIENCE, what="it")
    say(f"a launched process is among the processes after {time.monotonic() - begun:.1f} s")
    control.cancel(name)


def test_s49_a_job_is_submitted_followed_and_cancelled_in_one_form(
    control: ControlClient, capsys: pytest.CaptureFixture[str]
) -> None:
    name = submit(control, f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'])\n{WAITING}")
    process = await_job(control, name, "ready")["process"]
    family = [process["pid"], *(child.pid for child in psutil.Process(process["pid"]).children(recursive=True))]
    assert run(["job", "logs", name]) == 0
    assert "device" in capsys.readouterr().out
    assert run(["job", "status", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "ready"
    assert run(["job", "cancel", name]) == 0
    eventually(lambda: not any(map(is_running, family)), within=PATIENCE, what="the end of all it started")
    with pytest.raises(RequestError, match=f"there is no job '{name}'"):
        control.job(name)


def test_s49_a_job_is_done_once_and_one_that_fails_says_why(control: ControlClient) -> None:
    done, failed = submit(control, "print('worked')"), submit(control, "raise SystemExit('no such folder: years')")
    assert await_job(control, done, "done")["why"] == "it did its work and ended"
    assert await_job(control, failed, "failed")["why"] == "failed: exit code 1: no such folder: years"
    assert control.logs(f"{done}/python/0") == ["worked"]
    assert control.why(failed)[0] == f"{failed}/python/0: failed: exit code 1: no such folder: years"
    for name in (done, failed):
        control.cancel(name)


def test_s49_a_batch_runs_on_a_node(
    control: ControlClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "days.csv").write_text("id,a,b,c\n" + "".join(f"{n},{n}.5,0.5,-1.0\n" for n in range(50)))
    words = ["--model", "rain-model", "--input", "days.csv", "--output", "scored", "--workers", "1"]
    assert run(["batch", "run", "--on-node", *words]) == 0
    name = capsys.readouterr().out.strip()
    await_job(control, name, "done")
    assert "50 of 50 rows scored" in "\n".join(control.logs(f"{name}/batch/0"))
    assert any((tmp_path / "scored").rglob("*.parquet"))


def test_s49_a_program_of_an_engine_runs_in_its_own_environment(control: ControlClient, tmp_path: Path) -> None:
    engine = tmp_path / "engine" / "bin"
    engine.mkdir(parents=True)
    (engine / "python").write_text(f'#!/bin/sh\nENGINE=flink exec {sys.executable} "$@"\n')
    (engine / "python").chmod(0o755)
    code = "import os; print('on', os.environ['ENGINE'], os.environ['PARALLELISM'])"
    name = submit(control, code, environment=str(engine.parent), variables={"PARALLELISM": "2"})
    await_job(control, name, "done")
    assert control.logs(f"{name}/python/0") == ["on flink 2"]


def test_s56_a_package_of_somebody_else_adds_a_kind(control: ControlClient) -> None:
    control.submit({"kind": "herald", "name": "crier", "arguments": ["--loud"]})
    found = await_job(control, "crier", "ready")
    assert found["why"] == "calling"
    assert "herald --loud" in control.logs("crier/herald/0")
    with pytest.raises(RequestError, match="'bard' is no kind of process"):
        control.submit({"kind": "bard"})


def test_s67_a_notebook_server_is_launched_as_any_process(control: ControlClient) -> None:
    assert run(["launch", "notebook", "--name", "desk"]) == 0
    assert await_job(control, "desk", "ready")["process"]["node"] in "abc"
    control.cancel("desk")


def test_s67_a_notebook_registers_a_model_and_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = shutil.copy(NOTEBOOK, tmp_path)
    program = Path(sys.executable).with_name("jupyter-execute")
    done = subprocess.run([program, notebook], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert run(["model", "show", "iris/1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    [evaluation] = shown["evaluations"]
    assert (evaluation["experiment"], evaluation["dataset"], evaluation["rows"]) == ("iris", "held-out", 50)
    assert evaluation["who"] == who_am_i()
    accuracy = {metric["name"]: metric["value"] for metric in evaluation["metrics"]}["accuracy"]
    assert 0.9 < accuracy <= 1
    assert run(["model", "show", "iris"]) == 0
    assert f"accuracy {accuracy:.3f}" in capsys.readouterr().out
    assert any((tmp_path / "scored-by-iris-1").rglob("*.parquet"))


def test_a_process_that_hangs_is_replaced(control: ControlClient) -> None:
    control.submit({"kind": "herald", "name": "sleeper"})
    pid = await_job(control, "sleeper", "ready")["process"]["pid"]
    psutil.Process(pid).suspend()

    def is_replaced() -> bool:
        found = control.job("sleeper")  # ready for a moment after its end, until the node has said so
        return bool(found["state"] == "ready" and found["process"]["pid"] != pid)

    eventually(is_replaced, within=PATIENCE, what="a successor of what hangs")
    assert not is_running(pid)
    assert any("because: crashed: hung: it has not answered" in line for line in control.why("sleeper"))
    for name in ("sleeper", "crier"):
        with suppress(RequestError):
            control.cancel(name)


def test_s76_two_processes_never_hold_one_gpu(control: ControlClient) -> None:
    needs = {"cores": 0.1, "memory_bytes": 64 << 20, "gpus": 1}
    names = [submit(control, WAITING, needs=needs) for _ in range(2)]
    for name in names:
        await_job(control, name, "ready")
    third = submit(control, WAITING, needs=needs)
    lack = "a has 0 of 2 GPUs free, needed 1"
    eventually(lambda: lack in control.job(third)["why"], within=PATIENCE, what="what it waits for")
    assert sorted(device(control, name) for name in names) == ["device 0", "device 1"]
    freed = device(control, names[0])
    control.cancel(names[0])
    await_job(control, third, "ready")
    assert device(control, third) == freed
    for name in (names[1], third):
        control.cancel(name)


def device(control: ControlClient, name: str) -> str:
    """What a job says about its GPU."""
    eventually(lambda: control.logs(f"{name}/python/0"), within=PATIENCE, what=f"the words of {name}")
    return control.logs(f"{name}/python/0")[-1]


def test_s52_a_node_with_another_library_takes_no_model_until_it_is_synced(
    control: ControlClient, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {
        "deployment": "strict",
        "source": {"topic": TOPIC},
        "model": "rain-model",
        "scale": {"scorers": 0, "cores": 3.5, "libraries": {"torch": NEEDED}},
    }
    wanted = {**document, "scale": {**document["scale"], "scorers": 3}}  # type: ignore[dict-item] # one a node
    control.put("strict", document)
    assert run(["env", "check", "strict", "--json"]) == 0
    fitness = {each["node"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {node: each["fit"] for node, each in fitness.items()} == {"a": True, "b": False, "c": True}
    assert fitness["b"]["why"] == f"is unfit: torch {PLANTED}, needed {NEEDED}"
    [fault] = control.plan("strict", wanted)["faults"]
    assert f"b is unfit: torch {PLANTED}, needed {NEEDED}" in fault

    assert run(["env", "sync", "strict"]) == 0
    assert capsys.readouterr().out == f"b: torch=={NEEDED}\n"
    eventually(lambda: not control.plan("strict", wanted)["faults"], within=PATIENCE, what="a fit node")
    assert any(" on node b" in decision for decision in control.plan("strict", wanted)["decisions"])
    assert control.history(what="sync")[-1]["result"] == {"node": "b", "installed": {"torch": NEEDED}}
    control.delete("strict")


def test_s28_s75_a_scorer_that_dies_at_start_is_never_ready_and_is_given_up_with_its_reason(
    fleet: Stage, control: ControlClient, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {
        "deployment": "mute",
        "source": {"topic": TOPIC},
        "model": "rules-model",
        "runtime": {"python_functions": True},
    }
    other = submit(control, WAITING)
    await_job(control, other, "ready")
    control.put("mute", document)
    states = set[str]()

    def is_given_up() -> bool:
        states.update(slot["state"] for slot in control.deployment("mute")["slots"])
        return "failed" in states

    eventually(is_given_up, within=PATIENCE, what="the end of all tries")
    assert "ready" not in states
    put_off = [each for each in decisions(fleet, "mute/scorer/0") if each["not_before_ms"]]
    assert [each["not_before_ms"] - each["decided_ms"] for each in put_off] == [500, 1_000]
    assert run(["why", "mute"]) == 0
    reason = capsys.readouterr().out
    assert f"crashed {TRIES + 1} times in a row" in reason
    assert "the rule book is gone" in reason
    await_job(control, other, "ready")
    assert {each["order"] for each in decisions(fleet, f"{other}/python/0")} == {"run"}
    control.delete("mute")
    control.cancel(other)


def decisions(fleet: Stage, slot: str) -> list[dict[str, Any]]:
    """Every decision about a slot, oldest first, as the log has it."""
    with Reader(fleet.broker.kafka, ASSIGNMENTS_TOPIC) as reader:
        pairs = [pair for some in reader for pair in zip(some.keys, some.values, strict=True)]
    return [json.loads(value) for key, value in pairs if key == slot.encode() and value is not None]


def test_s48_one_command_puts_a_model_on_a_topic_that_holds_data(fleet: Stage, say: Say) -> None:
    begun = time.monotonic()
    words = ["deploy", "rain-model", "--from", TOPIC, "--to", "species", "--name", "flowers", "--launcher"]
    with fleet.control("c") as control:
        assert run([*words, control.url]) == 0

    def predictions() -> int:
        with suppress(RequestError), Reader(fleet.broker.kafka, "species") as reader:
            return sum(map(len, reader))
        return 0

    eventually(lambda: predictions() == 20, within=timedelta(seconds=90), what="a prediction for each record")
    say(f"every record that lay there has its prediction {time.monotonic() - begun:.1f} s after the command")
