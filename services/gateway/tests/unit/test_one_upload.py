"""One upload belongs to one writer at a time."""

from pathlib import Path

import pytest

from millrace.store.blobs import BlobStore
from millrace_gateway.adapters.uploads import Uploads
from millrace_gateway.logic.errors import ConflictError


def test_two_who_go_on_with_one_upload(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", BlobStore(str(tmp_path / "blobs")), max_bytes=100, max_uploads=2)
    name = uploads.begin(4).name
    with uploads.going_on(name, 0) as file:
        with pytest.raises(ConflictError, match="somebody else"), uploads.going_on(name, 0):
            pass
        file.write(b"12")
    with pytest.raises(ConflictError, match="stands at 2"), uploads.going_on(name, 0):
        pass
    assert uploads.finish(name).digest is None
    with uploads.going_on(name, 2) as file:
        file.write(b"34")
    assert uploads.finish(name).digest is not None
