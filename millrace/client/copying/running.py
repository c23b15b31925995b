"""A copy from its URIs to its end."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import orjson

from millrace.client.copying.files import FILES
from millrace.client.copying.http import HTTP
from millrace.client.copying.ports import (
    Connector,
    CopyOptions,
    End,
    Page,
    Refused,
    RepeatingSource,
    ResendingSink,
    Sink,
    Source,
)
from millrace.client.copying.redis import REDIS
from millrace.client.copying.sql import SQL
from millrace.client.copying.topic import TOPIC
from millrace.core.errors import RequestError
from millrace.process.settings import KafkaSettings

PLUG_INS: Final = "millrace.connectors"
"""Entry points of connectors: their names are the schemes of URIs."""

_CONNECTORS: Final[Mapping[str, Connector]] = {
    "kafka": TOPIC,
    **dict.fromkeys(("http", "https"), HTTP),
    **dict.fromkeys(("redis", "rediss"), REDIS),
    **dict.fromkeys(("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql"), SQL),
}

_KINDS: Final = "read and write topics, files, tables, addresses of the web and Redis streams"


@dataclass(frozen=True, slots=True)
class Copied:
    """How far a copy is, or how it ended.

    Attributes:
        rows: Rows written by this run.
        refused: Rows that cannot be read, in this run; they are in the file of dead letters.
        elapsed_secs: Since it began.
    """

    rows: int = 0
    refused: int = 0
    elapsed_secs: float = 0.0


OnCopied: TypeAlias = Callable[[Copied], None]
"""Called after each page with the state so far."""


def copy(
    kafka: KafkaSettings,
    source: str,
    sink: str,
    options: CopyOptions | None = None,
    *,
    dead_letters: Path | None = None,
    on_copied: OnCopied | None = None,
) -> Copied:
    """Write what the source has and the sink lacks. Run again after any death, it goes on where it was.

    Args:
        kafka: The cluster of topics.
        source: URI of what is read: `kafka:TOPIC`, a path, `s3://…`, `sqlite:///days.db#TABLE`, `https://…`,
            `redis://HOST/0#STREAM`, or a scheme that a plug-in brings.
        sink: URI of what is written; a folder where it is files. An address of the web gets pages of JSON lines.
        options: How.
        dead_letters: File of JSON lines for rows that cannot be read; without one, the first of them is an error.
        on_copied: Told of progress.

    Raises:
        RequestError: An end cannot be used as it is meant to be, or a row cannot be read and there is no file for it.
        TransientError: An end cannot be reached for now; run it again.
        FatalError: Another process copies under the same name.
    """
    options = options or CopyOptions()
    _refuse_secrets(source)
    _refuse_secrets(sink)
    name = options.name or hashlib.sha256(f"{source}\0{sink}".encode()).hexdigest()[:16]
    started = time.monotonic()
    copied = Copied()
    letters = _DeadLetters(dead_letters)
    open_source, open_sink = _connector(source).source, _connector(sink).sink
    if open_source is None or open_sink is None:
        refused = source if open_source is None else sink
        raise RequestError(f"{refused} cannot be {'read' if open_source is None else 'written'}", remedy=_KINDS)
    with (
        closing(open_sink(End(sink, options, name, kafka))) as opened_sink,
        closing(open_source(End(source, options, name, kafka))) as opened,
    ):
        for page in _pages(opened, opened_sink):
            letters.write(page)  # before the page counts: they are known again if it does not
            opened_sink.write(page)
            copied = Copied(
                copied.rows + len(page.rows), copied.refused + len(page.refused), time.monotonic() - started
            )
            if on_copied is not None:
                on_copied(copied)
    return replace(copied, elapsed_secs=time.monotonic() - started)


def _pages(source: Source, sink: Sink) -> Iterator[Page]:
    """What the sink lacks; first, as it was, a page of which an earlier run did not learn whether it is there."""
    after = sink.position()
    if isinstance(sink, ResendingSink):
        if not isinstance(source, RepeatingSource):
            raise RequestError(
                "this source cannot give a page again as it was, which the web needs",
                remedy="copy into a topic first, and from there",
            )
        until = sink.unfinished()
        if until is not None:
            yield source.between(after, until)
            after = until
    yield from source.pages(after)


def _connector(uri: str) -> Connector:
    scheme = uri.partition(":")[0].partition("+")[0].lower() if ":" in uri else ""
    return _CONNECTORS.get(scheme) or _plugged_in(scheme) or FILES


def _plugged_in(scheme: str) -> Connector | None:
    for found in entry_points(group=PLUG_INS, name=scheme):
        connector = found.load()
        if not isinstance(connector, Connector):
            raise RequestError(f"the plug-in {found.value} is no Connector", remedy="ask its author")
        return connector
    return None


def _refuse_secrets(uri: str) -> None:
    """A URI is shown in errors and lists of processes, and credentials must not be."""
    if urlsplit(uri).password is not None:
        raise RequestError(
            "a URI holds a password", remedy="name credentials instead: --from-credentials NAME, --to-credentials NAME"
        )


class _DeadLetters:
    """The file of rows that cannot be read. A row that is in it already is not written again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: set[tuple[str, int]] = set()
        if path is not None and path.exists():
            self._known = {(each["place"], each["row"]) for each in map(orjson.loads, path.read_bytes().splitlines())}

    def write(self, page: Page) -> None:
        new = [each for each in page.refused if (each.place, each.row) not in self._known]
        if not new:
            return
        if self._path is None:
            first = new[0]
            raise RequestError(
                f"{first.place}: row {first.row} cannot be read: {first.reason}",
                remedy="correct it, or have such rows put aside: --dead-letters FILE",
            )
        with self._path.open("ab") as file:
            file.writelines(map(_letter, new))
        self._known.update((each.place, each.row) for each in new)


def _letter(refused: Refused) -> bytes:
    document = {"place": refused.place, "row": refused.row, "reason": refused.reason, "text": refused.text}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
