"""Which answers of the REST API each page is made of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from millrace.core.errors import MillraceError, RequestError
from millrace_launcher.ui.asking import Asker
from millrace_launcher.ui.dashboard import Dashboard, dashboard
from millrace_launcher.ui.figures import Together, together
from millrace_launcher.ui.river import Basin, Known, basins

_NO_AUDITS: Final[Mapping[str, Any]] = {"windows": [], "alerts": []}


@dataclass(frozen=True, slots=True)
class Overview:
    """What the first page shows."""

    basins: tuple[Basin, ...]
    nodes: int
    nodes_up: int
    cores_used: float
    cores: float


def overview(api: Asker, now_ms: float) -> Overview:
    """Everything at a glance."""
    found = api.nodes()
    up = [node for node in found if node["standing"] == "up"]
    known = [_known(api, status["deployment"]) for status in api.deployments()]
    return Overview(
        basins=basins((each for each in known if each is not None), now_ms=now_ms),
        nodes=len(found),
        nodes_up=len(up),
        cores_used=sum(node["cores_used"] for node in up),
        cores=sum(node["inventory"]["cores"] for node in up),
    )


def deployment_page(api: Asker, name: str, now_ms: float) -> Dashboard:
    """One deployment."""
    status = api.deployment(name)
    series = {slot["slot"]: _series(api, slot["slot"]) for slot in _running(status)}
    memory = {slot: together([found]).latest("memory_bytes", now_ms) for slot, found in series.items()}
    scorers = together(found for slot, found in series.items() if _kind(slot) == "scorer")
    return dashboard(status, scorers, memory, api.audits(name), api.models(), now_ms=now_ms)


def _known(api: Asker, name: str) -> Known | None:
    """What is known of a deployment; None where it was deleted a moment ago."""
    try:
        status = api.deployment(name)
    except RequestError:
        return None
    slots = [slot["slot"] for slot in _running(status)]
    audited = any(_kind(slot["slot"]) == "auditor" for slot in status["slots"])
    trainers = [slot["slot"] for slot in status["slots"] if _kind(slot["slot"]) == "trainer"]
    at_work = [_is_at_work(_series(api, slot)) for slot in trainers if slot in slots]
    return Known(
        status=status,
        scorers=_figures(api, slots, "scorer"),
        auditors=_figures(api, slots, "auditor"),
        alerts=tuple((api.audits(name) if audited else _NO_AUDITS)["alerts"]),
        is_training=any(at_work) if trainers else None,
    )


def _series(api: Asker, slot: str) -> Mapping[str, Any]:
    """The figures of a process; none where its node does not give them, which is when a page is wanted most."""
    try:
        return api.series(slot)
    except MillraceError:
        return {}


def _is_at_work(series: Mapping[str, Any]) -> bool:
    """Whether a trainer said last that it works on a request."""
    return bool(series.get("at_work") and series["at_work"][-1])


def _figures(api: Asker, slots: Iterable[str], kind: str) -> Together:
    return together(_series(api, slot) for slot in slots if _kind(slot) == kind)


def _running(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [slot for slot in status["slots"] if slot["process"] and slot["process"]["state"] != "ended"]


def _kind(slot: str) -> str:
    return slot.split("/")[1]
