"""The REST API as the pages ask it: with the key of who looks, and no more often than the answers change."""

import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, TypeAlias

from millrace.client.control import ControlClient
from millrace.core.errors import RequestError

Json: TypeAlias = dict[str, Any]

_CLIENTS: Final = 16
"""Keys whose connections are kept."""
_ANSWERS: Final = 512
"""Answers that are kept, whoever asked."""
_SOON: Final = 1.0
_FIGURES: Final = 4.0
_SLOW: Final = 5.0


class Asking:
    """Asks on behalf of everybody who looks, and remembers answers for seconds: fifty pages cost as much as one.

    What is kept is bounded, whoever comes. Shared by threads; close it.

    Args:
        url: Of the REST API.
        trust: Whose certificates are trusted where it speaks TLS; the environment's where absent.
    """

    def __init__(self, url: str, trust: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._trust = trust
        self._lock = Lock()
        self._clients: OrderedDict[str, ControlClient] = OrderedDict()
        self._answers: OrderedDict[tuple[object, ...], tuple[float, Any]] = OrderedDict()

    def of(self, key: str) -> "Asker":
        """What may be asked with a key.

        Raises:
            RequestError: The key is empty: a client would show the daemon's own instead.
        """
        if not key:
            raise RequestError("no key was shown", remedy="run `millrace ui`: it prints the address that signs you in")
        return Asker(self, key)

    def answer(self, key: str, question: tuple[object, ...], ask: Callable[[ControlClient], Any], ttl: float) -> Any:  # noqa: ANN401
        """The answer of the last seconds, or a new one."""
        entry = (key, *question)
        with self._lock:
            asked_at, known = self._answers.get(entry, (-ttl, None))
        if time.monotonic() - asked_at < ttl and known is not None:
            return known
        found = ask(self.client(key))
        with self._lock:
            self._answers[entry] = (time.monotonic(), found)
            self._answers.move_to_end(entry)
            while len(self._answers) > _ANSWERS:
                self._answers.popitem(last=False)
        return found

    def client(self, key: str) -> ControlClient:
        """The connections of a key."""
        with self._lock:
            found = self._clients.get(key)
            if found is None:
                found = self._clients[key] = ControlClient(self._url, token=key, trust=self._trust)
            self._clients.move_to_end(key)
            # Whoever asks with the one that goes sees an error, and asks again two seconds later.
            gone = [self._clients.popitem(last=False)[1] for _ in range(len(self._clients) - _CLIENTS)]
        for client in gone:
            client.close()
        return found

    def forget(self, key: str) -> None:
        """Ask anew what is asked next with a key: its holder has changed something."""
        with self._lock:
            for entry in [entry for entry in self._answers if entry[0] == key]:
                del self._answers[entry]

    def close(self) -> None:
        """Release all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


class Asker:
    """Everything that the pages ask, with one key. Every method raises as `ControlClient` does."""

    def __init__(self, asking: Asking, key: str) -> None:
        self._asking = asking
        self._key = key

    @property
    def acting(self) -> ControlClient:
        """For what changes something: never answered from memory."""
        return self._asking.client(self._key)

    def changed(self) -> None:
        """Forget what was answered before."""
        self._asking.forget(self._key)

    def caller(self) -> Json:
        """Who looks."""
        return self._object(("caller",), lambda api: api.caller(), _SOON)

    def nodes(self) -> list[Json]:
        """All nodes."""
        return self._list(("nodes",), lambda api: api.nodes(), _SOON)

    def deployments(self) -> list[Json]:
        """How all deployments fare."""
        return self._list(("deployments",), lambda api: api.deployments(), _SOON)

    def deployment(self, name: str) -> Json:
        """One of them, and its document."""
        return self._object(("deployment", name), lambda api: api.deployment(name), _SOON)

    def why(self, name: str) -> list[str]:
        """Why it is so."""
        found: list[str] = self._ask(("why", name), lambda api: api.why(name), _SOON)
        return found

    def logs(self, slot: str) -> list[str]:
        """The last lines of a process."""
        found: list[str] = self._ask(("logs", slot), lambda api: api.logs(slot, lines=200), _SOON)
        return found

    def series(self, slot: str) -> Json:
        """The last hour of a process."""
        return self._object(("series", slot), lambda api: api.series(slot), _FIGURES)

    def audits(self, name: str) -> Json:
        """The last windows, and open alerts."""
        return self._object(("audits", name), lambda api: api.audits(name, last=60), _SLOW)

    def dead_letters(self, name: str) -> list[Json]:
        """The newest dead letters."""
        return self._list(("dead_letters", name), lambda api: api.dead_letters(name, most=10), _SLOW)

    def models(self) -> list[Json]:
        """All versions."""
        return self._list(("models",), lambda api: api.models(), _SOON)

    def model(self, name: str, version: int) -> Json:
        """One of them: it never changes."""
        return self._object(("model", name, version), lambda api: api.model(name, version), 60.0)

    def history(self, deployment: str | None, who: str | None, what: str | None) -> list[Json]:
        """Who changed what."""
        return self._list(
            ("history", deployment, who, what),
            lambda api: api.history(deployment, who=who, what=what),
            _SLOW,
        )

    def verification(self) -> Json:
        """Whether the history is whole."""
        return self._object(("verification",), lambda api: api.verification(), 15.0)

    def _object(self, question: tuple[object, ...], ask: Callable[[ControlClient], Json], ttl: float) -> Json:
        found: Json = self._ask(question, ask, ttl)
        return found

    def _list(self, question: tuple[object, ...], ask: Callable[[ControlClient], list[Json]], ttl: float) -> list[Json]:
        found: list[Json] = self._ask(question, ask, ttl)
        return found

    def _ask(self, question: tuple[object, ...], ask: Callable[[ControlClient], Any], ttl: float) -> Any:  # noqa: ANN401
        return self._asking.answer(self._key, question, ask, ttl)
