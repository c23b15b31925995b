"""A deployment whose model goes bad and comes back, made up window by window, for the tests of its page."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import numpy as np

from millrace.client.audits import (
    Audit,
    AuditAlert,
    Coverage,
    DriftOfFeature,
    Evidence,
    Figure,
    LabelHorizon,
    QualityCheck,
    Reference,
    Span,
)
from millrace.client.report.material import Material
from millrace.process.retraining import LoopAnswer, Requested, read_loop_record

BEGIN: Final = datetime(1981, 1, 1, tzinfo=UTC)
HORIZON: Final = timedelta(days=7)
CHANGE: Final = 14
"""The window from which on the world is another."""
TAKEOVER: Final = 20
"""The first window of version 2."""
WINDOWS: Final = 30
FEATURES: Final = ("sea_level_pressure", "dew_point", "temperature", "wind_speed", "humidity", "visibility")
LOOP: Final = "2f6f6f2e-54d5-5b2b-9f0e-3c9f8f1f3a11"
REFUSED_LOOP: Final = "77777777-54d5-5b2b-9f0e-3c9f8f1f3a11"


def day(window: int) -> datetime:
    """The start of a window."""
    return BEGIN + timedelta(days=30 * window)


def audit(window: int, accuracy: float | None, **changes: Any) -> Audit:  # noqa: ANN401
    """A report on one window of 30 days, mature unless told otherwise."""
    start, end = day(window), day(window + 1)
    stage = changes.get("stage", "mature")
    figures = {} if accuracy is None else {"accuracy": Figure(accuracy, accuracy - 0.03, accuracy + 0.03, 700)}
    made = Audit(
        id=f"report-{window}",
        model="weather",
        version=1 if window < TAKEOVER else 2,
        segment="*",
        window=Span(start, end, 30 * 86_400),
        stage=stage,
        revision=1,
        counts={"predictions": 720, "labelled": 700, "expired_unlabelled": 20, "late": 2, "corrections": 1},
        coverage=Coverage(0.97, by_score_bin_min=0.91, median_label_delay_s=86_400.0),
        performance=figures,
        drift=drift(window),
        quality=(QualityCheck("*", "readable", 1.0, 0.99, ok=True),),
        inputs={},
        estimate=None if accuracy is None else {"method": "cbpe", "accuracy": {"value": 0.8}},
        evidence=(
            Evidence("error_rate", 0.2, None if accuracy is None else 1 - accuracy, 2.0, 1e4),
            Evidence("drift", 0.0, None, 3.0, 1e3),
        ),
        reference=Reference("sha256:" + "1a" * 32, 30_000, baseline_learnt=False, baseline_windows=0),
        label_horizon=LabelHorizon(HORIZON.total_seconds(), assumed=False),
    )
    return replace(made, **changes)


def drift(window: int) -> tuple[DriftOfFeature, ...]:
    """Drift of all features: two of them jump at the change, and have their reference anew after the take-over."""
    rng = np.random.default_rng(window)
    changed = CHANGE <= window < TAKEOVER
    return tuple(
        DriftOfFeature(name, 0.2, effect, 40.0 if effect > 0.05 else -0.2, psi=0.3)
        for position, name in enumerate(FEATURES)
        for effect in [float(rng.random() * 0.03 + (0.4 - 0.25 * position if changed and position < 2 else 0.0))]
    )


def alert(
    window: int,
    state: Literal["raised", "escalated", "cleared"],
    signal: str = "drift",
    feature: str = "sea_level_pressure",
    **changes: Any,  # noqa: ANN401
) -> AuditAlert:
    """A change of an alert that this window decided."""
    metric = "js" if signal == "drift" else "error_rate"
    made = AuditAlert(
        f"{window}-{feature}",
        "raised",
        signal,
        "rain",
        "weather",
        1,
        feature,
        metric,
        (day(window),),
        0.4,
        40.0,
        (f"report-{window}",),
    )
    return replace(made, state=state, **changes)


def _read(document: dict[str, object]) -> Requested | LoopAnswer:
    return read_loop_record(json.dumps(document).encode(), subject="the story")


def requested(window: int, loop_id: str = LOOP, **changes: object) -> Requested:
    """A request that this window decided."""
    document = {
        "type": "retrain.requested.v1",
        "id": loop_id,
        "loop_id": loop_id,
        "model": "weather",
        "version": 1,
        "deployment": "rain",
        "reason": "performance",
        "trigger": {"signal": "error_rate", "baseline": 0.2, "observed": 0.45},
        "data": {"from": day(0).isoformat(), "to": day(window + 1).isoformat(), "labelled": 8000},
        "not_before": day(window + 1).isoformat(),
        "expires": day(window + 2).isoformat(),
        **changes,
    }
    record = _read(document)
    assert isinstance(record, Requested)
    return record


def answer(kind: str, loop_id: str = LOOP, **fields: object) -> LoopAnswer:
    """A record that follows a request."""
    at = {} if kind == "noted" else {"at": "2026-03-01T12:00:00Z"}
    common = {"type": f"retrain.{kind}.v1", "loop_id": loop_id, "model": "weather", "version": 1, **at}
    record = _read({**common, **fields})
    assert not isinstance(record, Requested)
    return record


def completed(loop_id: str = LOOP, *, candidate: float = 0.77, verdict: str = "promote") -> LoopAnswer:
    """A candidate that was measured against a champion of 0.55."""

    def interval(value: float) -> dict[str, float]:
        return {"value": value, "lower": value - 0.03, "upper": value + 0.03}

    return answer(
        "completed",
        loop_id,
        dataset={"fingerprint": f"sha256:{'3b' * 32}", "rows": 8211, "train": 6158, "holdout": 2053}
        | {"unlabelled": 254, "invalid": 0},
        evaluation={
            "metric": "accuracy",
            "test": "mcnemar_exact",
            "rows": 2053,
            "champion": interval(0.55),
            "candidate": interval(candidate),
            "gain": interval(candidate - 0.55),
            "p_value": 1.2e-40,
        },
        verdict=verdict,
        why="the candidate is better",
        digest=f"sha256:{'4c' * 32}",
        **({"candidate": 2} if verdict != "refuse" else {}),
    )


def accuracy(window: int) -> float:
    """0.8, then 0.55 after the change, then 0.77 again."""
    wobble = float(np.random.default_rng(window + 100).normal(0.0, 0.012))
    return (0.8 if window < CHANGE else 0.55 if window < TAKEOVER else 0.77) + wobble


def material(**changes: Any) -> Material:  # noqa: ANN401
    """The whole story."""
    audits = [audit(window, accuracy(window)) for window in range(WINDOWS)]
    audits[5] = replace(audits[5], stage="amended", revision=2)
    broken = (QualityCheck("humidity", "completeness", 0.4, 0.95, ok=False), *audits[9].quality)
    audits[9] = replace(audits[9], quality=broken)
    audits[-1] = audit(WINDOWS - 1, 0.79, stage="closed", coverage=Coverage(0.3))
    told = Material(
        deployment="rain",
        made_at=datetime(2026, 11, 23, 4, 0, tzinfo=UTC),
        audits=tuple(audits),
        alerts=(
            alert(9, "raised", "quality", "humidity", metric="completeness"),
            alert(10, "cleared", "quality", "humidity", metric="completeness"),
            alert(14, "raised"),
            alert(14, "raised", feature="dew_point"),
            alert(15, "raised", "performance", ""),
            alert(17, "escalated", "performance", ""),
            alert(22, "cleared", "performance", ""),
            alert(22, "cleared", feature="dew_point"),
        ),
        loops=(
            requested(15, REFUSED_LOOP),
            answer("accepted", REFUSED_LOOP, features=[], labels=[], seed=7),
            completed(REFUSED_LOOP, candidate=0.54, verdict="refuse"),
            answer("refused", REFUSED_LOOP, why="the candidate is not better"),
            requested(18),
            answer("accepted", features=[], labels=[], seed=7),
            completed(),
            answer("promoted", candidate=2, why="the candidate is better: accuracy 0.7700 against 0.5500"),
            answer("noted", deployment="rain", event_time=day(20).isoformat(), why="version 2 took over"),
        ),
    )
    return replace(told, **changes)
