"""What is wrong with a deployment: what can be known before it runs, and what its records say while it does."""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from types import TracebackType
from typing import Final, Self

from millrace.codec.avro_framing import read_schemas
from millrace.codec.dead_letters import DeadLetter, read_dead_letter
from millrace.core.errors import RequestError, TransientError
from millrace.kafka.admin import Admin
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import MODELS_TOPIC
from millrace.kafka.reading import Reader
from millrace.process.addresses import check_service
from millrace.process.deployment import Deployment
from millrace.process.document import read_document
from millrace.process.settings import KafkaSettings
from millrace.serving.agreement import check_transform
from millrace.serving.catalogue import Table, curves, resolve
from millrace_launcher.logic.reach import out_of_reach

_NEWEST: Final = 20
"""Offsets at the end of a partition in which its newest dead letter is looked for; some of them are commits."""


class Examiner:
    """Looks at documents, models and dead letters. Shared by threads; close it, or use it in a `with`.

    Args:
        kafka: The cluster.
        is_heard: Whether the broker answers this node; what is known of processes without it is old.
        registries: The schema registries that deployments may name; any where there are none.
    """

    def __init__(self, kafka: KafkaSettings, *, is_heard: Callable[[], bool], registries: Collection[str] = ()) -> None:
        self._kafka = kafka
        self._registries = registries
        self._is_heard = is_heard
        self._admin = Admin(kafka)
        self._asking = Lock()  # Of the models, which know no threads.
        self._models = ControlView(kafka, MODELS_TOPIC)

    def faults(self, wanted: Deployment) -> list[str]:
        """What is known to be wrong with a document, a line each with the remedy, in the words of whoever would fail.

        Raises:
            TransientError: The broker is away.
        """
        checks = (
            self.check_addresses,
            self._check_topic,
            self._check_schemas,
            self._check_training,
            self._check_model,
        )
        return [fault for check in checks if (fault := _refusal(check, wanted))]

    def check_addresses(self, wanted: Deployment) -> None:
        """Refuse a document that leads processes to where its writer may not ask.

        Raises:
            RequestError: It names a schema registry that is not known here.
        """
        if (registry := wanted.source.registry) is not None:
            check_service(registry, known=self._registries, permission="MILLRACE_LAUNCHER__REGISTRIES")

    def silence(self) -> str:
        """Why nothing can be said about now, in one line; empty where the broker answers."""
        if self._is_heard():
            return ""
        return (
            f"the broker {self._kafka.bootstrap} does not answer: nothing is decided until it does, and what runs ends "
            "with its node's lease"
        )

    def findings(self, deployment: Deployment, *, since_ms: int) -> list[str]:
        """What hurts a deployment whose processes are all well, a line each.

        Args:
            deployment: The deployment.
            since_ms: Dead letters of failures before this are not its processes', milliseconds since 1970.
        """
        found = []
        with suppress(RequestError, TransientError):
            found.append(self._reach(deployment))
        with suppress(RequestError, TransientError):
            newest = max(self._letters(deployment.dead_letters_topic), key=_failed_at, default=None)
            if newest is not None and newest.first_failure_ms >= since_ms:
                found.append(_tell(deployment, newest))
        return list(filter(None, found))

    def close(self) -> None:
        """Release everything."""
        self._models.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_topic(self, wanted: Deployment) -> None:
        self._admin.partition_counts([wanted.source.topic])

    def _check_schemas(self, wanted: Deployment) -> None:
        read_schemas(wanted.source.schemas)

    def _check_training(self, wanted: Deployment) -> None:
        if wanted.scale.training is not None:
            read_document(wanted.scale.training)

    def _check_model(self, wanted: Deployment) -> None:
        table = self._table()
        check_transform(table, wanted, resolve(table, wanted.model))
        if reason := self._reach(wanted):
            raise RequestError(reason)

    def _reach(self, deployment: Deployment) -> str:
        table = self._table()
        return out_of_reach(deployment, curves(table, resolve(table, deployment.model)))

    def _table(self) -> Table:
        with self._asking:
            return self._models.refresh()

    def _letters(self, topic: str) -> Iterator[DeadLetter]:
        """The newest dead letters of each partition."""
        ends = self._admin.high_watermarks([topic])[topic]
        start = {partition: max(end - _NEWEST, 0) for partition, end in ends.items()}
        with Reader(self._kafka, topic, start=start) as reader:
            for batch in reader:
                yield from map(read_dead_letter, batch.headers)


def _refusal(check: Callable[[Deployment], None], wanted: Deployment) -> str:
    try:
        check(wanted)
    except RequestError as error:
        return str(error)
    return ""


def _failed_at(letter: DeadLetter) -> int:
    return letter.first_failure_ms


def _tell(deployment: Deployment, letter: DeadLetter) -> str:
    at = datetime.fromtimestamp(letter.first_failure_ms / 1000, UTC)
    return (
        f"{deployment.deployment} is ready, and cannot score every record: {letter.source} is a dead letter since "
        f"{at:%Y-%m-%d %H:%M:%S} UTC: {letter.message} (see `millrace dlq show {deployment.deployment}`)"
    )
