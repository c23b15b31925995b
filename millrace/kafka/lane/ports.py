"""What a lane needs of a Kafka client: a reader in a consumer group, and writers that settle what was read.

The lane's rules (`group`) are written against these, so that the very same rules run over the real client and, in
simulation, over the in-memory log.
"""

from collections.abc import Callable, Set
from datetime import timedelta
from typing import Protocol

from millrace.core.records import NextOffsets, OutputBatch, RecordBatch, TopicPartition


class Listener(Protocol):
    """Told by a reader about its assignment, from inside `read` and `close`."""

    def on_revoke(self, partitions: Set[TopicPartition]) -> None:
        """These partitions go to another worker as soon as this returns; until then they are ours.

        The last moment to settle what was written for them. Must not raise for a refused commit.
        """
        ...

    def on_lost(self, partitions: Set[TopicPartition]) -> None:
        """These partitions are another worker's already; nothing about them can be settled any more."""
        ...


class Reader(Protocol):
    """A member of a consumer group, reading one topic read_committed."""

    def listen(self, listener: Listener) -> None:
        """Tell `listener` about every change of assignment from now on. Called once, before the first read."""
        ...

    def read(self, limit: int, timeout: timedelta, linger: timedelta) -> RecordBatch:
        """Wait for records as `Lane.poll` does. Only records of partitions that are ours when this returns.

        Raises:
            TransientError: The broker is away and nothing was read.
            FatalError: As for `Lane.poll`.
        """
        ...

    def owned(self) -> Set[TopicPartition]:
        """The partitions that are ours."""
        ...

    def rewind(self) -> None:
        """Deliver from the committed offsets on, or from where reading began where nothing is committed.

        Takes effect before the next record is delivered; nothing of this member may be unsettled by then. Reads bring
        nothing as long as the committed offsets cannot be known, because another member's transaction is pending or
        because this member has been removed. May be called from inside a `Listener`.
        """
        ...

    def membership(self) -> object:
        """What proves to the broker that this member is still one; sent with transactional offsets."""
        ...

    def commit(self, next_offsets: NextOffsets) -> None:
        """Commit offsets outside any transaction, and wait for the answer.

        Raises:
            StepError: Refused, or unanswered.
        """
        ...

    def pause(self) -> None:
        """Read nothing until `resume`, whatever is assigned meanwhile."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def lag(self, done: NextOffsets) -> int | None:
        """Records between what is done and the end of our partitions, from what is known here; None if nothing is."""
        ...

    def close(self) -> None:
        """Leave the group at once."""
        ...


class Writer(Protocol):
    """Writes outputs, and settles them together with the offsets of their inputs.

    All but `prepare` and `close` may raise StepError; after one with recovery REBUILD only `close` is left. One thread
    at a time: `flush`, and the step that `prepare` returns, may be taken on another than the rest, which waits for it.
    """

    def begin(self) -> None:
        """Called before the first `send` after a `settle` or `abort`."""
        ...

    def send(self, outputs: OutputBatch) -> None:
        """Hand outputs to the client, waiting while its queue is full."""
        ...

    def flush(self) -> None:
        """Wait until the broker has every output sent since `begin`: what others send now comes after them."""
        ...

    def prepare(self, next_offsets: NextOffsets, reader: Reader) -> Callable[[], None]:
        """The step that makes all outputs sent since `begin`, and the offsets, final. It follows `flush`.

        Called on the reader's thread, and asks the reader here for whatever the step needs: a client that is asked for
        its membership on another thread, while its own tells of lost partitions, never answers.
        """
        ...

    def abort(self) -> None:
        """Take back what was sent since `begin`, as far as this kind of writer can."""
        ...

    def close(self) -> None:
        """Let go of the client at once, without waiting for the broker. Never raises; may be called twice."""
        ...


class OpenWriter(Protocol):
    """Makes a writer that is ready to begin."""

    def __call__(self) -> Writer:
        """Connect, and settle whatever an earlier holder of the same identity left open.

        Raises:
            TransientError: The broker is away, or still busy with what was left.
            FatalError: The broker refuses.
        """
        ...
