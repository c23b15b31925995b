"""What the registry knows about the versions of the audited model: what to count, and how to watch."""

import math
from datetime import timedelta
from functools import cache
from typing import Final

from millrace.core.audit.decisions import Policy
from millrace.core.audit.layout import Layout
from millrace.core.audit.report import LabelHorizon, QualityLimits, Subject
from millrace.core.audit.segments import Segments, find_segments
from millrace.core.audit.watch import Baseline, Watch
from millrace.core.audit.windows import WindowSpec
from millrace.core.errors import RequestError
from millrace.core.profile import ReferenceProfile
from millrace.core.signature import Task
from millrace.process.deployment import Audit, Deployment
from millrace.serving.bundle import Bundle
from millrace.serving.manifest import BaselineMetric
from millrace.serving.registry import Registry


class Versions:
    """Layouts and watches by version number, each made once.

    Args:
        registry: The model registry.
        deployment: Whose model is audited.

    Raises:
        RequestError: The registry does not have the deployment's model.
    """

    def __init__(self, registry: Registry, deployment: Deployment) -> None:
        entry, bundle = registry.open(deployment.model)
        self.model: Final = entry.name
        self.task: Final = bundle.signature.task
        self.classes: Final = bundle.signature.classes
        self._audit = deployment.audit
        self._registry = registry
        self._bundle = cache(self._open)
        self._divide = cache(self._segments)
        if self._audit.segment_by is not None and self.segments(entry.version) is None:
            raise RequestError(
                f"{entry.name}/{entry.version} has no feature {self._audit.segment_by!r} in its reference profile",
                remedy="name a feature of the model in audit.segment_by, or export the model with a reference",
            )

    @property
    def score_columns(self) -> int:
        """Scores kept per prediction, of every version alike."""
        return Layout(self.task, self.classes).score_columns

    def layout(self, version: int) -> Layout:
        """What to count for a version.

        Raises:
            RequestError: The registry does not have the version, or it predicts something else.
        """
        profile = self._bundle(version).profile
        centre, scale = _unit(profile) if self.task is Task.REGRESSION else (0.0, 1.0)
        return Layout.of(self.task, self.classes, profile, centre=centre, scale=scale)

    def segments(self, version: int) -> Segments | None:
        """How the events of a version are divided; None where they are not, or where it lacks the feature.

        Raises:
            RequestError: As for `layout`.
        """
        return self._divide(version)

    def watch(self, version: int) -> tuple[Watch, Baseline | None]:
        """How a version is watched, and how good it was on its reference; None where that had no labels."""
        bundle = self._bundle(version)
        spec = window_spec(self._audit)
        watch = Watch(
            Subject(self.model, version),
            self.layout(version),
            bundle.profile,
            _policy(self._audit, self.task),
            QualityLimits(completeness=self._audit.completeness, in_range=self._audit.in_range),
            overlap=-(-spec.size_ms // spec.hop_ms),
            segments=self.segments(version),
            label_horizon=LabelHorizon(spec.label_horizon, is_assumed=self._audit.label_horizon_secs is None),
        )
        return watch, _baseline(bundle, self.task)

    def _segments(self, version: int) -> Segments | None:
        feature = self._audit.segment_by
        return None if feature is None else find_segments(self.layout(version).cells, feature)

    def _open(self, version: int) -> Bundle:
        _, bundle = self._registry.open(f"{self.model}/{version}")
        if (bundle.signature.task, bundle.signature.classes) != (self.task, self.classes):
            raise RequestError(
                f"{self.model}/{version} predicts {bundle.signature.task} {list(bundle.signature.classes)}, and "
                f"{self.task} {list(self.classes)} is being counted",
                remedy="deploy a model with other classes as a new deployment",
            )
        return bundle


def window_spec(audit: Audit) -> WindowSpec:
    """Windows and horizons as a deployment declares them.

    Raises:
        RequestError: Panes do not divide windows.
    """
    return WindowSpec(
        label_horizon=audit.label_horizon,
        size=_seconds(audit.window_secs),
        hop=None if audit.hop_secs is None else _seconds(audit.hop_secs),
        pane=None if audit.pane_secs is None else _seconds(audit.pane_secs),
        correction_horizon=_seconds(audit.correction_horizon_secs),
        out_of_orderness=_seconds(audit.out_of_orderness_secs),
        idle_after=_seconds(audit.idle_after_secs),
        orphan_ttl=_seconds(audit.orphan_ttl_secs),
    )


def _policy(audit: Audit, task: Task) -> Policy:
    return Policy(
        metric="mae" if task is Task.REGRESSION else "error_rate",
        min_effect=audit.min_effect,
        min_samples=audit.min_labels,
        drift_floor=audit.min_drift,
        cooldown=_seconds(audit.cooldown_secs),
        volume=audit.retrain_after_labels,
        schedule=None if audit.retrain_every_secs is None else _seconds(audit.retrain_every_secs),
        guard=_seconds(audit.guard_secs),
    )


def _baseline(bundle: Bundle, task: Task) -> Baseline | None:
    metrics = {metric.name: metric for metric in bundle.manifest.metrics}
    if task is Task.REGRESSION:
        return _of_values(metrics["mae"]) if "mae" in metrics else None
    return _of_classes(metrics["accuracy"]) if "accuracy" in metrics else None


def _of_values(mae: BaselineMetric) -> Baseline:
    return Baseline(mae.value, mae.upper)


def _of_classes(accuracy: BaselineMetric) -> Baseline | None:
    if not accuracy.rows:
        return None
    return Baseline.of_errors(round((1.0 - accuracy.value) * accuracy.rows), accuracy.rows)


def _unit(profile: ReferenceProfile) -> tuple[float, float]:
    """Centre and unit of a regression's sums: the middle of what was predicted, and a power of two near its spread."""
    if profile.scores is None or profile.scores.upper <= profile.scores.lower:
        return 0.0, 1.0
    lower, upper = profile.scores.lower, profile.scores.upper
    return (lower + upper) / 2, 2.0 ** math.floor(math.log2((upper - lower) / 4))


def _seconds(count: int) -> timedelta:
    return timedelta(seconds=count)
