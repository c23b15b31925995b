"""Reading a YAML or JSON document from a file, with errors that lead a person to the line."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from millrace.core.errors import RequestError

MAX_DOCUMENT_BYTES: Final = 1_048_576
"""No document that a person writes is larger; a larger file is another file."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses what silently loses or multiplies settings: repeated keys, and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.get_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not read", alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 -- the base class's signature
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"{repeated!r} stands here twice", node.start_mark)
        return mapping


def read_document(path: Path) -> Mapping[str, Any]:
    """The mapping that a YAML or JSON file holds.

    Raises:
        RequestError: The file cannot be read, is too large, is not YAML, or holds no mapping; names the file, the line
            where there is one, and the remedy.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}", remedy="check the path") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise RequestError(f"{path} is larger than {MAX_DOCUMENT_BYTES} bytes", remedy="check the path")
    return _mapping(content, _parse_json if path.suffix == ".json" else _parse_yaml, subject=str(path))


def parse_document(text: str, *, subject: str) -> Mapping[str, Any]:
    """The mapping that a YAML text holds, or a JSON text, which is YAML as well.

    Args:
        text: The text.
        subject: What it is, for errors.

    Raises:
        RequestError: It is too large, is not YAML, or holds no mapping; names the line where there is one.
    """
    content = text.encode()
    if len(content) > MAX_DOCUMENT_BYTES:
        raise RequestError(f"{subject} is larger than {MAX_DOCUMENT_BYTES} bytes", remedy="shorten it")
    return _mapping(content, _parse_yaml, subject=subject)


def _mapping(content: bytes, parse: Callable[[bytes], object], *, subject: str) -> Mapping[str, Any]:
    try:
        document = parse(content)
    except _Misplaced as error:
        raise RequestError(f"{subject}{error.place}: {error.problem}", remedy="correct the line") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RequestError(f"{subject} is not a YAML or JSON text", remedy="write it as UTF-8 YAML or JSON") from None
    if not isinstance(document, dict):
        raise RequestError(f"{subject} holds no settings", remedy="write `name: value` lines")
    return document


class _Misplaced(Exception):  # noqa: N818 -- never leaves this module
    def __init__(self, problem: str, place: str = "") -> None:
        self.problem = problem
        self.place = place


def _parse_yaml(content: bytes) -> object:
    try:
        return yaml.load(content, Loader=_Loader)  # noqa: S506 -- a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise _Misplaced(error.problem or "is not YAML", place) from None


def _parse_json(content: bytes) -> object:
    try:
        return json.loads(content, object_pairs_hook=_without_repetition)
    except json.JSONDecodeError as error:
        raise _Misplaced(error.msg, f", line {error.lineno}, column {error.colno}") from None


def _without_repetition(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Misplaced(f"{next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return mapping
