"""Rows to an address of the web: a page is one POST of JSON lines with an `Idempotency-Key`.

A server keeps no position of ours, so `millrace.copies` does: which page is about to be sent, and then that it was
taken. Whoever dies in between sends the same page again under the same key, and a server that knows its keys takes it
once. Requests are repeated, within a bound, while the server is away or asks for patience.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import orjson

from millrace.client.copying.ports import PERMISSION, End, Page, State
from millrace.core.errors import RequestError, TransientError
from millrace.kafka.copies import CopyLog
from millrace.process.addresses import pin

_PATIENT: Final = frozenset({408, 429, 502, 503, 504})
"""What a server answers that may take the same request later."""

_TIMEOUT_SECS: Final = 30.0
_PAUSES: Final = tuple(timedelta(seconds=secs) for secs in (0.5, 1, 2, 4, 8))
_LONGEST: Final = timedelta(minutes=1)
"""A server that asks for more is left alone: the copy ends, and goes on when it is run again."""

_EXCERPT_CHARACTERS: Final = 300


class HttpSink:
    """An address that takes pages of JSON lines. Only a source that gives the same page again may be sent to it."""

    def __init__(self, end: End) -> None:
        self._address = end.uri
        self._name = end.name
        self._allow_private = end.options.allow_private
        pin(self._address, allow_private=self._allow_private, permission=PERMISSION)
        self._client = httpx.Client(
            timeout=_TIMEOUT_SECS,
            headers={"Content-Type": "application/x-ndjson", **end.options.sink_credentials},
            trust_env=False,
        )
        self._log = CopyLog(end.kafka, end.name)
        try:
            noted = self._log.state() or {"done": None, "sending": None}
        except BaseException:
            self.close()
            raise
        self._done: State | None = noted["done"]
        self._sending: State | None = noted["sending"]

    def position(self) -> State | None:
        """See `Sink`."""
        return self._done

    def unfinished(self) -> State | None:
        """See `ResendingSink`."""
        return self._sending

    def write(self, page: Page) -> None:
        """See `Sink`.

        Raises:
            RequestError: The server refuses the page.
            TransientError: The server is away, or asks for more patience than there is; run the copy again.
        """
        if page.state != self._sending:
            self._note(self._done, page.state)
        if page.rows:
            self._send(page)
        self._note(page.state, None)

    def close(self) -> None:
        """See `Sink`."""
        self._client.close()
        self._log.close()

    def _note(self, done: State | None, sending: State | None) -> None:
        self._log.write(None, {"done": done, "sending": sending})
        self._done, self._sending = done, sending

    def _send(self, page: Page) -> None:
        body = b"".join(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE) for row in page.rows)
        key = page_key(self._name, self._done, page.state)
        for pause in (*_PAUSES, None):
            refused = self._post(body, key)
            if refused is None:
                return
            said, asked = refused
            if pause is None or (asked or pause) > _LONGEST:
                raise TransientError(f"{self._address} {said}", remedy="run again later: the copy goes on")
            time.sleep((pause if asked is None else asked).total_seconds())

    def _post(self, body: bytes, key: str) -> tuple[str, timedelta | None] | None:
        """None when the page is taken; else what was said, and after what time the server wants to be asked again."""
        pinned, host, name = pin(self._address, allow_private=self._allow_private, permission=PERMISSION)
        headers = {**host, "Idempotency-Key": key}
        try:
            with self._client.stream(
                "POST", pinned, content=body, headers=headers, extensions={"sni_hostname": name}
            ) as answer:
                said = f"answers {answer.status_code}{_excerpt(answer.iter_text())}"
        except httpx.HTTPError as error:
            return f"cannot be reached: {type(error).__name__}", None
        if answer.is_success:
            return None
        if answer.status_code not in _PATIENT:
            raise RequestError(
                f"{self._address} {said}",
                remedy="check the address and --to-credentials; the page is sent again by the next run",
            )
        return said, retry_after(answer.headers.get("Retry-After", ""), datetime.now(UTC))


def page_key(name: str, after: State | None, until: State) -> str:
    """The key of the page of a copy between two states, the same in every run."""
    text = json.dumps([name, after, until], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def retry_after(header: str, now: datetime) -> timedelta | None:
    """What a `Retry-After` asks for, in seconds or as a date (RFC 9110, 10.2.3); None where it says nothing."""
    if header.strip().isdecimal():
        return timedelta(seconds=int(header.strip()[:9]))
    try:
        asked = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((asked if asked.tzinfo else asked.replace(tzinfo=UTC)) - now, timedelta())


def _excerpt(body: Iterator[str]) -> str:
    """The beginning of what a server says, on one line; the rest is not read."""
    text = ""
    for piece in body:
        text += piece
        if len(text) > _EXCERPT_CHARACTERS:
            break
    said = " ".join(text.split())[:_EXCERPT_CHARACTERS]
    return f": {said}" if said else ""
