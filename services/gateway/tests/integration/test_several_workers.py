"""Several workers of one machine: on one port, and behind HAProxy."""

import csv
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import httpx
import pytest
import tritonclient.grpc as triton
from event_stream import Follower
from gateway_stage import GatewayStage
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prediction_topic import PredictionTopic
from scorer_stream import MakeStream

from millrace.core.errors import RequestError
from millrace.process.tls import ClientTls
from millrace.testing.certificates import Authority
from millrace.testing.running import serving
from millrace.testing.waiting import eventually
from millrace_gateway.adapters.haproxy import HaproxyPlace, configuration
from millrace_gateway.settings import GatewaySettings

pytestmark = pytest.mark.filterwarnings(
    # FastAPI silences this one for itself, with `catch_warnings`, which knows no threads: two gateways of one process
    # take each other's silence away.
    "ignore::pydantic.warnings.UnsupportedFieldAttributeWarning"
)

BODY = {"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
LONG = timedelta(seconds=60)


@contextmanager
def haproxy(options: GatewaySettings, folder: Path) -> Iterator[None]:
    """A real HAProxy, on the configuration that the gateway writes."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.fail("HAProxy is not installed: apt-get install haproxy")
    file = folder / "haproxy.cfg"
    file.write_text(configuration(options), encoding="utf-8")
    with subprocess.Popen([program, "-db", "-f", str(file)], stderr=subprocess.PIPE) as process:
        assert options.haproxy.socket is not None
        eventually(options.haproxy.socket.exists, what="HAProxy's socket")
        try:
            yield
        finally:
            process.terminate()


def test_behind_haproxy_tls_ends_there(
    stage: GatewayStage, stream: MakeStream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    s = stream()
    folder = tmp_path_factory.mktemp("t")  # paths of sockets must be short
    authority = Authority(folder, "authority")
    identity = authority.issue("gateway")
    apart = stage.options(
        haproxy={"socket": folder / "s"}, tls={"certificate": identity.certificate, "key": identity.key}
    )
    with pytest.raises(RequestError, match="from one file"):
        configuration(apart)
    both = folder / "both.pem"
    both.write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
    options = stage.options(haproxy={"socket": folder / "s", "workers": 1}, tls={"certificate": both})
    trust = ClientTls(ca=authority.file).context()
    shown = grpc.ssl_channel_credentials(authority.file.read_bytes())
    with haproxy(options, folder), stage.running(s.deployment(), options=options, trust=trust) as client:
        assert client.post(f"/v2/models/{s.name}/infer", json=BODY).status_code == 200
        with grpc.secure_channel(stage.target, shown) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            eventually(lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=60), within=LONG)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{stage.url}/v2", timeout=60)


def open_places(options: GatewaySettings) -> int:
    """How many workers HAProxy sends calls to; a worker opens its place over gRPC last."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(str(options.haproxy.socket))
        connection.sendall(b"show stat\n")
        with connection.makefile() as answer:
            rows = csv.DictReader(answer.read().lstrip("# ").splitlines())
        return sum(row["pxname"] == "grpc" and row["svname"] != "BACKEND" and row["status"] == "UP" for row in rows)


def test_a_draining_worker_behind_haproxy_loses_no_request(
    stage: GatewayStage, stream: MakeStream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    s = stream()
    folder = tmp_path_factory.mktemp("h")  # paths of sockets must be short
    options = stage.options(haproxy={"socket": folder / "s", "workers": 2})
    stopping = threading.Event()
    outcomes: list[str] = []

    def ask_rest() -> None:
        with httpx.Client(base_url=stage.url, timeout=10) as client:
            while not stopping.is_set():
                response = client.post(f"/v2/models/{s.name}/infer", json=BODY)
                outcomes.append("answered" if response.is_success else response.text)

    def ask_grpc() -> None:
        with triton.InferenceServerClient(stage.target) as client:
            while not stopping.is_set():
                outcomes.append("answered" if client.is_model_ready(s.name) else "not ready")

    with (
        haproxy(options, folder),
        ThreadPoolExecutor(3) as clients,
        stage.running(s.deployment(), options=options, slot=1),
    ):
        with stage.running(s.deployment(), options=options, slot=0):
            eventually(lambda: open_places(options) == 2, within=LONG, what="two workers")
            asking = [clients.submit(each) for each in (ask_rest, ask_rest, ask_grpc)]
            eventually(lambda: len(outcomes) > 100, within=LONG, what="requests with two workers")
        # The first worker has drained and is gone.
        reached = len(outcomes)
        eventually(lambda: len(outcomes) > reached + 100, within=LONG, what="requests with one worker")
        with stage.running(s.deployment(), options=options, slot=0):
            eventually(lambda: open_places(options) == 2, within=LONG, what="the worker that came back")
            back = len(outcomes)
            eventually(lambda: len(outcomes) > back + 100, within=LONG, what="requests with two workers again")
            stopping.set()
            for each in asking:
                each.result(timeout=30)
    assert set(outcomes) == {"answered"}


@contextmanager
def slow_worker(checked: threading.Semaphore) -> Iterator[int]:
    """A stand-in of a worker that answers after more than the interval of HAProxy's checks; the port."""

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            threading.Event().wait(0.8)
            checked.release()
            with suppress(ConnectionError):  # HAProxy did not wait
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Slow)) as worker:
        yield worker.server_port


