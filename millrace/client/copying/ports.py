"""What a copy is made of: a source that can go on where it was, and a sink that knows where that is.

The sink keeps how far the source is read *with* the rows, in one step that happens or does not: a transaction of Kafka
or of a database, one MULTI of Redis, a manifest beside files. So whoever dies in between, the next run reads on after
the last row that is there, and no row is there twice. A sink that cannot do that sends the same page again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from millrace.process.settings import KafkaSettings

PERMISSION: Final = "--allow-private-hosts"
"""What lets a copy reach private networks; a command's option."""

Row: TypeAlias = Mapping[str, Any]

State: TypeAlias = Mapping[str, Any]
"""How far a source is read, as JSON values. Only the source understands it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be read.

    Attributes:
        place: The file, topic or address.
        row: Which row there: a line of a text file from 1, an offset of a topic.
        reason: What is wrong with it.
        text: The row as it is.
    """

    place: str
    row: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and how far the source is read with them."""

    rows: Sequence[Row]
    state: State
    refused: Sequence[Refused] = ()


class Source(Protocol):
    """Where rows come from. Used by one thread, and closed at the end."""

    def pages(self, after: State | None) -> Iterator[Page]:
        """The rows after a state, up to the end there is now; all of them for None.

        Raises:
            RequestError: It cannot be read as it is meant to be, or rows after the state are gone.
            TransientError: It cannot be reached for now.
        """
        ...

    def close(self) -> None:
        """Release connections. May be called twice."""
        ...


@runtime_checkable
class RepeatingSource(Source, Protocol):
    """A source that gives a page again as it was, whatever has come since."""

    def between(self, after: State | None, until: State) -> Page:
        """The rows after a state, up to another that a page of an earlier run had: the same rows in the same order.

        Raises:
            RequestError: These rows are gone, or cannot be told from others.
            TransientError: It cannot be reached for now.
        """
        ...


class Sink(Protocol):
    """Where rows go. Used by one thread, and closed at the end."""

    def position(self) -> State | None:
        """The state of the last page that is written; None when there is none."""
        ...

    def write(self, page: Page) -> None:
        """Write a page and its state, both or neither. A normal return says that they stay.

        Raises:
            RequestError: The rows do not fit.
            TransientError: The outcome is not known; a new sink tells it.
            FatalError: Another process writes under this name.
        """
        ...

    def close(self) -> None:
        """Release connections; what is not written is forgotten. May be called twice."""
        ...


@runtime_checkable
class ResendingSink(Sink, Protocol):
    """A sink whose end does not keep the position: a page whose fate is not known is sent again, under the same key."""

    def unfinished(self) -> State | None:
        """The state of a page that was begun and is not known to be there; None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How a copy is made.

    Attributes:
        name: Of the copy, under which the sink keeps how far it is; by the two URIs where absent.
        key_field: Field with the key of records that are written to a topic.
        cursor: Column of a table by which it is read: unique, and growing with every new row.
        file_format: How files are written; by their endings where absent, JSON lines in a folder that is written.
        page_rows: Most rows that are written in one step.
        allow_private: Whether an address of the web may lie in a private network.
        source_credentials: Options of the source's driver; never shown.
        sink_credentials: Options of the sink's driver; never shown.
    """

    name: str = ""
    key_field: str | None = None
    cursor: str | None = None
    file_format: str | None = None
    page_rows: int = 10_000
    allow_private: bool = False
    source_credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sink_credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class End:
    """What a connector is told: the URI of its end, the copy's options and name, and the cluster."""

    uri: str
    options: CopyOptions
    name: str
    kafka: KafkaSettings


@dataclass(frozen=True, slots=True)
class Connector:
    """One kind of place. Plug-ins offer one under the entry point `millrace.connectors`, named after the URI's scheme.

    Attributes:
        source: Opens a source; None where it cannot be read.
        sink: Opens a sink; None where it cannot be written.
    """

    source: Callable[[End], Source] | None = None
    sink: Callable[[End], Sink] | None = None
