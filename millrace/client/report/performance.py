"""The sections about how good the model is: measured, and estimated before the labels come."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from millrace.client.audits import Audit
from millrace.client.report.material import Material, mature
from millrace.client.report.model import SERIES, Chart, Line, Look, Panel, Point, Rule, Section, Table, Tone, Unit
from millrace.client.report.timeline import marks_of, outside
from millrace.client.report.words import count, duration, interval, moment, number, share

_LOOKS: Final = {"closed": Look.OPEN, "mature": Look.FINAL, "amended": Look.AMENDED}
_SHARES: Final = frozenset({"accuracy", "error_rate", "f1", "precision", "recall", "roc_auc"})
_TWINS: Final = {"accuracy": "error_rate"}
"""What is watched in place of a headline; the one is what the other lacks to 1."""


def performance_section(material: Material) -> Section:
    """The headline over event time, with everything that happened."""
    title, metric = "Performance", material.headline
    if metric is None:
        return Section("performance", title, missing=_no_labels(material))
    baseline = baseline_of(material)
    rules = () if baseline is None else (Rule(f"baseline, {number(baseline)}", baseline),)
    panel = Panel(_name(metric), _unit(metric), _lines_by_version(material, metric), rules)
    marks = marks_of(material)
    chart = Chart(_alt(material, metric), (panel,), marks, material.eras)
    text = (*_how_to_read(material, metric), outside(marks, material))
    return Section("performance", title, tuple(filter(None, text)), (chart,), _performance_table(material, metric))


def estimate_section(material: Material) -> Section:
    """The estimate beside what the labels said later."""
    title, known = "Estimated beside measured", _estimated(material)
    if not known:
        missing = (
            "There is no estimate: it needs a binary model whose bundle was exported with labels "
            "(millrace.serving.export(…, labels=…)), so that its scores have a calibration."
        )
        return Section("estimate", title, missing=missing)
    metric = material.headline if material.headline in known else min(known)
    audits = material.leading
    pairs = [(audit, _estimate(audit, metric)) for audit in audits]
    lines = (
        Line("measured", Tone.BLUE, _points(audits, metric, material.hop)),
        Line(
            "estimated",
            Tone.ORANGE,
            _unbroken([Point(audit.window.end, value) for audit, value in pairs], material.hop),
            dashed=True,
        ),
    )
    apart = [abs(v - m) for a, v in pairs if v is not None and (m := _value(a, metric)) is not None]
    text = (
        "Estimated from the scores alone, as soon as a window closes, before any label. It believes the calibration of "
        "the reference, and therefore does not see when the world answers differently to the same inputs: a model that "
        "fails this way shows as two lines that part.",
        f"The largest distance between the two is {number(max(apart))}." if apart else "",
    )
    rows = tuple(
        (moment(a.window.end, material.hop), f"v{a.version}", number(v), _interval(a, metric), a.stage)
        for a, v in reversed(pairs)
    )
    table = Table(("window ends", "version", "estimated", "measured", "stage"), rows, frozenset({"estimated"}))
    alt = f"Estimated {_name(metric).lower()} as a dashed line beside the measured one, {_span(audits)}."
    chart = Chart(alt, (Panel(_name(metric), _unit(metric), lines),))
    return Section("estimate", title, tuple(filter(None, text)), (chart,), table)


def baseline_of(material: Material) -> float | None:
    """The headline on the reference of the version that leads at the end; None while it is being learnt."""
    metric = material.headline
    if metric is None:
        return None
    watched = _TWINS.get(metric, metric)
    known = [found.baseline for audit in material.leading if (found := audit.evidence_of(watched)) is not None]
    if not known or known[-1] is None:
        return None
    return known[-1] if watched == metric else 1.0 - known[-1]


def _lines_by_version(material: Material, metric: str) -> tuple[Line, ...]:
    versions = sorted({audit.version for audit in material.audits})
    lines = (
        Line(f"v{version}", SERIES[position % len(SERIES)], _points(audits, metric, material.hop))
        for position, version in enumerate(versions)
        if (audits := [audit for audit in material.audits if audit.version == version])
    )
    return tuple(line for line in lines if any(point.value is not None for point in line.points))


def _points(audits: Sequence[Audit], metric: str, hop: timedelta) -> tuple[Point, ...]:
    return _unbroken([_point(audit, metric) for audit in audits], hop)


def _point(audit: Audit, metric: str) -> Point:
    figure = audit.performance.get(metric)
    look = _LOOKS[audit.stage]
    if figure is None:
        return Point(audit.window.end, None, look=look)
    return Point(audit.window.end, figure.value, figure.lo, figure.hi, look)


def _unbroken(points: Sequence[Point], hop: timedelta) -> tuple[Point, ...]:
    """The points, and one without a value wherever windows are missing between two of them."""

    def filled() -> Iterator[Point]:
        for earlier, later in pairwise(points):
            yield earlier
            if later.at - earlier.at > 1.5 * hop:
                yield Point(earlier.at + (later.at - earlier.at) / 2, None)
        yield from points[-1:]

    return tuple(filled())


def _how_to_read(material: Material, metric: str) -> Iterator[str]:
    size, hop = material.size, material.hop
    every = "" if hop == size else f", a new one every {duration(hop.total_seconds())}"
    yield (
        f"One point a window of {duration(size.total_seconds())}{every}, at the end of the window; the band is the "
        "95 % interval. Hollow points: labels are still coming. Diamonds: amended by corrections since."
    )
    horizon = material.label_horizon
    if horizon is not None:
        yield (
            f"Labels are waited for {duration(horizon.size_s)} of event time; only then a window is mature, and only "
            "mature windows decide about performance."
        )
    yield _false_alarms(material, metric)


def _false_alarms(material: Material, metric: str) -> str:
    watched = _TWINS.get(metric, metric)
    newest = next((found for a in reversed(material.audits) if (found := a.evidence_of(watched)) is not None), None)
    if newest is None or newest.threshold is None:
        return "The baseline is still being learnt from the first mature windows; until then nothing can alarm."
    learnt = any(audit.reference is not None and audit.reference.baseline_learnt for audit in material.audits[-1:])
    origin = "learnt from the first mature windows" if learnt else "that of the model's bundle"
    return (
        f"The baseline is {origin}. An alarm needs evidence of {newest.threshold:,.0f}, which a model as good as its "
        f"baseline reaches by chance once in {newest.threshold:,.0f} panes on average, or less often; and an error at "
        f"least {share(material.settings.min_effect)} above the baseline."
    )


def _no_labels(material: Material) -> str:
    if not material.audits:
        return ""
    predictions = sum(audit.counts["predictions"] for audit in material.disjoint)
    return (
        f"{count(predictions, 'prediction')}, and no label for any of them. Send labels to the topic of labels, "
        "client.labels(STREAM, …), with the event's id; the ones that find no prediction are in "
        f"{material.deployment}.unjoined with the reason."
    )


def _performance_table(material: Material, metric: str) -> Table:
    names = sorted({name for a in material.audits for name in a.performance if name not in {metric, "error_rate"}})
    columns = ("window ends", "version", "stage", _name(metric), *map(_name, names), "predictions", "labelled")
    rows = tuple(
        (
            moment(audit.window.end, material.hop),
            f"v{audit.version}",
            audit.stage,
            _interval(audit, metric),
            *(number(_value(audit, name)) for name in names),
            f"{audit.counts['predictions']:,}",
            share(audit.coverage.overall),
        )
        for audit in reversed(material.audits)
    )
    return Table(columns, rows, frozenset({*map(_name, names), "predictions", "labelled"}))


def _alt(material: Material, metric: str) -> str:
    known = [audit for audit in material.audits if _value(audit, metric) is not None]
    shown = mature(known) or known
    first, last = shown[0], shown[-1]
    values = [value for audit in shown if (value := _value(audit, metric)) is not None]
    return (
        f"{_name(metric)} over event time, {_span(shown)}: {number(_value(first, metric))} at the beginning, "
        f"{number(_value(last, metric))} at the end, between {number(min(values))} and {number(max(values))}; "
        f"{count(len(material.eras), 'version')} in turn, {count(len(material.alerts), 'change')} of alerts."
    )


def _estimated(material: Material) -> set[str]:
    return {
        name
        for audit in material.audits
        for name, figure in (audit.estimate or {}).items()
        if isinstance(figure, dict) and figure.get("value") is not None
    }


def _estimate(audit: Audit, metric: str) -> float | None:
    value = ((audit.estimate or {}).get(metric) or {}).get("value")
    return None if value is None else float(value)


def _value(audit: Audit, metric: str) -> float | None:
    figure = audit.performance.get(metric)
    return None if figure is None else figure.value


def _interval(audit: Audit, metric: str) -> str:
    figure = audit.performance.get(metric)
    return "–" if figure is None else interval(figure.value, figure.lo, figure.hi)


def _span(audits: Sequence[Audit]) -> str:
    ends: list[datetime] = [audit.window.end for audit in audits]
    return f"{ends[0]:%Y-%m-%d} to {ends[-1]:%Y-%m-%d}"


def _unit(metric: str) -> Unit:
    return Unit.SHARE if metric in _SHARES else Unit.NUMBER


def _name(metric: str) -> str:
    known = {"mae": "Mean absolute error", "rmse": "Root mean square error", "roc_auc": "ROC AUC", "f1": "F1"}
    return known.get(metric, metric.replace("_", " ").capitalize())
