"""The keys of `millrace.keys`, followed by everybody who has a door."""

from types import TracebackType
from typing import Self

from millrace.core.control.keys import ApiKey
from millrace.core.errors import RequestError
from millrace.core.records import NextOffset
from millrace.kafka.admin import Admin
from millrace.kafka.control import Changes, ControlView
from millrace.kafka.control_writer import CONTROL_TOPICS, KEYS_TOPIC
from millrace.process.keys import KEYS
from millrace.process.settings import KafkaSettings


class KeyView:
    """Every key, as it is a moment after it was changed. See `millrace.process.admission.Keys`.

    Safe to use from any thread. While no broker answers, what was known last holds. Close it, or use it in a `with`.

    Args:
        kafka: The cluster; the topic is made where it does not exist.

    Raises:
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        Admin(kafka).ensure_topics([spec for spec in CONTROL_TOPICS if spec.name == KEYS_TOPIC])
        self._view = ControlView(kafka, KEYS_TOPIC)
        try:
            self._view.follow(_nothing)
        except BaseException:
            self._view.close()
            raise

    def find(self, name: str) -> ApiKey | None:
        """The key of this name; None where there is none, or its record is none. Does not wait.

        Raises:
            FatalError, TransientError: The keys cannot be followed any more.
        """
        self._view.check()  # One that is not followed may have been revoked.
        document = self._view.get(name)
        if document is None:
            return None
        try:
            key = KEYS.read(document, subject=f"{KEYS_TOPIC}, {name}")
        except RequestError:
            return None
        return key if key.name == name else None

    def all(self) -> tuple[ApiKey, ...]:
        """All keys, by name, those that open nothing any more included; raises as `find`."""
        found = map(self.find, sorted(self._view.table))
        return tuple(key for key in found if key is not None)

    def wait_for(self, next_offset: NextOffset) -> None:
        """Read on until one's own change is seen.

        Raises:
            TransientError: It does not become readable.
        """
        self._view.wait_for(next_offset - 1)

    def close(self) -> None:
        """Stop following."""
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nothing(_: Changes) -> None:
    """The table itself is all that is looked at."""