def test_a_worker_that_is_slow_to_answer_is_not_taken_for_dead(
    stage: GatewayStage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("h")
    options = stage.options(haproxy={"socket": folder / "s", "workers": 1})
    checked = threading.Semaphore(0)
    with slow_worker(checked) as port, haproxy(options, folder):
        assert options.haproxy.socket is not None
        HaproxyPlace(options.haproxy.socket, 0).open(rest_port=port, grpc_port=port)
        for _ in range(3):
            assert checked.acquire(timeout=30)
        assert httpx.get(stage.url, timeout=30).status_code == 200


def test_a_draining_worker_behind_haproxy_sends_its_subscribers_to_another(
    stage: GatewayStage, stream: MakeStream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    s = stream()
    folder = tmp_path_factory.mktemp("h")
    options = stage.options(haproxy={"socket": folder / "s", "workers": 2})
    with haproxy(options, folder), stage.running(s.deployment(), options=options, slot=1):
        with stage.running(s.deployment(), options=options, slot=0):
            eventually(lambda: open_places(options) == 2, within=LONG, what="two workers")
            topic = PredictionTopic(stage.broker, partitions=1, deployment=s.name)
            followers = [Follower(stage.url, topic.path, "0:0") for _ in range(4)]  # some with each worker
            for each in followers:
                each.start()
            written = topic.write(10)
            eventually(lambda: all(each.numbers == written for each in followers), what="ten predictions each")
        written += topic.write(10)
        eventually(lambda: all(each.numbers == written for each in followers), what="twenty predictions each")
        for each in followers:
            each.enough.set()
        topic.write(1)  # wakes them up
        for each in followers:
            each.join(30)


def test_workers_share_a_port(stage: GatewayStage, stream: MakeStream) -> None:
    s = stream()
    with stage.running(s.deployment(), slot=0), stage.running(s.deployment(), slot=1):

        def counts() -> set[int]:
            """What workers that happen to answer have scored; each connection may reach another one."""
            found = set()
            for _ in range(8):
                with httpx.Client(base_url=stage.url, timeout=10) as client:
                    assert client.post(f"/v2/models/{s.name}/infer", json=BODY).status_code == 200
                    found.add(client.get(f"/v2/models/{s.name}/stats").json()["model_stats"][0]["inference_count"])
            return found

        # One worker alone would have counted every request of this test.
        asked = [0]

        def is_shared() -> bool:
            asked[0] += 8
            return max(counts()) < asked[0]

        eventually(is_shared, what="both workers")
