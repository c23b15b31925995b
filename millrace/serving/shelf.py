"""Where bundles are kept: in the blob store for all, and in a folder of this machine while they are used."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

from millrace.core.errors import FatalError, RequestError
from millrace.process.settings import Settings
from millrace.serving.bundle import LIMITS_BYTES, LISTING_LIMIT_BYTES, Bundle, open_bundle, read_listing
from millrace.store.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Shelf:
    """Stores and fetches bundles by digest. Safe to use from several processes.

    A bundle is stored file by file, then its listing; the listing's digest is the bundle's. So a bundle is there whole
    or not at all, and versions share the files that they have in common.

    Attributes:
        blobs: The blob store of all.
        folder: Where this machine keeps what it has fetched.
    """

    blobs: BlobStore
    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The shelf that the environment names."""
        uri = settings.blobs or str(settings.home / "blobs")
        return cls(BlobStore(uri), settings.home / "models")

    @property
    def engines(self) -> Path:
        """Where this machine keeps what TensorRT has built from models."""
        return self.folder.with_name("engines")

    def put(self, bundle: Bundle) -> None:
        """Store a bundle for all. Does nothing when it is there already.

        Raises:
            TransientError: The blob store cannot be reached.
        """
        for name, entry in bundle.files.items():
            with (bundle.directory / name).open("rb") as content:
                self.blobs.put(content, digest=f"sha256:{entry.sha256}")
        self.blobs.put(BytesIO(bundle.listing), digest=bundle.digest)

    def take(self, digest: str) -> Bundle:
        """Open a bundle, fetching it first if this machine does not have it.

        Raises:
            RequestError: The blob store does not have it, or this machine's copy was changed.
            FatalError: The stored bundle is damaged.
            TransientError: The blob store cannot be reached.
        """
        target = self.folder / digest.removeprefix("sha256:")
        if not target.is_dir():
            self._fetch(digest, target)
        bundle = open_bundle(target)
        if bundle.digest != digest:
            raise RequestError(f"{target} was changed after it was fetched", remedy=f"delete {target}")
        return bundle

    def _fetch(self, digest: str, target: Path) -> None:
        listing = BytesIO()
        self.blobs.fetch(digest, listing, limit_bytes=LISTING_LIMIT_BYTES)
        files = read_listing(listing.getvalue(), subject=digest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix="fetching-", dir=self.folder))
        except OSError as error:
            raise FatalError(
                f"cannot write {self.folder}: {error.strerror}", remedy="set MILLRACE_HOME to a folder you may write"
            ) from None
        try:
            for name, entry in files.items():
                with (staged / name).open("xb") as file:
                    self.blobs.fetch(f"sha256:{entry.sha256}", file, limit_bytes=LIMITS_BYTES[name])
            _publish(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _publish(staged: Path, target: Path) -> None:
    """Give a finished folder its name; another process may have been faster with the same content."""
    try:
        os.rename(staged, target)  # noqa: PTH104 - Path.rename replaces an empty folder on some systems
    except OSError:
        if not target.is_dir():
            raise
