"""Blobs in, over HTTP, by the core of the tus protocol 1.0.0 with its extensions `creation` and `termination`.

So any tus client uploads here, and goes on after whatever interrupts it. What is new is the answer to the last piece:
its header `Blob` is the reference that records may hold.
"""

import asyncio
from http import HTTPStatus
from typing import IO, Annotated, Final

from fastapi import APIRouter, Header, Request
from pydantic import Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from millrace.serving.references import SCHEME
from millrace_gateway.adapters.rest.doors import RestDoor
from millrace_gateway.adapters.rest.refusals import refuse_status
from millrace_gateway.adapters.uploads import Upload, Uploads
from millrace_gateway.logic.errors import SlowRequestError, TooLargeError

PATH: Final = "/v1/uploads"
PIECE: Final = "application/offset+octet-stream"
VERSION: Final = "1.0.0"

_WRITE_BYTES: Final = 2**20
Size = Annotated[int, Field(ge=0, le=2**62)]


def uploads_door(uploads: Uploads, *, stall_secs: float) -> RestDoor:
    """`/v1/uploads`: POST begins one, PATCH adds a piece, HEAD tells the offset, DELETE forgets it.

    Args:
        uploads: Keeps the pieces.
        stall_secs: Longest silence of a client that sends a piece.
    """
    router = APIRouter(tags=["uploads"])

    @router.options(PATH, status_code=HTTPStatus.NO_CONTENT, response_model=None)
    async def abilities() -> Response:
        """What of the protocol is spoken."""
        return _answer(
            HTTPStatus.NO_CONTENT,
            **{
                "Tus-Version": VERSION,
                "Tus-Extension": "creation,termination",
                "Tus-Max-Size": str(uploads.max_bytes),
            },
        )

    @router.post(PATH, status_code=HTTPStatus.CREATED, response_model=None)
    async def begin(upload_length: Annotated[Size, Header()]) -> Response:
        """Begin an upload of so many bytes; the header `Location` names it."""
        upload = await asyncio.to_thread(uploads.begin, upload_length)
        return _answer(HTTPStatus.CREATED, **{"Location": f"{PATH}/{upload.name}", "Upload-Offset": "0"})

    @router.head(PATH + "/{name}", response_model=None)
    async def look(name: str) -> Response:
        """How far an upload is; the header `Blob` is the reference once all is there and stored."""
        return _stands(HTTPStatus.OK, await asyncio.to_thread(uploads.finish, name))

    @router.patch(
        PATH + "/{name}",
        status_code=HTTPStatus.NO_CONTENT,
        response_model=None,
        openapi_extra={"requestBody": {"content": {PIECE: {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def add(request: Request, name: str, upload_offset: Annotated[Size, Header()]) -> Response:
        """Add a piece; what arrived counts, even if the connection breaks. The last one stores the blob."""
        if request.headers.get("content-type") != PIECE:
            return refuse_status(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a piece has the Content-Type {PIECE}")
        upload = await asyncio.to_thread(uploads.finish, name)
        if upload.digest is None:
            with uploads.going_on(name, upload_offset) as file:
                await _receive(request, file, upload.size - upload.offset, stall_secs)
            upload = await asyncio.to_thread(uploads.finish, name)
        return _stands(HTTPStatus.NO_CONTENT, upload)

    @router.delete(PATH + "/{name}", status_code=HTTPStatus.NO_CONTENT, response_model=None)
    async def delete(name: str) -> Response:
        """Forget an upload. A blob that is stored stays."""
        await asyncio.to_thread(uploads.delete, name)
        return _answer(HTTPStatus.NO_CONTENT)

    return RestDoor(router)


async def _receive(request: Request, file: IO[bytes], room: int, stall_secs: float) -> None:
    """Write a piece as it arrives; not more than a mebibyte of it is in memory.

    Raises:
        TooLargeError: It is longer than what the upload lacks, none of which is written.
        SlowRequestError: Nothing came for too long, or the client has left; what came is written.
    """
    held = bytearray()
    pieces = request.stream()
    try:
        while True:
            async with asyncio.timeout(stall_secs):
                piece = await anext(pieces, b"")
            held += piece
            if len(held) > room:
                raise TooLargeError("the piece is longer than what the upload lacks", remedy="send what is missing")
            if len(held) >= _WRITE_BYTES or not piece:
                room -= await asyncio.to_thread(file.write, held)
                held = bytearray()
            if not piece:
                return
    except (TimeoutError, ClientDisconnect):
        await asyncio.to_thread(file.write, held)
        raise SlowRequestError("the rest of the piece did not come", remedy="go on from the upload's offset") from None


def _stands(status: HTTPStatus, upload: Upload) -> Response:
    blob = {} if upload.digest is None else {"Blob": SCHEME + upload.digest}
    return _answer(status, **{"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.size), **blob})


def _answer(status: HTTPStatus, **headers: str) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION, "Cache-Control": "no-store", **headers})
