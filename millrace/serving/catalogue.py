"""The registry's records, and every decision about them: pure functions of the table that was read.

The topic `millrace.models` is compacted. Its keys:

================================  =====================================================
`weather/3`                       version 3 of the model `weather`, never changed
`weather@champion`                which version an alias names
`weather/3#latency/cpu`           what micro-batches of that version cost on a device
`weather/3#evaluation/2b1f...`    how good that version was on held-out rows, by their digest
`transform:weather/3`             version 3 of the transform `weather` (`millrace.serving.transforms`)
================================  =====================================================
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, TypeVar

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from millrace.core.errors import RequestError
from millrace.core.signature import Task
from millrace.process.refusal import refusal
from millrace.serving.manifest import STRICT, BaselineMetric, Digest, Manifest, ModelName, RuntimeKind

CHAMPION: Final = "champion"
"""The alias that a bare model name means, and that the first version gets."""

CHALLENGER: Final = "challenger"
"""The alias of a version that a rollout tries, or that waits for a person to promote it."""

Table: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The newest value of each key of `millrace.models`."""

_REFERENCE: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._-]*)(@(?P<alias>[a-z][a-z0-9-]*)|/(?P<version>[1-9][0-9]*))?"
)
_LATENCY: Final = "#latency/"
_EVALUATION: Final = "#evaluation/"
_DIGITS: Final = 16  # of a digest in a key: enough for all data sets that a version will ever see

TRANSFORM: Final = "transform:"
"""What the keys of transforms begin with; no model's name has a colon."""

VersionNumber: TypeAlias = Annotated[int, Field(ge=1)]
Document = TypeVar("Document", bound=BaseModel)


class VersionEntry(BaseModel):
    """One version of a model, as far as it must be known without its files."""

    model_config = STRICT

    kind: Literal["version"] = "version"
    name: ModelName
    version: VersionNumber
    digest: Digest
    """Of the bundle; its listing is the blob of this name."""
    runtime: RuntimeKind
    task: Task
    features: Annotated[int, Field(ge=1)]
    """How many features a record has."""
    metrics: tuple[BaselineMetric, ...] = ()
    profile: Digest
    """Id of the reference profile."""
    transform: Digest | None = None
    """Fingerprint of the transform that the model was trained with; absent where it has none."""
    batch_invariant: bool | None = None
    """Whether answers are equal to the bit in any batch; absent where it was not tried."""
    bytes: Annotated[int, Field(ge=0)]
    """Size of all files of the bundle."""
    created_at: AwareDatetime
    """When the model was made."""
    pushed_at: AwareDatetime

    @property
    def key(self) -> str:
        """Its key in the topic, `name/version`; also a reference to it."""
        return f"{self.name}/{self.version}"


class AliasEntry(BaseModel):
    """Which version an alias names."""

    model_config = STRICT

    kind: Literal["alias"] = "alias"
    name: ModelName
    alias: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    version: VersionNumber

    @property
    def key(self) -> str:
        """Its key in the topic, `name@alias`."""
        return f"{self.name}@{self.alias}"


class LatencyEntry(BaseModel):
    """What micro-batches of a version cost on a device, as `millrace.core.cost` learned it."""

    model_config = STRICT

    kind: Literal["latency"] = "latency"
    name: ModelName
    version: VersionNumber
    device: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    curve: dict[str, Any]

    @property
    def key(self) -> str:
        """Its key in the topic, `name/version#latency/device`."""
        return f"{self.name}/{self.version}{_LATENCY}{self.device}"


