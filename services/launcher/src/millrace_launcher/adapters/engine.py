"""A container engine of this machine, spoken to over its socket as Docker's API says.

Of that API it takes eight calls, which have not changed for ten years; a path without a version takes the engine's own.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx

from millrace.core.errors import RequestError, TransientError

Container = Mapping[str, Any]
"""What the engine says of a container."""

_PATIENCE_SECS: Final = 20.0
_FRAME_HEADER: Final = 8


class Engine:
    """An engine, for any thread. Close it.

    Args:
        socket: Where it listens.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        transport = httpx.HTTPTransport(uds=str(socket))
        self._client = httpx.Client(transport=transport, base_url="http://engine", timeout=_PATIENCE_SECS)

    def containers(self, label: str) -> Sequence[Container]:
        """All containers with a label, `name=value`, those that have ended included, in short.

        Raises:
            TransientError: No engine answers.
        """
        parameters = {"all": "1", "filters": json.dumps({"label": [label]})}
        found: list[Container] = self._ask("GET", "/containers/json", params=parameters).json()
        return found

    def inspect(self, container: str) -> Container | None:
        """Everything about a container; None if it is gone.

        Raises:
            TransientError: No engine answers.
        """
        answer = self._ask("GET", f"/containers/{container}/json", accepted=(HTTPStatus.NOT_FOUND,))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        found: Container = answer.json()
        return found

    def create(self, name: str, document: Container) -> str:
        """Make a container, and return its id.

        Raises:
            RequestError: The engine refuses it: its image is not there.
            TransientError: No engine answers.
        """
        answer = self._ask("POST", "/containers/create", params={"name": name}, json=document)
        return str(answer.json()["Id"])

    def start(self, container: str) -> None:
        """Start a container.

        Raises:
            RequestError: The engine refuses it.
            TransientError: No engine answers.
        """
        self._ask("POST", f"/containers/{container}/start")

    def kill(self, container: str) -> None:
        """End a container at once; nothing if it has ended.

        Raises:
            TransientError: No engine answers.
        """
        accepted = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
        self._ask("POST", f"/containers/{container}/kill", params={"signal": "SIGKILL"}, accepted=accepted)

    def remove(self, container: str) -> None:
        """Remove a container with what it wrote; nothing if it is gone.

        Raises:
            TransientError: No engine answers.
        """
        accepted = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
        self._ask("DELETE", f"/containers/{container}", params={"v": "1", "force": "1"}, accepted=accepted)

    def log(self, container: str, *, lines: int) -> list[str]:
        """The last lines that a container said, oldest first; none if it is gone.

        Raises:
            TransientError: No engine answers.
        """
        parameters = {"stdout": "1", "stderr": "1", "tail": str(lines)}
        accepted = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
        answer = self._ask("GET", f"/containers/{container}/logs", params=parameters, accepted=accepted)
        return [] if answer.is_error else read_frames(answer.content)

    def version(self) -> str:
        """Which engine it is.

        Raises:
            TransientError: No engine answers.
        """
        return str(self._ask("GET", "/version").json()["Version"])

    def close(self) -> None:
        """Release everything."""
        self._client.close()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Container | None = None,
        accepted: Sequence[HTTPStatus] = (),
    ) -> httpx.Response:
        if not self._socket.exists():  # The client would leave a socket open that leads nowhere.
            raise self._silence("there is no such socket")
        try:
            answer = self._client.request(method, path, params=params, json=json)
        except httpx.HTTPError as error:
            raise self._silence(str(error)) from error
        if answer.is_error and answer.status_code not in accepted:
            raise RequestError(f"the container engine refuses: {_said(answer)}", remedy=_remedy(answer))
        return answer

    def _silence(self, why: str) -> TransientError:
        return TransientError(
            f"no container engine answers on {self._socket}: {why}",
            remedy="start it; or name its socket in MILLRACE_CONTAINERS__ENGINE, or set MILLRACE_LAUNCHER__RUNNER",
        )


def read_frames(content: bytes) -> list[str]:
    """The lines of a container's log: frames of eight bytes, the last four of them a length, and what was said."""
    said, at = bytearray(), 0
    while at + _FRAME_HEADER <= len(content):
        length = int.from_bytes(content[at + 4 : at + _FRAME_HEADER], "big")
        said += content[at + _FRAME_HEADER : at + _FRAME_HEADER + length]
        at += _FRAME_HEADER + length
    return said.decode(errors="replace").splitlines()


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip() or str(answer.status_code)


def _remedy(answer: httpx.Response) -> str:
    if answer.status_code == HTTPStatus.NOT_FOUND and "image" in answer.text:
        return "pull or build it on this node, or name another one in MILLRACE_CONTAINERS__IMAGES"
    return ""
