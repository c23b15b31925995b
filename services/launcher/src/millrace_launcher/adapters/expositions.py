"""What processes say of themselves on `/metrics`, in Prometheus' text format: the one place that asks them."""

import logging
import ssl
from datetime import timedelta
from types import TracebackType
from typing import Self

import httpx

from millrace.core.control.fleet import Slot
from millrace.core.errors import TransientError
from millrace_launcher.logic.discovery import METRICS_PATH
from millrace_launcher.logic.ports import Running


class Expositions:
    """Asks processes of this node, and other daemons for those of theirs. Shared by threads.

    Nothing is kept: every call asks, and blocks until there is an answer or the caller's patience is over. Close it, or
    use it in a `with`.

    Args:
        trust: Whose certificates are trusted where daemons speak TLS; the system's authorities where absent.
    """

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        # No proxy: these are addresses of this machine, and of daemons that told theirs.
        self._client = httpx.Client(verify=trust or True, trust_env=False)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # It would log every question.

    def of(self, process: Running, *, within: timedelta) -> str:
        """What a process of this node says.

        Raises:
            TransientError: It does not answer in time, or says that it cannot.
        """
        return self._read(f"{process.url}/metrics", process.slot, {}, within)

    def by(self, daemon: str, slot: Slot, *, token: str, within: timedelta) -> str:
        """What a slot's process says, from the daemon of its node at this address, which wants to be shown a token.

        Raises:
            TransientError: The daemon does not answer in time, or says that it cannot.
        """
        return self._read(f"{daemon}{METRICS_PATH}?slot={slot}", slot, {"Authorization": f"Bearer {token}"}, within)

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, url: str, slot: Slot, headers: dict[str, str], within: timedelta) -> str:
        try:
            answer = self._client.get(url, headers=headers, timeout=within.total_seconds())
            return answer.raise_for_status().text
        except httpx.HTTPError as error:
            raise TransientError(f"the metrics of {slot} are at {url}, which does not give them: {error}") from error