class EvaluationEntry(BaseModel):
    """How good a version was on rows that it did not learn from. The same rows again take its place."""

    model_config = STRICT

    kind: Literal["evaluation"] = "evaluation"
    name: ModelName
    version: VersionNumber
    experiment: ModelName
    """What it belongs to."""
    dataset: Annotated[str, Field(min_length=1, max_length=100)]
    """What the rows are called."""
    digest: Digest
    """Of the rows and their labels."""
    rows: Annotated[int, Field(ge=1)]
    """How many were given; each metric says how many of them were scored."""
    metrics: Annotated[tuple[BaselineMetric, ...], Field(min_length=1)]
    who: str
    evaluated_at: AwareDatetime

    @property
    def key(self) -> str:
        """Its key in the topic, `name/version#evaluation/` and the first digits of the digest."""
        return f"{self.name}/{self.version}{_EVALUATION}{self.digest.removeprefix('sha256:')[:_DIGITS]}"


Entry: TypeAlias = VersionEntry | AliasEntry | LatencyEntry | EvaluationEntry


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user writes to mean a version: `name@alias`, `name/3`, or `name`, which is `name@champion`.

    >>> Reference.parse("weather")
    Reference(name='weather', alias='champion', version=None)
    >>> str(Reference.parse("weather/3"))
    'weather/3'
    """

    name: str
    alias: str | None = None
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference.

        Raises:
            RequestError: The text is none.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise RequestError(
                f"{text!r} is no reference to a model", remedy="write NAME, NAME@ALIAS or NAME/VERSION in lower case"
            )
        if match["version"]:
            return cls(match["name"], version=int(match["version"]))
        return cls(match["name"], alias=match["alias"] or CHAMPION)

    def __str__(self) -> str:
        return f"{self.name}/{self.version}" if self.version else f"{self.name}@{self.alias}"


def resolve(table: Table, reference: Reference | str) -> VersionEntry:
    """The version that a reference means now.

    Raises:
        RequestError: There is no such model, alias or version; says which there are.
    """
    wanted = Reference.parse(reference) if isinstance(reference, str) else reference
    version = wanted.version
    if wanted.alias is not None:
        named = aliases(table, wanted.name)
        if wanted.alias not in named:
            raise _unknown(table, wanted, f"aliases that exist: {', '.join(named) or 'none'}")
        version = named[wanted.alias]
    document = table.get(f"{wanted.name}/{version}")
    if document is None:
        numbers = ", ".join(str(entry.version) for entry in versions(table, wanted.name))
        raise _unknown(table, wanted, f"versions that exist: {numbers or 'none'}")
    return read_entry(VersionEntry, document, key=f"{wanted.name}/{version}")


def names_version(table: Table, reference: str) -> bool:
    """Whether a reference means any version now: an alias may name none."""
    wanted = Reference.parse(reference)
    version = aliases(table, wanted.name).get(wanted.alias) if wanted.alias else wanted.version
    return f"{wanted.name}/{version}" in table


def versions(table: Table, name: str | None = None) -> tuple[VersionEntry, ...]:
    """All versions, of one model or of all, by name and number."""
    found = (
        read_entry(VersionEntry, document, key=key)
        for key, document in table.items()
        if _is_of_version(key) and (name is None or key.partition("/")[0] == name)
    )
    return tuple(sorted(found, key=lambda entry: (entry.name, entry.version)))


def _is_of_version(key: str) -> bool:
    return "/" in key and "#" not in key and not key.startswith(TRANSFORM)


def aliases(table: Table, name: str) -> dict[str, int]:
    """The version that each alias of a model names, by alias."""
    found = (
        read_entry(AliasEntry, document, key=key)
        for key, document in table.items()
        if key.partition("@")[0] == name and "@" in key
    )
    return {entry.alias: entry.version for entry in sorted(found, key=lambda entry: entry.alias)}


def curves(table: Table, entry: VersionEntry) -> dict[str, dict[str, Any]]:
    """The latency curves of a version, by device."""
    prefix = f"{entry.key}{_LATENCY}"
    return {
        key.removeprefix(prefix): read_entry(LatencyEntry, document, key=key).curve
        for key, document in table.items()
        if key.startswith(prefix)
    }


def evaluations(table: Table, entry: VersionEntry) -> tuple[EvaluationEntry, ...]:
    """The evaluations of a version, oldest first."""
    prefix = f"{entry.key}{_EVALUATION}"
    found = (
        read_entry(EvaluationEntry, document, key=key) for key, document in table.items() if key.startswith(prefix)
    )
    return tuple(sorted(found, key=lambda each: (each.evaluated_at, each.key)))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came of scoring rows whose truth is known.

    Attributes:
        digest: Of the rows and their labels.
        rows: How many were given.
        metrics: How good the answers were.
    """

    digest: str
    rows: int
    metrics: tuple[BaselineMetric, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An admitted bundle that is to become a version."""

    manifest: Manifest
    digest: str
    bytes: int


def add_version(table: Table, candidate: Candidate, pushed_at: AwareDatetime) -> tuple[VersionEntry, tuple[Entry, ...]]:
    """Number a bundle, and what to write for it.

    The first version of a model also becomes its champion. A bundle that is a version already keeps its number, and
    there is nothing to write.
    """
    manifest = candidate.manifest
    known = versions(table, manifest.name)
    for entry in known:
        if entry.digest == candidate.digest:
            return entry, ()
    entry = VersionEntry(
        name=manifest.name,
        version=known[-1].version + 1 if known else 1,
        digest=candidate.digest,
        runtime=manifest.runtime,
        task=manifest.signature.task,
        features=len(manifest.signature.features),
        metrics=manifest.metrics,
        profile=manifest.profile,
        transform=manifest.transform,
        batch_invariant=manifest.invariance.holds if manifest.invariance else None,
        bytes=candidate.bytes,
        created_at=manifest.created_at,
        pushed_at=pushed_at,
    )
    if known:
        return entry, (entry,)
    return entry, (entry, AliasEntry(name=entry.name, alias=CHAMPION, version=entry.version))


def move_alias(table: Table, alias: str, reference: Reference) -> AliasEntry:
    """Let an alias name the version that a reference means now.

    Raises:
        RequestError: The version does not exist, or the alias cannot be written in a reference.
    """
    entry = resolve(table, reference)
    spelled = Reference.parse(f"{entry.name}@{alias}")
    return AliasEntry(name=entry.name, alias=str(spelled.alias), version=entry.version)


def swap_aliases(
    table: Table, name: str, *, expected: Mapping[str, int | None], wanted: Mapping[str, int | None]
) -> Mapping[str, AliasEntry | None] | None:
    """What to write, by key, so that aliases of a model name the versions that are wanted; None takes a name away.

    Nothing where they do already. None where they are not what was expected: somebody else has decided meanwhile.

    Raises:
        RequestError: A version that is wanted does not exist.
    """
    named = aliases(table, name)
    missing = {alias: version for alias, version in wanted.items() if named.get(alias) != version}
    if not missing:
        return {}
    if any(named.get(alias) != version for alias, version in expected.items()):
        return None
    return {
        f"{name}@{alias}": None if version is None else move_alias(table, alias, Reference(name, version=version))
        for alias, version in missing.items()
    }


def read_entry(kind: type[Document], document: Mapping[str, Any], *, key: str) -> Document:
    """Read a value of the topic.

    Raises:
        RequestError: It is not what its key promises.
    """
    try:
        return kind.model_validate(dict(document), strict=False)
    except ValidationError as error:
        raise refusal(error, subject=f"millrace.models, key {key}", remedy="write the record again") from None


def _unknown(table: Table, wanted: Reference, exist: str) -> RequestError:
    names = sorted({entry.name for entry in versions(table)})
    if wanted.name in names:
        return RequestError(f"the model {wanted.name!r} has no {wanted}", remedy=exist)
    return RequestError(
        f"there is no model {wanted.name!r}",
        remedy=f"models that exist: {', '.join(names)}" if names else "push one: `millrace model push FOLDER`",
    )
