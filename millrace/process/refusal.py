"""One line for a person out of a pydantic error: what is wrong, where, and what to do."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from millrace.core.errors import RequestError

KeyPath: TypeAlias = Sequence[int | str]
"""Where in a document a problem lies: the keys and list positions that lead to it."""

_REMEDIES = {
    "extra_forbidden": "remove it, or correct its spelling",
    "missing": "add it",
}


def dotted(path: KeyPath) -> str:
    """A path as `jq` and our documents write it: `batch.max_wait_ms`."""
    return ".".join(map(str, path))


def refusal(
    error: ValidationError, *, subject: str, remedy: str = "", name: Callable[[KeyPath], str] = dotted
) -> RequestError:
    """The error to raise for a document or an environment that does not validate.

    Only one problem gets words, because the others are often its consequences (a misspelt name makes the right one
    missing); how many there are is said. Values that do not validate are not repeated by pydantic's own checks: they
    may be secrets.

    Args:
        error: What pydantic found.
        subject: What was being read, as a person would find it again: a file's path, "the environment".
        remedy: Replaces the remedy that follows from the kind of problem.
        name: Writes a path as the subject's readers know it.
    """
    problems = error.errors(include_url=False, include_input=False)
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    place = f"{name(first['loc'])}: " if first["loc"] else ""
    return RequestError(
        f"{subject}: {place}{_sentence(first)}{others}",
        remedy=remedy or _REMEDIES.get(first["type"], "docs/reference/settings.md lists what may stand there"),
    )


def _sentence(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return "no such setting"
        case "missing":
            return "is missing"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"should match {problem['ctx']['pattern']}"
        case _:
            return problem["msg"].removeprefix("Input ")
