"""Holds `constraints.txt` against a folder of advisories: where no index can be asked, somebody brings one.

    python -m tests.advisories FOLDER

The folder holds files in the format of OSV, JSON or YAML, such as a copy of PyPA's advisory database. What it does not
know it cannot tell, so its newest advisory is named.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from rich.console import Console

ROOT: Final = Path(__file__).parents[1]
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Hit:
    """A pinned version that an advisory is about."""

    package: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        also = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.package} {self.version}: {self.advisory}{also}, mended in {', '.join(self.fixed) or 'none'}"


def read_pins(constraints: str) -> dict[str, Version]:
    """Packages and their versions."""
    return {canonicalize_name(name): Version(version) for name, version in _PIN.findall(constraints)}


def read_advisories(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Every advisory of a folder that was not taken back."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".json", ".yaml"}:
            found = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
            if "affected" in found and "withdrawn" not in found:
                yield found


def hits(pins: Mapping[str, Version], advisory: Mapping[str, Any]) -> Iterator[Hit]:
    """The pinned versions that an advisory is about."""
    for affected in advisory["affected"]:
        about = affected.get("package", {})
        name = canonicalize_name(about.get("name", ""))
        version = pins.get(name) if about.get("ecosystem") == "PyPI" else None
        if version is None:
            continue
        ranges = [each["events"] for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM"]
        if version in map(_version, affected.get("versions", ())) or any(_is_in(version, each) for each in ranges):
            fixed = tuple(str(event["fixed"]) for events in ranges for event in events if "fixed" in event)
            yield Hit(name, str(version), advisory["id"], tuple(advisory.get("aliases", ())), fixed)


def _is_in(version: Version, events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a version lies between where a weakness came and where it went, by the order that OSV asks for."""
    is_weak = False
    for at, kind in sorted((_version(at), kind) for event in events for kind, at in event.items()):
        if kind == "introduced" and at <= version:
            is_weak = True
        elif (kind == "fixed" and at <= version) or (kind == "last_affected" and at < version):
            is_weak = False
    return is_weak


def _version(text: object) -> Version:
    try:
        return Version(str(text))
    except InvalidVersion:
        return Version("0")  # Of before there was an order of versions; none that is pinned is as old.


def main(folder: Path) -> int:
    """Tell what is known, and how new it is. Returns 1 where something is, and 2 where the folder holds nothing."""
    console = Console(soft_wrap=True, highlight=False)
    pins, advisories = read_pins((ROOT / "constraints.txt").read_text()), list(read_advisories(folder))
    if not advisories:
        console.print(f"{folder} holds no advisory in the format of OSV")
        return 2
    known = [hit for advisory in advisories for hit in hits(pins, advisory)]
    for hit in known:
        console.print(hit)
    newest = max(str(each["modified"]) for each in advisories)
    console.print(f"{len(pins)} packages, {len(advisories)} advisories of {newest:.10} and before: {len(known)} known")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
