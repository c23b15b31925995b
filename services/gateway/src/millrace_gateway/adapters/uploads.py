"""Uploads that survive whatever interrupts them: pieces on disk until all are there, then a blob under its digest.

An upload is a file of this machine's `uploads` folder, named by the upload and its size; its length is the offset.
There is nothing else to lose: another process of this machine, or this one after a restart, goes on where it ends. A
finished upload leaves an empty file that tells its digest, for a client that did not hear the answer.
"""

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Final

from millrace.core.errors import FatalError
from millrace.store.blobs import BlobStore
from millrace_gateway.logic.errors import BusyError, ConflictError, NotFoundError, TooLargeError

_NAME: Final = re.compile(r"[0-9a-f]{32}")
KEPT_FOR: Final = timedelta(hours=24)
"""An upload that nobody went on with for so long is forgotten."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as it stands.

    Attributes:
        name: Names it.
        size: Bytes that it will have.
        offset: Bytes that are there.
        digest: Digest of the whole blob, once it is stored; None until then.
    """

    name: str
    size: int
    offset: int
    digest: str | None = None


class Uploads:
    """Uploads of one machine. Methods block for as long as the disk does; they may be called from any thread.

    Args:
        folder: Where pieces are kept until all are there.
        store: Where blobs go.
        max_bytes: Largest blob.
        max_uploads: Most uploads that are begun and not finished.
    """

    def __init__(self, folder: Path, store: BlobStore, *, max_bytes: int, max_uploads: int) -> None:
        self._folder = folder
        self._store = store
        self.max_bytes: Final = max_bytes
        self._max_uploads = max_uploads

    def begin(self, size: int) -> Upload:
        """A new upload.

        Raises:
            TooLargeError: It would be larger than any blob may be.
            BusyError: Too many have begun.
            FatalError: The folder cannot be written.
        """
        if size > self.max_bytes:
            raise TooLargeError(
                f"{size} bytes are too many", remedy=f"MILLRACE_GATEWAY__UPLOADS__MAX_BYTES is {self.max_bytes}"
            )
        self._forget_old()
        if sum(1 for _ in self._folder.glob("*-*.part")) >= self._max_uploads:
            raise BusyError("too many uploads have begun", remedy="finish or delete some", retry_after=KEPT_FOR / 24)
        name = secrets.token_hex(16)
        try:
            (self._folder / f"{name}-{size}.part").touch(exist_ok=False)
        except OSError as error:
            raise FatalError(f"cannot write {self._folder}: {error.strerror}", remedy="check the disk") from None
        return Upload(name, size, 0)

    @contextmanager
    def going_on(self, name: str, offset: int) -> Iterator[IO[bytes]]:
        """The file of an upload, to be written to from `offset` on, by nobody else meanwhile.

        What was written counts even if an error ends it.

        Raises:
            NotFoundError: There is no such upload.
            ConflictError: It stands at another offset, or somebody else goes on with it.
        """
        path = self._path(name)
        if _is_done(path):
            raise ConflictError("the upload is finished", remedy="ask for its offset, which tells its blob")
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError("somebody else goes on with this upload", remedy="ask again in a moment") from None
            stands = file.seek(0, os.SEEK_END)
            if stands != offset:
                raise ConflictError(f"the upload stands at {stands}, not {offset}", remedy="go on from its offset")
            yield file

    def finish(self, name: str) -> Upload:
        """Store an upload under its digest if all its bytes are there, and say how it stands. May be called again.

        Reads it twice, so that memory stays flat.

        Raises:
            NotFoundError: There is no such upload.
            TransientError: The blob store cannot be reached; finish it again.
        """
        path = self._path(name)
        found = _upload(path)
        if found.digest is not None or found.offset < found.size:
            return found
        with path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            file.seek(0)
            self._store.put(file, digest=digest)
        done = path.with_name(f"{name}-{found.size}-{digest.removeprefix('sha256:')}.done")
        done.touch()
        path.unlink(missing_ok=True)
        return _upload(done)

    def delete(self, name: str) -> None:
        """Forget an upload.

        Raises:
            NotFoundError: There is no such upload.
        """
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        found = max(self._folder.glob(f"{name}-*"), default=None, key=_is_done) if _NAME.fullmatch(name) else None
        if found is None:
            raise NotFoundError(
                f"there is no upload {name[:80]!r}", remedy="it was deleted or forgotten: begin a new one"
            )
        return found

    def _forget_old(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        oldest = time.time() - KEPT_FOR.total_seconds()
        for path in self._folder.glob("*-*"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:  # finished meanwhile
                continue


def _is_done(path: Path) -> bool:
    return path.suffix == ".done"


def _upload(path: Path) -> Upload:
    name, size, *digest = path.stem.split("-")
    if digest:
        return Upload(name, int(size), int(size), f"sha256:{digest[0]}")
    try:
        return Upload(name, int(size), path.stat().st_size)
    except FileNotFoundError:
        raise NotFoundError(f"there is no upload {name!r}", remedy="it was finished meanwhile: ask again") from None
