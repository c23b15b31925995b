"""What can be done on the pages: each act is one request of the REST API, with the key of who acts."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from millrace.client.control import ControlClient
from millrace.client.documents import written_document
from millrace.core.errors import RequestError

Given: TypeAlias = Mapping[str, Any]
"""What a form holds."""

Done: TypeAlias = dict[str, Any]
"""What to tell: `said`, a sentence; `plan` for a plan; `goto` for the page that is next."""


def act(api: ControlClient, what: str, given: Given) -> Done:
    """Do it.

    Raises:
        RequestError: There is no such act, a value is missing or is none, or the REST API refuses.
        TransientError: The launcher does not answer.
    """
    if what not in _ACTS:
        raise RequestError(f"there is no act {what!r}", remedy="reload the page")
    return _ACTS[what](api, given)


def _scale(api: ControlClient, given: Given) -> Done:
    name, kind, count = _text(given, "name"), _text(given, "kind"), _text(given, "count")
    if not count.isdecimal():
        raise RequestError(f"{count!r} is no number of processes", remedy="write a number, 0 or greater")
    done = api.scale(name, {kind: int(count)})
    remark = f" {done['remark']}" if done["remark"] else ""
    return {"said": f"{name} shall have {count} {kind}.{remark}"}


def _plan(api: ControlClient, given: Given) -> Done:
    document = written_document(_text(given, "document"))
    return {"plan": api.plan(document["deployment"], document), "name": document["deployment"]}


def _deploy(api: ControlClient, given: Given) -> Done:
    document = written_document(_text(given, "document"))
    name = document["deployment"]
    done = api.put(name, document)
    return {"said": f"{name} {done['result']}.", "goto": f"/deployments/{name}"}


def _delete(api: ControlClient, given: Given) -> Done:
    name = _text(given, "name")
    api.delete(name)
    return {"said": f"{name} is deleted; its processes drain, its topics stay.", "goto": "/"}


def _promote(api: ControlClient, given: Given) -> Done:
    name, version = _text(given, "name"), _text(given, "version")
    if not version.isdecimal():
        raise RequestError(f"{version!r} is no version", remedy="reload the page")
    api.promote(name, int(version))
    return {"said": f"{name}/{version} is the champion; scorers switch between two micro-batches."}


def _rollback(api: ControlClient, given: Given) -> Done:
    done = api.rollback(_text(given, "name"))
    return {"said": f"{done['name']}/{done['version']} is the champion again."}


_ACTS: Final[Mapping[str, Callable[[ControlClient, Given], Done]]] = {
    "scale": _scale,
    "plan": _plan,
    "deploy": _deploy,
    "delete": _delete,
    "promote": _promote,
    "rollback": _rollback,
}


def _text(given: Given, name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RequestError(f"{name} is missing", remedy="fill it in")
    return value.strip()
