"""Versions of transforms in the registry: key `transform:weather/3` of the topic `millrace.models`.

A version holds the whole document and all that was learnt, so it needs no blob and never changes.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel

from millrace.core.errors import RequestError
from millrace.kafka.admin import Admin
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import CONTROL_TOPICS, MODELS_TOPIC, Applied, Change, ControlWriter, Put, Tables
from millrace.process.settings import KafkaSettings
from millrace.serving.catalogue import TRANSFORM, Table, VersionNumber, read_entry
from millrace.serving.manifest import STRICT, Digest, ModelName
from millrace.transform import Program

_REFERENCE: Final = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)(/(?P<version>[1-9][0-9]*))?")


class TransformEntry(BaseModel):
    """One version of a transform."""

    model_config = STRICT

    kind: Literal["transform"] = "transform"
    name: ModelName
    version: VersionNumber
    fingerprint: Digest
    """Of the document and all that was learnt."""
    program: dict[str, Any]
    """The document and what each step learnt, as `millrace transform export` writes it."""
    pushed_at: AwareDatetime

    @property
    def key(self) -> str:
        """Its key in the topic, `transform:name/version`."""
        return f"{TRANSFORM}{self.reference}"

    @property
    def reference(self) -> str:
        """What people write: `name/version`."""
        return f"{self.name}/{self.version}"

    def open(self) -> Program:
        """The transform, ready to work.

        Raises:
            RequestError: It cannot be read, or is not the one that the fingerprint was taken of.
        """
        program = Program.load(self.program, subject=f"millrace.models, key {self.key}")
        if program.fingerprint != self.fingerprint:
            raise RequestError(
                f"transform {self.reference} is not what was pushed: its fingerprint is {program.fingerprint}",
                remedy="push it again as a new version",
            )
        return program


def transform_versions(table: Table, name: str | None = None) -> tuple[TransformEntry, ...]:
    """All versions, of one transform or of all, by name and number."""
    wanted = TRANSFORM if name is None else f"{TRANSFORM}{name}/"
    found = (read_entry(TransformEntry, document, key=key) for key, document in table.items() if key.startswith(wanted))
    return tuple(sorted(found, key=lambda entry: (entry.name, entry.version)))


def resolve_transform(table: Table, reference: str) -> TransformEntry:
    """The version that a reference means: `weather/3`, or `weather` for the newest.

    Raises:
        RequestError: There is no such transform or version; says which there are.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise RequestError(f"{reference!r} is no reference to a transform", remedy="write NAME or NAME/VERSION")
    known = transform_versions(table, match["name"])
    if not known:
        names = ", ".join(sorted({entry.name for entry in transform_versions(table)}))
        remedy = f"transforms that exist: {names}" if names else "make one: `millrace transform fit FILE --data FILE`"
        raise RequestError(f"there is no transform {match['name']!r}", remedy=remedy)
    if match["version"] is None:
        return known[-1]
    for entry in known:
        if entry.version == int(match["version"]):
            return entry
    numbers = ", ".join(str(entry.version) for entry in known)
    raise RequestError(f"there is no transform {reference}", remedy=f"versions that exist: {numbers}")


def add_transform(table: Table, program: Program, pushed_at: datetime) -> tuple[TransformEntry, bool]:
    """Number a transform, and say whether it is new; one that is a version already keeps its number."""
    name = program.transform.transform
    known = transform_versions(table, name)
    for entry in known:
        if entry.fingerprint == program.fingerprint:
            return entry, False
    number = known[-1].version + 1 if known else 1
    entry = TransformEntry(
        name=name,
        version=number,
        fingerprint=program.fingerprint,
        program=program.document(),
        pushed_at=pushed_at,
    )
    return entry, True


def _utc_now() -> datetime:
    return datetime.now(UTC)


class TransformRegistry:
    """Reads and writes versions of transforms. Not thread-safe; close it, or use it in a `with`.

    Every method may raise TransientError when the broker cannot be reached, and FatalError when it refuses this client.

    Args:
        kafka: The cluster.
        who: Whom the history names for changes.
        now: The clock of `pushed_at`.
    """

    def __init__(self, kafka: KafkaSettings, *, who: str, now: Callable[[], datetime] = _utc_now) -> None:
        self._kafka = kafka
        self._who = who
        self._now = now
        self._view: ControlView | None = None

    def versions(self, name: str | None = None) -> tuple[TransformEntry, ...]:
        """All versions, of one transform or of all, by name and number."""
        return transform_versions(self._opened().refresh(), name)

    def resolve(self, reference: str) -> TransformEntry:
        """The version that a reference means now.

        Raises:
            RequestError: There is no such transform or version; says which there are.
        """
        return resolve_transform(self._opened().refresh(), reference)

    def push(self, program: Program) -> TransformEntry:
        """Make a transform the next version of its name; one that was pushed before is the same version.

        Raises:
            RequestError: A step cannot work on the columns that reach it; names the step's number.
        """
        program.check()
        with ControlWriter(self._kafka, who=self._who, topics=(MODELS_TOPIC,)) as writer:
            subject = f"{TRANSFORM}{program.transform.transform}"
            applied: Applied[dict[str, Any]] = writer.apply(
                subject, "push transform", partial(_push, program, self._now())
            )
        return TransformEntry.model_validate(applied.outcome, strict=False)

    def close(self) -> None:
        """Let go of the connections. Twice is as good as once."""
        if self._view is not None:
            self._view.close()
            self._view = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> ControlView:
        if self._view is None:
            Admin(self._kafka).ensure_topics([spec for spec in CONTROL_TOPICS if spec.name == MODELS_TOPIC])
            self._view = ControlView(self._kafka, MODELS_TOPIC)
        return self._view


def _push(program: Program, pushed_at: datetime, tables: Tables) -> Change[dict[str, Any]]:
    entry, is_new = add_transform(tables[MODELS_TOPIC], program, pushed_at)
    document = entry.model_dump(mode="json", exclude_none=True)
    return Change([Put(MODELS_TOPIC, entry.key, document)] if is_new else (), document)
