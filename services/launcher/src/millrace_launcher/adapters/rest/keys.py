"""Giving keys and taking them away."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from millrace.core.clock import Clock
from millrace.core.control.keys import ApiKey, KeyState, Role, digest_of, key_text
from millrace.core.errors import RequestError
from millrace.kafka.control_writer import KEYS_TOPIC, Change, ControlWriter, Put, Tables
from millrace.kafka.keys import KeyView
from millrace.process.keys import KEYS
from millrace.process.settings import KafkaSettings

Document: TypeAlias = dict[str, Any]
Edit: TypeAlias = Callable[[ApiKey | None], ApiKey]
"""What becomes of a key; of None where there is none of the name. It refuses by raising."""

_SECRET: Final = partial(secrets.token_urlsafe, 32)


class KeyDesk:
    """Changes keys, in the log and with their history. Shared by threads; close it, or use it in a `with`.

    All methods raise RequestError for what does not exist or cannot be, and TransientError without a broker.

    Args:
        kafka: The cluster.
        view: Sees the changes; a key opens this daemon's door when `create` returns.
        clock: The system's.
        secret: Makes the secret part of a key.
    """

    def __init__(
        self, kafka: KafkaSettings, view: KeyView, clock: Clock, *, secret: Callable[[], str] = _SECRET
    ) -> None:
        self._view = view
        self._clock = clock
        self._secret = secret
        self._writing = Lock()  # Of the writer, which knows no threads.
        self._writer = ControlWriter(kafka, who="launcher", topics=(KEYS_TOPIC,))

    def keys(self) -> list[Document]:
        """All keys, those that open nothing any more included. Their texts are nowhere."""
        now_ms = self._clock.wall_ms()
        return [_described(key, now_ms) for key in self._view.all()]

    def create(self, name: str, role: Role, lasts: timedelta | None, *, who: str) -> Document:
        """Make a key; the answer is the only place where its text ever stands."""
        text, now_ms = key_text(name, self._secret()), self._clock.wall_ms()
        expires_ms = None if lasts is None else now_ms + lasts // timedelta(milliseconds=1)
        made = ApiKey(name, role, digest_of(text), now_ms, who, expires_ms)

        def decide(known: ApiKey | None) -> ApiKey:
            if known is not None:
                raise RequestError(
                    f"there is a key {name!r} already, or was", remedy="choose another name, or rotate that one"
                )
            return made

        return {**self._apply(name, "create key", decide, who=who), "key": text}

    def rotate(self, name: str, *, who: str) -> Document:
        """Give a key another text and the same time to live; the old text opens nothing any more."""
        text, now_ms = key_text(name, self._secret()), self._clock.wall_ms()

        def decide(known: ApiKey | None) -> ApiKey:
            key = _existing(name, known)
            if key.state(now_ms) is KeyState.REVOKED:
                raise RequestError(f"the key {name!r} was revoked", remedy="make another one: `millrace keys create`")
            return key.rotated(digest_of(text), now_ms=now_ms, by=who)

        return {**self._apply(name, "rotate key", decide, who=who), "key": text}

    def revoke(self, name: str, *, who: str) -> Document:
        """Take a key away, everywhere and for good. Twice is as good as once."""
        now_ms = self._clock.wall_ms()

        def decide(known: ApiKey | None) -> ApiKey:
            key = _existing(name, known)
            return key if key.revoked_ms is not None else replace(key, revoked_ms=now_ms)

        return self._apply(name, "revoke key", decide, who=who)

    def close(self) -> None:
        """Release everything."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _apply(self, name: str, what: str, edit: Edit, *, who: str) -> Document:
        def decide(tables: Tables) -> Change[Document]:
            document = tables[KEYS_TOPIC].get(name)
            before = None if document is None else KEYS.read(document, subject=f"{KEYS_TOPIC}, {name}")
            after = edit(before)
            puts = [] if after == before else [Put(KEYS_TOPIC, name, KEYS.write(after))]
            return Change(puts, _described(after, self._clock.wall_ms()))

        with self._writing:
            applied = self._writer.apply(f"key/{name}", what, decide, who=who)
        if (reached := applied.next_offsets.get(KEYS_TOPIC)) is not None:
            self._view.wait_for(reached)
        return applied.outcome


def _existing(name: str, known: ApiKey | None) -> ApiKey:
    if known is None:
        raise RequestError(f"there is no key {name!r}", remedy="see `millrace keys list`")
    return known


def _described(key: ApiKey, now_ms: int) -> Document:
    """What may be told of a key."""
    return {
        "name": key.name,
        "role": key.role.value,
        "state": key.state(now_ms).value,
        "created_ms": key.created_ms,
        "created_by": key.created_by,
        "expires_ms": key.expires_ms,
        "revoked_ms": key.revoked_ms,
    }
