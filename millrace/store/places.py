"""Folders by URI: what is in them, and how a file appears whole or not at all."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from secrets import token_hex
from typing import IO, Any, Final

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.arrow import ArrowFSWrapper

from millrace.core.errors import RequestError, TransientError

STAGING: Final = "_staging"
"""Names that begin with an underscore are passed over by whoever reads a folder of Parquet files."""

_REFUSALS: Final = re.compile(
    "ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH|INVALID_ACCESS_KEY|HTTP status (401|403)|UserNotFound"
)
"""What Arrow's driver says in words where others raise PermissionError."""

_TO_HOSTS: Final = frozenset(
    {"dask", "ftp", "http", "https", "jlab", "jupyter", "reference", "sftp", "smb", "ssh", "webdav", "webhdfs"}
)
"""Drivers that connect to whatever host a URI, or the file that it leads to, names."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was found.

    Attributes:
        path: Without the protocol.
        bytes: Its size.
        stamp: Size, and tag or time of change: tells whether it is still the same.
    """

    path: str
    bytes: int
    stamp: str


class Place:
    """A file or a folder by URI. Every method raises TransientError when the place cannot be reached.

    Args:
        uri: `file:///years`, `s3://bucket/years`, a path: whatever fsspec has a driver for, but those that connect to a
            host that the URI names. What lies behind the firewall is not reached with a URI; see
            `millrace.process.addresses`.
        options: The driver's options, credentials among them; they are never shown.

    Raises:
        RequestError: No driver is installed for this kind of URI, or it connects to hosts, or the credentials are
            refused.
    """

    def __init__(self, uri: str, options: Mapping[str, Any] | None = None) -> None:
        self.uri: Final = uri
        if "::" in uri or uri.partition(":")[0].lower() in _TO_HOSTS:
            raise RequestError(
                f"{uri} is neither a folder nor in a store of objects",
                remedy="bring what is on the web to one first: `millrace copy https://... FOLDER`",
            )
        try:
            fs, root = _s3(uri, options or {}) if _is_s3(uri) else url_to_fs(uri, **(options or {}))
        except TypeError:
            raise RequestError(f"{uri} knows no such credentials", remedy="name its driver's options") from None
        except (ValueError, ImportError) as error:
            raise RequestError(f"{uri} cannot be used: {error}", remedy="install its fsspec driver") from None
        self.fs: Final[AbstractFileSystem] = fs
        self.root: Final[str] = root.rstrip("/")

    @property
    def address(self) -> str:
        """The URI as every process understands it, whatever its working folder."""
        return str(self.fs.unstrip_protocol(self.root))

    def open(self, path: str) -> IO[bytes]:
        """Open a file that `files` found.

        Raises:
            FileNotFoundError: It is gone.
        """
        with self._reaching():
            file: IO[bytes] = self.fs.open(path, "rb")
            return file

    def files(self) -> Iterator[File]:
        """All files below, folder by folder; one folder's listing is held at a time. Hidden ones are passed over.

        Raises:
            RequestError: There is nothing of this name.
        """
        with self._reaching():
            if not self.fs.exists(self.root):
                raise RequestError(f"there is nothing at {self.uri}", remedy="check the URI and the credentials")
            if self.fs.isfile(self.root):
                yield _file(self.fs.info(self.root))
                return
            for _, folders, files in self.fs.walk(self.root, detail=True):
                for name in [name for name in folders if _is_hidden(name)]:
                    del folders[name]
                for name in sorted(files):
                    if not _is_hidden(name):
                        yield _file(files[name])

    def join(self, *names: str) -> str:
        """Path of something below."""
        return "/".join((self.root, *names))

    def exists(self, *names: str) -> bool:
        """Whether there is something below of this name."""
        with self._reaching():
            return bool(self.fs.exists(self.join(*names)))

    def read_json(self, *names: str) -> dict[str, Any] | None:
        """A document below; None where there is none."""
        with self._reaching():
            try:
                document: dict[str, Any] = json.loads(self.fs.cat_file(self.join(*names)))
            except FileNotFoundError:
                return None
            return document

    def write_json(self, document: Mapping[str, Any], *names: str) -> None:
        """Write a document below; it appears whole."""
        with self.writing(*names) as file:
            file.write(json.dumps(document, indent=1).encode() + b"\n")

    @contextmanager
    def writing(self, *names: str) -> Iterator[IO[bytes]]:
        """Write a file below: it appears under its name when the `with` ends well, and never otherwise."""
        target = self.join(*names)
        folder, _, name = target.rpartition("/")
        staged = f"{self.join(STAGING)}/.{name}.{token_hex(8)}"
        with self._reaching():
            self.fs.makedirs(self.join(STAGING), exist_ok=True)
            self.fs.makedirs(folder, exist_ok=True)
            try:
                with self.fs.open(staged, "wb") as file:
                    yield file
                self.fs.mv(staged, target)
            finally:
                if self.fs.exists(staged):
                    self.fs.rm(staged)

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Give a file below another name; does nothing where an earlier run has done it."""
        with self._reaching():
            if self.fs.exists(self.join(*source)):
                self.fs.makedirs(self.join(*target[:-1]), exist_ok=True)
                self.fs.mv(self.join(*source), self.join(*target))

    def names(self, *folder: str) -> Iterator[str]:
        """Names of what is directly in a folder below; nothing where there is no such folder."""
        with self._reaching():
            try:
                found = self.fs.ls(self.join(*folder), detail=False)
            except FileNotFoundError:
                return
            yield from (PurePosixPath(path).name for path in found)

    def remove(self, *names: str) -> None:
        """Remove a folder below, if it is there."""
        with self._reaching():
            if self.fs.exists(self.join(*names)):
                self.fs.rm(self.join(*names), recursive=True)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise RequestError(
                f"{self.uri} refuses access: {error.strerror or 'permission denied'}",
                remedy="check the permissions, or name other credentials: --credentials NAME",
            ) from None
        except FileNotFoundError:
            raise
        except OSError as error:
            if _REFUSALS.search(str(error)):
                raise RequestError(
                    f"{self.uri} refuses these credentials", remedy="name others: --credentials NAME"
                ) from None
            raise TransientError(f"{self.uri} cannot be reached: {error.strerror or type(error).__name__}") from None


def _is_s3(uri: str) -> bool:
    return uri.partition("://")[0] in {"s3", "s3a"}


def _s3(uri: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """S3 by Arrow's own driver, which is here already: its options are those of `pyarrow.fs.S3FileSystem`."""
    from pyarrow.fs import S3FileSystem  # noqa: PLC0415 -- it starts threads

    wrapped = ArrowFSWrapper(S3FileSystem(**options))
    return wrapped, str(wrapped._strip_protocol(uri.replace("s3a://", "s3://", 1)))  # noqa: SLF001 -- fsspec's way


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _file(info: Mapping[str, Any]) -> File:
    size = int(info["size"])
    tag = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
    return File(str(info["name"]), size, f"{size}/{tag}")
