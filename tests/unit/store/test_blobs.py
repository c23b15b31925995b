import hashlib
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest

from millrace.core.errors import FatalError, RequestError
from millrace.store.blobs import BlobStore

CONTENT = b"content" * 1000
LIMIT = 1 << 20


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(params=["folder", "file://", "memory://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    uris = {"folder": str(tmp_path), "file://": f"file://{tmp_path}", "memory://": f"memory://{uuid4().hex}"}
    return BlobStore(uris[request.param])


def read(store: BlobStore, name: str, limit_bytes: int = LIMIT) -> bytes:
    target = BytesIO()
    store.fetch(name, target, limit_bytes=limit_bytes)
    return target.getvalue()


def test_what_is_put_is_fetched(store: BlobStore) -> None:
    name = digest(CONTENT)
    assert not store.has(name)
    store.put(BytesIO(CONTENT), digest=name)
    assert store.has(name)
    assert read(store, name) == CONTENT


def test_putting_twice_is_putting_once(store: BlobStore) -> None:
    for _ in range(2):
        store.put(BytesIO(CONTENT), digest=digest(CONTENT))
    assert read(store, digest(CONTENT)) == CONTENT


def test_content_of_another_digest_is_not_stored(store: BlobStore) -> None:
    with pytest.raises(RequestError, match="has the digest"):
        store.put(BytesIO(b"other"), digest=digest(CONTENT))
    assert not store.has(digest(CONTENT))


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    with pytest.raises(RequestError, match=f"has no blob {digest(CONTENT)}"):
        read(store, digest(CONTENT))


def test_a_blob_beyond_the_limit_is_not_read(store: BlobStore) -> None:
    store.put(BytesIO(CONTENT), digest=digest(CONTENT))
    with pytest.raises(RequestError, match="more than 10 bytes"):
        read(store, digest(CONTENT), limit_bytes=10)


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../etc/passwd", "md5:0", "sha256:" + "G" * 64])
def test_a_name_that_is_no_digest_reaches_no_file(store: BlobStore, name: str) -> None:
    with pytest.raises(RequestError, match="is no digest"):
        store.has(name)


def test_a_damaged_blob_is_noticed_and_replaced_by_the_next_put(tmp_path: Path) -> None:
    store, name = BlobStore(str(tmp_path)), digest(CONTENT)
    store.put(BytesIO(CONTENT), digest=name)
    (stored,) = (path for path in tmp_path.rglob("*") if path.is_file())
    stored.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(FatalError, match=r"is damaged .*push the model again"):
        read(store, name)
    store.put(BytesIO(CONTENT), digest=name)
    assert read(store, name) == CONTENT


def test_nothing_half_written_is_left_under_a_name(tmp_path: Path) -> None:
    class Breaking(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise ConnectionError("gone")
            return super().read(10)

    store = BlobStore(str(tmp_path))
    with pytest.raises(Exception, match="gone"):
        store.put(Breaking(CONTENT), digest=digest(CONTENT))
    assert not store.has(digest(CONTENT))


def test_an_unknown_kind_of_place_is_refused() -> None:
    with pytest.raises(RequestError, match="install its fsspec driver"):
        BlobStore("nosuch://bucket")
