"""Pages of the web: rows as JSON, JSON lines or CSV, and the next page by the `Link` header.

An address is checked (see `millrace.process.addresses`) after each redirect anew.
"""

import tempfile
from collections.abc import Iterator
from typing import IO, Final
from urllib.parse import urljoin, urlsplit

import httpx

from millrace.client.copying.files import read_rows
from millrace.client.copying.http_sink import HttpSink
from millrace.client.copying.ports import PERMISSION, Connector, End, Page, State
from millrace.codec.file_formats import SUFFIXES, FileFormat
from millrace.core.errors import RequestError, TransientError
from millrace.process.addresses import pin

_BY_TYPE: Final = {
    "application/json": FileFormat.JSON,
    "application/x-ndjson": FileFormat.JSONL,
    "application/jsonl": FileFormat.JSONL,
    "text/csv": FileFormat.CSV,
}
_REDIRECTS: Final = 5
_MEMORY_BYTES: Final = 16 << 20
_TIMEOUT_SECS: Final = 30.0


class HttpSource:
    """The rows at an address, and at those that it names as next.

    The state is an address and how many rows of it were read: what is there must stay, and new rows come at the end.
    """

    def __init__(self, end: End) -> None:
        self._uri = end.uri
        self._format = FileFormat(end.options.file_format) if end.options.file_format else None
        self._page_rows = end.options.page_rows
        self._allow_private = end.options.allow_private
        self._client = httpx.Client(
            timeout=_TIMEOUT_SECS, headers=dict(end.options.source_credentials), trust_env=False
        )

    def pages(self, after: State | None) -> Iterator[Page]:
        """See `Source`."""
        address, done = (after["address"], after["rows"]) if after else (self._uri, 0)
        while address:
            with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as body:
                following, kind = self._fetch(address, body)
                body.seek(0)
                seen = 0
                for rows, refused in read_rows(body, self._format or kind, address, self._page_rows):
                    skipped = max(done - seen, 0)
                    seen += len(rows)
                    if skipped < len(rows):
                        yield Page(rows[skipped:], {"address": address, "rows": seen}, refused)
            address, done = following, 0

    def close(self) -> None:
        """See `Source`."""
        self._client.close()

    def _fetch(self, address: str, body: IO[bytes]) -> tuple[str, FileFormat]:
        """Read an address into a file; returns the next one, and the format."""
        for _ in range(_REDIRECTS):
            pinned, headers, name = pin(address, allow_private=self._allow_private, permission=PERMISSION)
            try:
                with self._client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": name}) as answer:
                    if answer.is_redirect:
                        address = urljoin(address, answer.headers["location"])
                        if urlsplit(address).netloc != headers["Host"]:
                            self._client.headers.pop("Authorization", None)  # meant for the host that was named
                        continue
                    _check(answer, address)
                    for piece in answer.iter_bytes():
                        body.write(piece)
            except httpx.HTTPError as error:
                raise TransientError(f"{address} cannot be reached: {type(error).__name__}") from None
            following = answer.links.get("next", {}).get("url", "")
            return urljoin(address, following) if following else "", _kind(answer, address)
        raise RequestError(f"{self._uri} is redirected more than {_REDIRECTS} times", remedy="name the last address")


def _check(answer: httpx.Response, address: str) -> None:
    if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise TransientError(f"{address} answers {answer.status_code}", remedy="run again later")
    if not answer.is_success:
        raise RequestError(
            f"{address} answers {answer.status_code}",
            remedy="check the address and --from-credentials",
        )


def _kind(answer: httpx.Response, address: str) -> FileFormat:
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    suffix = "." + urlsplit(address).path.rpartition(".")[2]
    return _BY_TYPE.get(media) or SUFFIXES.get(suffix) or FileFormat.JSON


HTTP: Final = Connector(HttpSource, HttpSink)
