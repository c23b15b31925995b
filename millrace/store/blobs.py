"""Blobs by content: what is stored is named by its sha256, and what is read is checked against its name.

A store is a URI that fsspec knows: a folder, `s3://bucket/prefix`, `memory://name`. A blob appears under its name whole
or not at all, whoever crashes.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import IO, Any, Final

from fsspec.core import url_to_fs

from millrace.core.errors import FatalError, RequestError, TransientError

_CHUNK: Final = 1 << 20
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class BlobStore:
    """Immutable blobs by their digest, `sha256:` and 64 hexadecimal digits. Safe to use from several processes.

    Every method raises RequestError for what is no digest or does not exist, and TransientError when the place cannot
    be reached.

    Args:
        uri: Where blobs are kept; a path or any URI that fsspec has a driver for.

    Raises:
        RequestError: No driver is installed for this kind of URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri: Final = uri
        try:
            self._fs, self._root = url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise RequestError(
                f"cannot use {uri!r} as a blob store: {error}", remedy="install its fsspec driver"
            ) from None

    def put(self, content: IO[bytes], *, digest: str) -> None:
        """Store a blob of known digest. Does nothing when it is there already; replaces a damaged one.

        Raises:
            RequestError: The content has another digest.
        """
        path = self._path(digest)
        if self.has(digest) and self._measure(digest) == digest:
            return
        staged = f"{self._root}/staged/{token_hex(16)}"
        with self._reaching(f"store {digest}"):
            self._fs.makedirs(f"{self._root}/staged", exist_ok=True)
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._fs.open(staged, "wb") as target:
                found = _stream(content, target)
            if found != digest:
                self._fs.rm(staged)
                raise RequestError(f"the content of {digest} has the digest {found}", remedy="read it again and retry")
            self._fs.mv(staged, path)

    def has(self, digest: str) -> bool:
        """Whether a blob of this name exists; its content is not read."""
        with self._reaching(f"look for {digest}"):
            return bool(self._fs.exists(self._path(digest)))

    def fetch(self, digest: str, target: IO[bytes], *, limit_bytes: int) -> None:
        """Write a blob's content to a file. What was written is to be used only after a normal return.

        Raises:
            FatalError: The stored blob is damaged.
            RequestError: It is larger than the limit.
        """
        with self._reaching(f"read {digest}"), self._open(digest) as source:
            found = _stream(source, target, limit_bytes=limit_bytes)
        if found != digest:
            raise FatalError(f"{self._path(digest)} is damaged", remedy="push the model again")

    def _measure(self, digest: str) -> str:
        with self._reaching(f"read {digest}"), self._open(digest) as source:
            return _stream(source, None)

    def _open(self, digest: str) -> Any:  # noqa: ANN401 - fsspec is untyped
        path = self._path(digest)
        try:
            return self._fs.open(path, "rb")
        except FileNotFoundError:
            raise RequestError(
                f"{self.uri} has no blob {digest}", remedy="check that every process uses the same blob store"
            ) from None

    def _path(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise RequestError(f"{digest[:80]!r} is no digest", remedy="write sha256: and 64 hexadecimal digits")
        name = digest.removeprefix("sha256:")
        return f"{self._root}/sha256/{name[:2]}/{name}"

    @contextmanager
    def _reaching(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransientError(
                f"cannot {doing} in {self.uri}: {error}", remedy="check the place and its rights"
            ) from None


def _stream(source: IO[bytes], target: IO[bytes] | None, *, limit_bytes: int | None = None) -> str:
    digest = hashlib.sha256()
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if limit_bytes is not None and size > limit_bytes:
            raise RequestError(f"a blob has more than {limit_bytes} bytes", remedy="it is not what was expected there")
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    return f"sha256:{digest.hexdigest()}"
