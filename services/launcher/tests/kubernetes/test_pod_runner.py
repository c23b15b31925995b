"""The contract of runners on Pods of a real API server, and what Pods are besides.

The machine that runs them is the kit's: what a real one does with images, cgroups and logs is not shown.
"""

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from api_server import LAUNCHER, MANIFESTS, NAMESPACE, ApiServer, api_server
from kubelet import Kubelet, kubelet
from runner_contract import MEMORY_BYTES, PATIENCE, SLOT, Bench, RunnerContract, python_program

from millrace.core.errors import RequestError
from millrace.process.clock import SystemClock
from millrace.testing.waiting import eventually
from millrace_launcher.adapters.cluster import Cluster
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.adapters.pods import PodRunner
from millrace_launcher.adapters.renewing import LeaseRenewal
from millrace_launcher.logic.ports import Launch
from millrace_launcher.settings import KubernetesSettings

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"

MakePodRunner = Callable[..., PodRunner]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(Path(os.environ["MILLRACE_TEST_KUBERNETES"]), tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def machine(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    with kubelet(server, tmp_path_factory.mktemp("machine")) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> NodeFolder:
    """A node of a name of its own: all tests use one cluster."""
    made = NodeFolder(tmp_path, f"n-{uuid.uuid4().hex[:8]}")
    made.path.mkdir(parents=True)
    made.renew(1e9, timedelta(days=1))
    return made


@pytest.fixture
def make(server: ApiServer, machine: Kubelet, place: NodeFolder, tmp_path: Path) -> Iterator[MakePodRunner]:
    """Makes runners of this node with the rights of the manifest."""
    made: list[PodRunner] = []
    account = server.account(LAUNCHER, tmp_path / "account")

    def runner(*, lease: timedelta = timedelta(hours=1), **settings: Any) -> PodRunner:  # noqa: ANN401 -- of the settings
        cluster, clock = Cluster(server.url, account, NAMESPACE), SystemClock()
        chosen = KubernetesSettings(claim="", **settings)
        renewal = LeaseRenewal(cluster, place, clock, lease)
        made.append(PodRunner(cluster, place, chosen, dict(os.environ), sys.executable, clock, renewal))
        return made[-1]

    yield runner
    for each in made:
        each.close()


@pytest.fixture
def bench(make: MakePodRunner) -> Iterator[Bench]:
    with Bench(make(), python_program).closing() as made:
        yield made


def launch(code: str, *, number: int = 1, memory_bytes: int = MEMORY_BYTES, **environment: str) -> Launch:
    given = {"PATH": os.environ["PATH"], **environment}
    return Launch(SLOT, number, (sys.executable, "-u", "-c", code), given, 0.5, memory_bytes)


def pods(server: ApiServer, place: NodeFolder) -> list[dict[str, Any]]:
    """The Pods of a node, as everybody can read who may look at Pods."""
    listed = server.admin.get(PODS, params={"labelSelector": f"millrace/node={place.node}"}).raise_for_status()
    found: list[dict[str, Any]] = listed.json()["items"]
    return found


FILES = sorted({path.name for path in MANIFESTS.glob("*.yaml")} - {"launcher.yaml", "namespace.yaml"})
UNKNOWN = {"kustomization.yaml", "scaled-object.yaml", "rain.yaml", "training.yaml"}
"""Of kinds that this server has not, or no objects at all."""


@pytest.mark.parametrize("file", [each for each in FILES if each not in UNKNOWN])
def test_the_server_accepts_the_project_s_manifests(server: ApiServer, file: str) -> None:
    for each in yaml.safe_load_all((MANIFESTS / file).read_text()):
        answer = server.tries(each)
        assert answer.status_code == 201, answer.text


def test_the_server_refuses_what_it_does_not_understand(server: ApiServer) -> None:
    [job] = yaml.safe_load_all((MANIFESTS / "batch.yaml").read_text())
    job["spec"]["template"]["spec"]["restrtPolicy"] = "Never"
    answer = server.tries(job)
    assert answer.status_code == 400
    assert "restrtPolicy" in answer.text


class TestPods(RunnerContract):
    """The contract."""


def test_another_runner_adopts_what_runs(bench: Bench, make: MakePodRunner) -> None:
    bench.start("waits")
    bench.await_line("up")
    successor = make()
    alike = lambda: list(successor.processes()) == [bench.only()]  # noqa: E731
    eventually(alike, within=PATIENCE, what="the same answer of both")
    successor.drain(SLOT)
    assert bench.await_end().exit_code == 0
    eventually(alike, within=PATIENCE, what="the same end")


def test_what_does_not_end_is_killed(bench: Bench) -> None:
    bench.runner.start(launch(STUBBORN))
    bench.await_line("up")
    bench.runner.drain(SLOT)
    ended = bench.await_end()
    assert (ended.exit_code, ended.why, ended.is_draining) == (-9, "killed by signal 9 (SIGKILL)", True)


def test_a_pod_ends_with_the_lease_of_its_node(make: MakePodRunner, place: NodeFolder) -> None:
    with Bench(make(lease=timedelta(seconds=20)), python_program).closing() as bench:
        bench.runner.start(launch(STUBBORN))
        bench.await_line("up")
        place.renew(0, timedelta(0))
        ended = bench.await_end()
        assert (ended.why, ended.is_draining) == ("the node lost its lease", True)


def test_too_much_memory_is_the_reason(bench: Bench) -> None:
    bench.runner.start(launch("x = bytearray(400 << 20)\nimport signal; signal.pause()", memory_bytes=128 << 20))
    ended = bench.await_end()
    assert (ended.why, ended.is_draining) == ("out of memory: more than 128 MiB", False)


def test_an_image_that_cannot_be_pulled_is_waited_for_with_the_remedy(make: MakePodRunner) -> None:
    with Bench(make(images={"scorer": "millrace/absent:9"}), python_program).closing() as bench:
        bench.start("waits")
        eventually(lambda: "cannot be pulled" in bench.only().waits, within=PATIENCE, what="the reason")
        found = bench.only()
        assert (found.has_ended, found.url) == (False, "")
        assert "the image millrace/absent:9 cannot be pulled: Back-off" in found.waits
        assert "MILLRACE_KUBERNETES__IMAGES" in found.waits
        bench.runner.drain(SLOT)
        assert bench.await_end().is_draining, "there is nothing in hand to drain"


def test_a_pod_that_somebody_deletes_is_a_crash_with_the_reason(
    bench: Bench, server: ApiServer, place: NodeFolder
) -> None:
    bench.start("waits")
    bench.await_line("up")
    [pod] = pods(server, place)
    server.admin.delete(f"{PODS}/{pod['metadata']['name']}").raise_for_status()
    ended = bench.await_end()
    assert (ended.exit_code, ended.is_draining, ended.why) == (None, False, "its Pod was deleted by somebody else")


def test_a_pod_has_no_rights_and_its_secrets_are_told_to_nobody(
    bench: Bench, server: ApiServer, machine: Kubelet, place: NodeFolder
) -> None:
    bench.runner.start(
        launch("print('up')\nimport signal; signal.pause()", MILLRACE_SASL="hush", MILLRACE_HEALTH__PORT="7")
    )
    bench.await_line("up")
    # Its log may be there before its machine has told its address.
    eventually(lambda: bench.only().url == "http://127.0.0.1:7", within=PATIENCE, what="its address")
    [pod] = pods(server, place)
    assert "hush" not in json.dumps(pod)
    assert "hush" not in " ".join(psutil.Process(machine.pid(pod["metadata"]["name"])).cmdline())
    [container] = pod["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": str(MEMORY_BYTES)},
        "limits": {"cpu": "1", "memory": str(MEMORY_BYTES)},
    }


def test_the_rights_of_launcher_and_process_are_the_least(server: ApiServer, tmp_path: Path) -> None:
    launcher = Cluster(server.url, server.account(LAUNCHER, tmp_path / "launcher"), NAMESPACE)
    process = Cluster(server.url, server.account("millrace-process", tmp_path / "process"), NAMESPACE)
    elsewhere = Cluster(server.url, tmp_path / "launcher", "default")
    for refused in (lambda: process.pods(""), lambda: process.delete_secret("x"), lambda: elsewhere.pods("")):
        with pytest.raises(RequestError, match="is forbidden") as error:
            refused()
        assert "launcher.yaml" in error.value.remedy
    assert list(launcher.pods("millrace/node=nobody")) == []
    for each in (launcher, process, elsewhere):
        each.close()


def test_what_is_over_is_pruned_with_its_secrets(bench: Bench, server: ApiServer, place: NodeFolder) -> None:
    for number in range(1, 6):
        bench.runner.start(launch(f"print({number})", number=number))
        over = lambda number=number: bench.only().launch == number and bench.only().has_ended  # noqa: E731
        eventually(over, within=PATIENCE, what=f"the end of {number}")
    assert list(bench.runner.log(SLOT, lines=99)) == ["3", "4", "5"]
    named = {pod["metadata"]["name"] for pod in pods(server, place)}
    secrets = server.admin.get(
        f"/api/v1/namespaces/{NAMESPACE}/secrets", params={"labelSelector": f"millrace/node={place.node}"}
    ).json()["items"]
    assert {each["metadata"]["name"] for each in secrets} == named
    assert len(named) == 3


def test_a_cluster_that_does_not_answer_is_named_and_what_it_said_stands(place: NodeFolder, tmp_path: Path) -> None:
    cluster, clock = Cluster("http://127.0.0.1:9", tmp_path, NAMESPACE), SystemClock()
    runner = PodRunner(
        cluster, place, KubernetesSettings(), {}, sys.executable, clock, LeaseRenewal(cluster, place, clock)
    )
    with pytest.raises(RequestError, match="the API of the cluster does not answer"):
        runner.start(launch("pass"))
    assert list(runner.processes()) == []
    runner.close()
