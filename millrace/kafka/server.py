"""What the local broker is told: its listeners, ports and properties. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
"""The local broker is for this machine alone."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The three ports of a broker that is its own controller.

    Attributes:
        client: Where clients connect; the only port that anybody needs to know.
        internal: Where the broker talks to itself and where its readiness is probed, without credentials, whatever
            the client listener asks for.
        controller: Where the quorum of one meets.
    """

    client: int
    internal: int
    controller: int

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"{HOST}:{self.client}"


def server_properties(
    data: Path, ports: Ports, extra: Mapping[str, str], *, further: Mapping[str, int] | None = None
) -> dict[str, str]:
    """The properties of a broker that keeps its log in `data`; `extra` has the last word.

    The listeners are named CLIENT, INTERNAL and CONTROLLER: `extra` can, for example, set
    `listener.security.protocol.map` so that CLIENT alone asks for credentials. `further` names more of them, with their
    ports; `extra` then says how each is spoken to.
    """
    doors = "".join(f",{name}://{HOST}:{port}" for name, port in (further or {}).items())
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners": f"CLIENT://{HOST}:{ports.client},INTERNAL://{HOST}:{ports.internal},"
        f"CONTROLLER://{HOST}:{ports.controller}{doors}",
        "advertised.listeners": f"CLIENT://{HOST}:{ports.client},INTERNAL://{HOST}:{ports.internal}{doors}",
        "log.dirs": str(data),
        **_LOCAL,
        **extra,
    }


_LOCAL: Final = {
    # A misspelt topic is an error, not a new topic.
    "auto.create.topics.enable": "false",
    # One broker holds every replica, and few partitions of the internal topics start faster than fifty.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "8",
    # Nobody else is about to join, and a group may notice a dead member within seconds.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    # What a killed worker held goes to another one after 6 s, as the node it ran on is given up, and not after 45 s.
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "1500",
    "group.share.min.session.timeout.ms": "3000",
    "group.share.min.heartbeat.interval.ms": "500",
    "group.share.session.timeout.ms": "6000",
    "group.share.heartbeat.interval.ms": "1500",
    # A dead worker's transaction holds readers back for its timeout and this, instead of its timeout and 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # The quorum lets a broker that was killed come back once the one before it counts as dead: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # A heap for one machine: the cleaner would take 128 MiB of it.
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def properties_text(properties: Mapping[str, str]) -> str:
    r"""A Java properties file. Values are escaped: Java reads Latin-1, and a backslash as an escape.

    >>> properties_text({"log.dirs": "C:\\data\\Müller"})
    'log.dirs=C:\\\\data\\\\M\\u00fcller\n'
    """
    return "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items())


def _escaped(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    units = escaped.encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def java_options(*, heap_mb: int) -> tuple[str, ...]:
    """Options of the broker's Java: a bounded heap, a collector without threads of its own, words on standard error."""
    return (
        f"-Xmx{heap_mb}m",
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    )
