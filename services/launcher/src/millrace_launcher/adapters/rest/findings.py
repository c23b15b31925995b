"""What this daemon knows of a deployment, for the four answers about it."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

from millrace.core.control.fleet import Process, ProcessState, Slot
from millrace.core.errors import MillraceError, RequestError
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.answers import Findings, Pace, pace_of
from millrace_launcher.logic.status import status_of


class Figures(Protocol):
    """What processes and reports tell. See `millrace_launcher.adapters.rest.insights.Insights`."""

    def series(self, slot: Slot) -> Mapping[str, Any]:
        """The figures of a slot over the last hour."""
        ...

    def audits(self, deployment: str, *, last: int) -> Mapping[str, Any]:
        """The newest report of each of the last windows, and the alerts that are open."""
        ...


def findings_on(name: str, view: FleetView, figures: Figures) -> Findings:
    """Everything that is known of a deployment now.

    Raises:
        RequestError: There is no such deployment, or its document cannot be read.
        TransientError: No broker answers.
    """
    fleet, desired = view.fleet(), view.desired()
    deployment = desired.deployments.get(name)
    if deployment is None:
        known = ", ".join(sorted(desired.deployments)) or "none"
        raise RequestError(f"there is no deployment {name!r}", remedy=f"deployments that can be read: {known}")
    status = status_of(name, fleet, desired)
    processes = (each.process for each in status.slots if each.process is not None)
    running = {each.slot: each for each in processes if each.state is not ProcessState.ENDED and each.url}
    audits = figures.audits(name, last=1)
    return Findings(
        status=status,
        paces=_paces(running, figures),
        slo_ms=deployment.slo.latency / timedelta(milliseconds=1),
        labels_topic=deployment.labels_topic,
        window=next(iter(audits["windows"]), None),
        alerts=tuple(map(_alert, audits["alerts"])),
        endpoints={slot: process.url for slot, process in running.items()},
    )


def _paces(running: Mapping[Slot, Process], figures: Figures) -> dict[Slot, Pace]:
    """What each process did lately; one whose node does not answer has told nothing."""
    paces = {}
    for slot in running:
        with suppress(MillraceError):
            if (pace := pace_of(figures.series(slot))) is not None:
                paces[slot] = pace
    return paces


def _alert(alert: Mapping[str, Any]) -> str:
    about = alert["feature"] or alert["metric"]
    return f"an alert is open: {alert['signal']}{f' of {about}' if about else ''}"
