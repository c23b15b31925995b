"""Models, nodes and the history, as their pages show them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from millrace.core.control.differences import differences
from millrace_launcher.ui.words import moment, number, size, tone

_DIGEST: Final = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_LONGEST: Final = 160
"""Characters of a line: what is longer, a machine wrote."""
_CUT: Final = "…"
_NEWEST: Final = 100
"""Records of the history on a page."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model."""

    number: int
    href: str
    aliases: tuple[str, ...]
    task: str
    metrics: tuple[str, ...]
    pushed: str
    is_champion: bool


@dataclass(frozen=True, slots=True)
class Model:
    """A model, its newest version first."""

    name: str
    versions: tuple[Version, ...]

    @property
    def may_roll_back(self) -> bool:
        """Whether there is another version to go back to."""
        return len(self.versions) > 1 and any(version.is_champion for version in self.versions)


@dataclass(frozen=True, slots=True)
class Meter:
    """How much of something is given away."""

    name: str
    words: str
    percent: int


@dataclass(frozen=True, slots=True)
class Node:
    """A machine."""

    name: str
    standing: str
    tone: str
    is_controller: bool
    meters: tuple[Meter, ...]
    gpus: tuple[str, ...]
    kinds: tuple[str, ...]
    libraries: tuple[tuple[str, str], ...]
    environment: str
    is_alike: bool
    url: str
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one control record: `new`, `changed` or `deleted`, and the lines that differ."""

    record: str
    verb: str
    lines: tuple[str, ...]

    @property
    def is_brief(self) -> bool:
        """Whether it is read at a glance."""
        return self.verb == "changed" and not any(line.endswith(_CUT) for line in self.lines)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that somebody did."""

    at: str
    who: str
    what: str
    subject: str
    result: str
    changes: tuple[Change, ...]
    digest: str
    is_refused: bool


def models(found: Iterable[Mapping[str, Any]]) -> tuple[Model, ...]:
    """Versions by model."""
    by_name: dict[str, list[Version]] = {}
    for each in found:
        by_name.setdefault(each["name"], []).append(_version(each))
    return tuple(
        Model(name, tuple(sorted(versions, key=lambda version: -version.number)))
        for name, versions in sorted(by_name.items())
    )


def _version(each: Mapping[str, Any]) -> Version:
    return Version(
        number=each["version"],
        href=f"/models/{each['name']}/{each['version']}",
        aliases=tuple(each["aliases"]),
        task=each["task"],
        metrics=tuple(f"{metric['name']} {metric['value']:.3f}" for metric in each.get("metrics", ())[:2]),
        pushed=each["pushed_at"][:16].replace("T", " "),
        is_champion="champion" in each["aliases"],
    )


def nodes(found: Sequence[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The machines, by name. One whose packages differ from those of most is marked."""
    environments = [each["inventory"]["environment"] for each in found if each["standing"] == "up"]
    usual = max(environments, key=environments.count, default="")
    return tuple(_node(each, usual) for each in found)


def _node(each: Mapping[str, Any], usual: str) -> Node:
    has = each["inventory"]
    return Node(
        name=each["node"],
        standing=each["standing"],
        tone=tone(each["standing"]),
        is_controller=each["decides"] and each["standing"] == "up",
        meters=(
            _meter("cores", each["cores_used"], has["cores"], number),
            _meter("memory", each["memory_used_bytes"], has["memory_bytes"], size),
        ),
        gpus=tuple(has["gpus"]),
        kinds=tuple(has["kinds"]),
        libraries=tuple(sorted(has["libraries"].items())),
        environment=has["environment"],
        is_alike=has["environment"] == usual,
        url=each["url"],
        processes=tuple(each["processes"]),
    )


def _meter(name: str, used: float, there: float, say: Any) -> Meter:  # noqa: ANN401 -- number or size
    return Meter(name, f"{say(used)} of {say(there)}", round(100 * min(used / there, 1.0)) if there else 0)


def entries(found: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
    """The newest records of the history, the newest first."""
    newest = sorted(found, key=lambda record: (record["at_ms"], record["sequence"]))[-_NEWEST:]
    return tuple(map(_entry, reversed(newest)))


def _entry(record: Mapping[str, Any]) -> Entry:
    result = record["result"]
    return Entry(
        at=moment(record["at_ms"]),
        who=record["who"],
        what=record["what"],
        subject=record["subject"],
        result=_result(result),
        changes=tuple(_changes(record["before"], record["after"])),
        digest=record["digest"][:12],
        is_refused=record["what"].startswith("refused"),
    )


def _result(result: object) -> str:
    """A result that is a word or two; a whole record is what the changes tell."""
    match result:
        case {"error": str(error)}:
            return error
        case str() | int():
            return str(result)
        case _:
            return ""


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[Change]:
    """What became of the control records."""
    for topic in sorted(before.keys() | after.keys()):
        olds, news = before.get(topic, {}), after.get(topic, {})
        for key in sorted(olds.keys() | news.keys()):
            verb, lines = _compared(olds.get(key), news.get(key))
            if lines:
                yield Change(f"{topic}, {key}", verb, tuple(map(_shortened, lines)))


def _compared(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> tuple[str, list[str]]:
    if old is None or new is None:
        lines = differences({}, (new if old is None else old) or {}, absent="")
        return "new" if old is None else "deleted", [line.replace(":  -> ", ": ", 1) for line in lines]
    return "changed", list(differences(old, new))


def _shortened(line: str) -> str:
    found = _DIGEST.sub(r"\1…", line)
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}{_CUT}"
