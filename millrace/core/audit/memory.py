"""The state of a watch as bytes and back, for a changelog: a restarted auditor decides as if it had never stopped."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from millrace.core.audit.decisions import AlertKey, OpenAlert, Signal
from millrace.core.audit.evidence import DriftDetector, ErrorDetector, LossDetector
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane
from millrace.core.audit.report import canonical_json
from millrace.core.audit.standing import Guard, OpenRequest, PolicyState
from millrace.core.audit.watch import Baseline, WatchState
from millrace.core.errors import RequestError

_FORMAT: Final = 1
_DETECTORS: Final[Mapping[str, type[ErrorDetector] | type[LossDetector]]] = {
    "errors": ErrorDetector,
    "losses": LossDetector,
}


def dump_state(state: WatchState) -> bytes:
    """The whole state as canonical JSON: equal states give equal bytes. Floats are written so that they come back."""
    return canonical_json({"format": _FORMAT, **_watch_document(state)})


def load_state(data: bytes, layout: Layout) -> WatchState:
    """Read what `dump_state` wrote.

    Raises:
        RequestError: The bytes are no state of this format, or of a version with another layout.
    """
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise _unreadable(f"format {document['format']}")
        return _read_watch(document, layout)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _unreadable(repr(error)) from None


def _watch_document(state: WatchState) -> dict[str, object]:
    learnt, windows = state.learning
    detector = state.errors
    return {
        "baseline": None
        if state.baseline is None
        else [state.baseline.value, state.baseline.upper, state.baseline.is_learnt],
        "detector": None
        if detector is None
        else [
            "errors" if isinstance(detector, ErrorDetector) else "losses",
            detector.baseline,
            detector.threshold_steps,
            list(map(_write, detector.log_sums)),
        ],
        "drift": [
            state.drift.threshold_steps,
            {name: _write(log_sum) for name, log_sum in state.drift.log_sums.items()},
        ],
        "closed_until_ms": state.closed_until_ms,
        "mature_until_ms": state.mature_until_ms,
        "learning": [None if learnt is None else learnt.to_json().decode(), windows],
        "policy": _policy_document(state.policy),
        "segments": {name: _watch_document(own) for name, own in state.segments.items()},
    }


def _read_watch(document: Mapping[str, Any], layout: Layout) -> WatchState:
    baseline, detector, drift = document["baseline"], document["detector"], document["drift"]
    learnt, windows = document["learning"]
    return WatchState(
        baseline=None if baseline is None else Baseline(*baseline),
        errors=None
        if detector is None
        else _DETECTORS[detector[0]](detector[1], detector[2], tuple(map(float, detector[3]))),
        drift=DriftDetector(drift[0], {name: float(log_sum) for name, log_sum in drift[1].items()}),
        policy=_read_policy(document["policy"]),
        closed_until_ms=document["closed_until_ms"],
        mature_until_ms=document["mature_until_ms"],
        learning=(None if learnt is None else Pane.from_json(learnt.encode(), layout), windows),
        segments={name: _read_watch(own, layout) for name, own in document["segments"].items()},
    )


def _policy_document(state: PolicyState) -> Mapping[str, object]:
    return {
        "alerts": [
            [*key, _write(alert.effect), alert.alert_id, alert.quiet_windows, alert.is_escalated]
            for key, alert in sorted(state.alerts.items())
        ],
        "guard": None if state.guard is None else [state.guard.until_ms, state.guard.baseline],
        "open_request": None
        if state.open_request is None
        else [state.open_request.loop_id, state.open_request.until_ms],
        **{name: getattr(state, name) for name in _PLAIN},
    }


_TUPLES: Final = ("suspicions", "degraded_ms", "requests_ms")
_PLAIN: Final = (
    *_TUPLES,
    "cooldown_until_ms",
    "from_ms",
    "predictions",
    "labelled",
    "counted_until_ms",
    "labelled_at_request",
    "since_ms",
    "has_labels",
    "observed",
)


def _read_policy(document: Mapping[str, Any]) -> PolicyState:
    alerts: dict[AlertKey, OpenAlert] = {
        (Signal(signal), feature, metric): OpenAlert(float(effect), *alert)
        for signal, feature, metric, effect, *alert in document["alerts"]
    }
    plain: dict[str, Any] = {name: tuple(document[name]) if name in _TUPLES else document[name] for name in _PLAIN}
    guard, asked = document["guard"], document["open_request"]
    return PolicyState(
        alerts=alerts,
        guard=None if guard is None else Guard(*guard),
        open_request=None if asked is None else OpenRequest(*asked),
        **plain,
    )


def _write(value: float) -> float | str:
    """JSON has no infinities."""
    return value if math.isfinite(value) else str(value)


def _unreadable(what: str) -> RequestError:
    return RequestError(
        f"the state of the auditor's watch cannot be read: {what}",
        remedy="rebuild it: reset the judge's offsets on the evidence topic to the version's first window",
    )
