"""What a report is made from, as it was read: the newest reports, the alerts, the loops, and what was agreed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from millrace.client.audits import Audit, AuditAlert, LabelHorizon
from millrace.client.report.model import Era
from millrace.process.deployment import Audit as AuditSettings
from millrace.process.retraining import LoopAnswer, Requested

HEADLINES: Final = ("accuracy", "mae")
"""What a report leads with, whichever its task has."""


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that the page is made of.

    Attributes:
        deployment: The name that was asked for.
        made_at: When it was read.
        audits: The newest report of every window and version, by the window's end.
        alerts: Changes of alerts, oldest first.
        loops: Requests for better versions and their answers, oldest first.
        settings: What the deployment's document says about its audit; the defaults where it is not known.
        document_known: Whether `settings` are the deployment's.
        left_out: Windows that are older than those in `audits`.
    """

    deployment: str
    made_at: datetime
    audits: tuple[Audit, ...] = ()
    alerts: tuple[AuditAlert, ...] = ()
    loops: tuple[Requested | LoopAnswer, ...] = ()
    settings: AuditSettings = field(default_factory=AuditSettings)
    document_known: bool = False
    left_out: int = 0

    @property
    def headline(self) -> str | None:
        """The metric that the report leads with; None before anything is labelled."""
        figures = (item for audit in self.audits for item in audit.performance.items())
        known = {name for name, figure in figures if figure.value is not None}
        return next((name for name in (*HEADLINES, *sorted(known)) if name in known), None)

    @property
    def leading(self) -> tuple[Audit, ...]:
        """Of each window the report on the version that predicted most, by the window's end."""
        by_window: dict[datetime, Audit] = {}
        for audit in self.audits:
            other = by_window.get(audit.window.start)
            if other is None or audit.counts["predictions"] > other.counts["predictions"]:
                by_window[audit.window.start] = audit
        return tuple(sorted(by_window.values(), key=lambda audit: audit.window.end))

    @property
    def disjoint(self) -> tuple[Audit, ...]:
        """Reports on every version, of windows that do not overlap, the newest first: what is counted once."""
        chosen: list[datetime] = []
        before = None
        for audit in reversed(self.leading):
            if before is None or audit.window.end <= before:
                before = audit.window.start
                chosen.append(before)
        return tuple(audit for start in chosen for audit in self.audits if audit.window.start == start)

    @property
    def size(self) -> timedelta:
        """Length of the newest window; none without one."""
        return timedelta(seconds=self.audits[-1].window.size_s) if self.audits else timedelta(0)

    @property
    def hop(self) -> timedelta:
        """The usual distance between two windows; their length where there is only one."""
        starts = [audit.window.start for audit in self.leading]
        return min((later - earlier for earlier, later in pairwise(starts)), default=self.size)

    @property
    def label_horizon(self) -> LabelHorizon | None:
        """How long labels are waited for, as the newest report has it."""
        return self.audits[-1].label_horizon if self.audits else None

    @property
    def eras(self) -> tuple[Era, ...]:
        """Which version led when, oldest first; what overlapping windows share belongs to the earlier one."""
        eras: list[Era] = []
        for audit in self.leading:
            start = max(audit.window.start, eras[-1].end) if eras else audit.window.start
            if eras and eras[-1].version == audit.version:
                start = eras.pop().start
            eras.append(Era(audit.version, start, audit.window.end))
        return tuple(eras)


def mature(audits: Sequence[Audit]) -> list[Audit]:
    """Reports whose labels are complete."""
    return [audit for audit in audits if audit.stage != "closed"]
