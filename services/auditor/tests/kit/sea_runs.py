"""Bars 6 and 18 of any size: what a test asserts small and `make figures` prints whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from audit_stream import Audited
from sea_stream import Sea, right

from millrace.testing.waiting import eventually

CONCEPTS: Final = (8.0, 9.0, 8.0, 7.0, 8.0, 9.5)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What became of a model that is never changed.

    Attributes:
        worst_se: The largest distance of a window's accuracy from the truth, in standard errors.
        raised: The windows in which the performance alert was raised, by number.
    """

    worst_se: float
    raised: list[int]


@dataclass(frozen=True, slots=True)
class Unattended:
    """What became of a model that changes itself.

    Attributes:
        steps: The records of its loops, in a word each.
        loops: Their loop ids.
        before: Accuracies of the windows before the change.
        fallen: Of those after it, by the old version.
        after: Of those by the promoted version.
        signals: What alerts were about.
        champion: The version that stands at the end.
    """

    steps: list[str]
    loops: list[str]
    before: list[float]
    fallen: list[float]
    after: list[float]
    signals: set[str]
    champion: int


def run_frozen(stream: Sea, windows_each: int, *, within: timedelta = timedelta(seconds=60)) -> Frozen:
    """All concepts one after the other, and the first one again after each."""
    thresholds = [concept for concept in CONCEPTS for _ in range(windows_each)]
    with stream.running():
        stream.send(thresholds)
        stream.let_time_pass()
        reports = stream.audited.wait_for("mature", len(thresholds), within=within)
    reports = sorted(reports, key=lambda each: str(each["window"]["start"]))
    starts = [report["window"]["start"] for report in reports]
    raised = [
        starts.index(alert["windows"][0])
        for alert in stream.audited.alerts()
        if (alert["signal"], alert["metric"], alert["state"]) == ("performance", "error_rate", "raised")
    ]
    distances = [
        _distance(accuracy, right(threshold), stream.window_events)
        for accuracy, threshold in zip(_accuracies(reports), thresholds, strict=True)
    ]
    return Frozen(max(distances), raised)


def run_unattended(stream: Sea, *, within: timedelta = timedelta(seconds=90)) -> Unattended:
    """The change from 8 to 9.5; first with a trainer whose candidates are worse, then with one that learns."""
    steps, audited = stream.audited.steps, stream.audited
    with stream.running("functions:guess"):
        stream.send([8.0] * 2 + [9.5] * 2)
        stream.let_time_pass()
        eventually(lambda: steps()[-1:] == ["noted"], within=within, what="the end of the first loop")
    with stream.running("functions:fit"):
        stream.send([9.5] * 2)
        stream.let_time_pass()
        eventually(lambda: steps().count("noted") == 2, within=within, what="the end of the second loop")
        stream.send([9.5] * 3)
        stream.let_time_pass()
        eventually(lambda: len(_labelled(audited, 2)) == 3, within=within, what="the windows of the new version")
    old = _accuracies(_labelled(audited, 1))
    return Unattended(
        steps(),
        [each["loop_id"] for each in audited.requests()],
        old[:2],
        old[2:],
        _accuracies(_labelled(audited, 2)),
        {each["signal"] for each in audited.alerts()},
        stream.loop.champion(),
    )


def _labelled(audited: Audited, version: int) -> list[dict[str, Any]]:
    """The mature windows of a version that have labels."""
    return [each for each in audited.reports("mature") if each["version"] == version and each["counts"]["labelled"]]


def _accuracies(reports: Sequence[dict[str, Any]]) -> list[float]:
    return [float(each["performance"]["accuracy"]["value"]) for each in reports]


def _distance(accuracy: float, truth: float, n: int) -> float:
    """In standard errors; a model that is always right has none."""
    if accuracy == truth:
        return 0.0
    return abs(accuracy - truth) / max(math.sqrt(truth * (1 - truth) / n), 1e-9)
