"""Whether the scorers that run answer with a version: what their handover records say, against what they have done."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson

from millrace.core.records import NextOffset, TopicPartition
from millrace.kafka.admin import Admin
from millrace.kafka.reading import Reader
from millrace.process.settings import KafkaSettings

_GROUP: Final = "scorer-"
_HANDOVERS: Final = ".handovers"
_PAUSE_SECS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Answering:
    """How far one deployment has taken a version over.

    Attributes:
        deployment: Its name.
        first_offsets: By partition of its source, the first record that the version answered.
        behind: Partitions where records were answered since, and by another version.
    """

    deployment: str
    first_offsets: Mapping[int, int]
    behind: tuple[int, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the version answers, and no other does."""
        return bool(self.first_offsets) and not self.behind

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
        offsets = {str(partition): offset for partition, offset in sorted(self.first_offsets.items())}
        return {"deployment": self.deployment, "first_offsets": offsets, "behind": list(self.behind)}


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest handover of a partition."""

    model: str
    version: int
    source: TopicPartition
    first_offset: int


class HandoverWatch:
    """Notes who runs and how far it has come when it is made: make it, move the alias, then wait.

    Deployments count whose scorers run, and whose records this model's champion answers.

    Args:
        kafka: The cluster.
        model: The model's name.
        champion: The version that answers until the alias is moved.

    Raises:
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, model: str, champion: int) -> None:
        self._kafka = kafka
        self._admin = Admin(kafka)
        groups = self._admin.groups_at_work()
        topics = self._admin.topic_names()
        running = (group.removeprefix(_GROUP) for group in sorted(groups) if group.startswith(_GROUP))
        found = {name: self._newest(name) for name in running if f"{name}{_HANDOVERS}" in topics}
        self._before: dict[str, Mapping[TopicPartition, NextOffset]] = {
            name: self._admin.committed(f"{_GROUP}{name}")
            for name, newest in found.items()
            if any((each.model, each.version) == (model, champion) for each in newest)
        }

    def look(self, version: int) -> tuple[Answering, ...]:
        """How far each deployment has taken the version over by now."""
        return tuple(self._look(name, version) for name in self._before)

    def wait(self, version: int, *, within: timedelta) -> tuple[Answering, ...]:
        """Look until every deployment has taken the version over, or the time is up. Blocks as long."""
        give_up = time.monotonic() + within.total_seconds()
        while True:
            found = self.look(version)
            if all(each.is_done for each in found) or time.monotonic() >= give_up:
                return found
            time.sleep(_PAUSE_SECS)

    def _look(self, name: str, version: int) -> Answering:
        done = self._admin.committed(f"{_GROUP}{name}")
        # After the offsets: a handover is committed with the records that it begins with.
        newest = {each.source: each for each in self._newest(name)}
        before = self._before[name]
        answered = {source for source, following in done.items() if following > before.get(source, 0)}
        taken = {each.source.partition: each.first_offset for each in newest.values() if each.version == version}
        return Answering(name, taken, tuple(sorted(each.partition for each in answered if each.partition not in taken)))

    def _newest(self, name: str) -> list[_Newest]:
        newest: dict[int, bytes] = {}
        with Reader(self._kafka, f"{name}{_HANDOVERS}") as reader:
            for batch in reader:
                newest.update(zip(batch.partitions.tolist(), (value or b"{}" for value in batch.values), strict=True))
        documents = map(orjson.loads, newest.values())
        return [
            _Newest(
                each["model"],
                each["champion"]["version"],
                TopicPartition(each["topic"], each["partition"]),
                each["first_offset"],
            )
            for each in documents
        ]
