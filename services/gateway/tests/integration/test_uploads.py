"""Uploads that are interrupted, repeated, contended; and what comes of them.

`make chaos` uploads 2 GiB (MILLRACE_UPLOAD_MIB).
"""

import hashlib
import io
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import httpx
import pytest
from gateway_process import gateway_process
from gateway_stage import GatewayStage

from millrace.process.deployment import Deployment
from millrace.serving.shelf import Shelf
from millrace.testing.waiting import eventually

MEBIBYTE: Final = 2**20
UPLOAD_MIB: Final = int(os.environ.get("MILLRACE_UPLOAD_MIB", "128"))
PIECE = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def client(stage: GatewayStage) -> Iterator[httpx.Client]:
    with stage.running(options=stage.options(uploads={"max_bytes": 50_000_000, "max_uploads": 3})) as client:
        yield client


def begin(client: httpx.Client, size: int) -> str:
    answer = client.post("/v1/uploads", headers={"Upload-Length": str(size), "Tus-Resumable": "1.0.0"})
    assert (answer.status_code, answer.headers["tus-resumable"]) == (201, "1.0.0")
    return answer.headers["location"]


def send(client: httpx.Client, place: str, offset: int, content: bytes) -> httpx.Response:
    return client.patch(place, content=content, headers={**PIECE, "Upload-Offset": str(offset)})


def stored(stage: GatewayStage, reference: str) -> bytes:
    content = io.BytesIO()
    Shelf.of(stage.settings).blobs.fetch(reference.removeprefix("blob:"), content, limit_bytes=10**9)
    return content.getvalue()


def test_pieces_become_a_blob_under_its_digest(client: httpx.Client, stage: GatewayStage) -> None:
    content = os.urandom(3_000_000)
    place = begin(client, len(content))
    for start in (0, 1_000_000):
        assert send(client, place, start, content[start : start + 1_000_000]).status_code == 204
        assert client.head(place).headers["upload-offset"] == str(start + 1_000_000)
    answer = send(client, place, 2_000_000, content[2_000_000:])
    assert answer.status_code == 204
    assert answer.headers["blob"] == f"blob:sha256:{hashlib.sha256(content).hexdigest()}"
    assert stored(stage, answer.headers["blob"]) == content
    assert client.head(place).headers["blob"] == answer.headers["blob"], "told again to who did not hear it"


def test_a_connection_that_breaks_and_a_gateway_that_restarts_lose_nothing(stage: GatewayStage) -> None:
    content = os.urandom(2_000_000)
    with stage.running() as client:
        place = begin(client, len(content))
        with closing(socket.create_connection(("127.0.0.1", stage.rest_port))) as broken:
            head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: 2000000\r\n"
            broken.sendall(
                head.encode() + f"Content-Type: {PIECE['Content-Type']}\r\n\r\n".encode() + content[:1_500_000]
            )
        offset = eventually(lambda: int(client.head(place).headers["upload-offset"]))
        eventually(lambda: int(client.head(place).headers["upload-offset"]) == 1_500_000)
        assert offset <= 1_500_000
    with stage.running() as client:
        answer = send(client, place, 1_500_000, content[1_500_000:])
        assert stored(stage, answer.headers["blob"]) == content


def test_memory_stays_flat(stage: GatewayStage, deployment: Deployment, tmp_path: Path) -> None:
    piece = os.urandom(MEBIBYTE)
    whole = hashlib.sha256()
    for _ in range(UPLOAD_MIB):
        whole.update(piece)
    with (
        gateway_process(stage, deployment, tmp_path) as gateway,
        httpx.Client(base_url=stage.url, timeout=120) as client,
    ):
        send(client, begin(client, MEBIBYTE), 0, piece)
        before = peak_bytes(gateway.pid)
        place = begin(client, UPLOAD_MIB * MEBIBYTE)
        half = UPLOAD_MIB // 2
        for start, count in ((0, half), (half, UPLOAD_MIB - half)):
            pieces = itertools.repeat(piece, count)
            headers = {**PIECE, "Upload-Offset": str(start * MEBIBYTE)}
            answer = client.patch(place, content=pieces, headers=headers)
            assert answer.status_code == 204, answer.text
        grown = peak_bytes(gateway.pid) - before
        assert client.head(place).headers["blob"] == f"blob:sha256:{whole.hexdigest()}"
    assert grown < 48 * MEBIBYTE, f"{grown / MEBIBYTE:.0f} MiB more than before"


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_an_empty_blob_is_one(client: httpx.Client, stage: GatewayStage) -> None:
    assert stored(stage, client.head(begin(client, 0)).headers["blob"]) == b""


def test_refusals(client: httpx.Client) -> None:
    place = begin(client, 10)
    assert send(client, place, 5, b"12345").status_code == 409
    assert send(client, place, 0, b"12345678901").status_code == 413
    assert client.head(place).headers["upload-offset"] == "0", "nothing of it was written"
    assert client.patch(place, content=b"1", headers={"Upload-Offset": "0"}).status_code == 415
    assert client.patch(place, content=b"1", headers=PIECE).status_code == 400
    assert client.post("/v1/uploads", headers={"Upload-Length": "60000000"}).status_code == 413
    assert client.post("/v1/uploads", headers={"Upload-Length": "-1"}).status_code == 400
    assert client.post("/v1/uploads").status_code == 400
    for unknown in ("0" * 32, "*", "..", "%2e%2e%2fhome"):
        assert client.head(f"/v1/uploads/{unknown}").status_code in {400, 404, 405}
    assert client.delete(place).status_code == 204
    assert client.head(place).status_code == 404
    assert client.options("/v1/uploads").headers["tus-version"] == "1.0.0"


def test_there_is_room_for_so_many(client: httpx.Client) -> None:
    places = [begin(client, 1) for _ in range(3)]
    refused = client.post("/v1/uploads", headers={"Upload-Length": "1"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "3600")
    send(client, places[0], 0, b"x")
    begin(client, 1)
