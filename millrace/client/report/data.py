"""The sections about the data: drift, how much is labelled and how soon, and what is broken."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from millrace.client.audits import Audit, DriftOfFeature, QualityCheck
from millrace.client.report.material import Material
from millrace.client.report.model import SERIES, Chart, Heat, Line, Look, Panel, Point, Rule, Section, Table, Tone, Unit
from millrace.client.report.words import count, duration, listed, moment, number, share

TOP: Final = len(SERIES)
"""Features that get a line of their own."""
_ROWS: Final = 24
"""Features in a picture; all are in the table."""
_SMALL_REFERENCE: Final = 30
"""Windows' worth of rows below which the auditor asks for ten times the evidence."""


def drift_section(material: Material) -> Section:
    """How far each feature is from its reference, and the features that are farthest."""
    title, audits = "Drift", [audit for audit in material.leading if audit.drift]
    if not audits:
        missing = (
            "No feature is compared: the model's bundle has no reference profile, or predictions carry no bins of it. "
            "Export the model with millrace.serving.export, whose sample becomes the reference, and push it again."
        )
        return Section("drift", title, missing=missing if material.audits else "")
    by_feature = _by_feature(audits)
    order = sorted(by_feature, key=lambda name: -max(_effect(item) for item in by_feature[name].values()))
    floor = material.settings.min_drift
    heat = Heat(
        alt=_drift_alt(by_feature, order, floor),
        rows=tuple(order[:_ROWS]),
        columns=_columns(audits),
        cells=tuple(_across([_effect(by_feature[f].get(a.id)) for a in audits], audits) for f in order[:_ROWS]),
        floor=floor,
    )
    lines = tuple(
        Line(name, tone, tuple(Point(a.window.end, _effect(by_feature[name].get(a.id))) for a in audits))
        for name, tone in zip(order, SERIES, strict=False)
    )
    top = Chart(
        f"The {count(len(lines), 'feature')} with the largest drift as lines: {listed(order[:TOP], TOP)}.",
        (Panel("Drift beyond chance", Unit.NUMBER, lines, (Rule(f"floor, {number(floor)}", floor),)),),
    )
    text = tuple(filter(None, (_drift_words(material, audits[-1], floor), _more(order))))
    return Section("drift", title, text, (heat, top), _drift_table(by_feature, order, audits, material))


def coverage_section(material: Material) -> Section:
    """How much of each window is labelled, and how long labels take."""
    title, audits = "Labels", material.leading
    if not audits:
        return Section("labels", title)
    covered = Line("labelled", Tone.BLUE, tuple(_covered(audit) for audit in audits))
    panels = [Panel("Predictions with a label", Unit.WHOLE, (covered,))]
    delays = tuple(Point(a.window.end, a.coverage.median_label_delay_s, look=_look(a)) for a in audits)
    horizon = material.label_horizon
    if any(point.value is not None for point in delays):
        rules = () if horizon is None else (Rule(f"label horizon, {duration(horizon.size_s)}", horizon.size_s),)
        panels.append(Panel("Median delay of a label", Unit.DURATION, (Line("delay", Tone.GREEN, delays),), rules))
    columns = ("window ends", "version", "stage", "predictions", "labelled", "least labelled tenth", "median delay")
    odd = ("expired_unlabelled", "late", "corrections", "duplicates")
    rows = tuple(
        (
            moment(audit.window.end, material.hop),
            f"v{audit.version}",
            audit.stage,
            f"{audit.counts['predictions']:,}",
            share(audit.coverage.overall),
            share(audit.coverage.by_score_bin_min),
            "–" if audit.coverage.median_label_delay_s is None else duration(audit.coverage.median_label_delay_s),
            *(f"{audit.counts.get(name, 0):,}" for name in odd),
        )
        for audit in reversed(audits)
    )
    last = next((audit for audit in reversed(audits) if audit.stage != "closed"), audits[-1])
    text = (
        f"{share(last.coverage.overall)} of the newest {last.stage} window is labelled. If the least labelled tenth of "
        "the scores lies far below that, labels are selected by what the model said, and so is performance.",
    )
    alt = (
        f"Share of labelled predictions over event time, {share(last.coverage.overall)} at the end; below it the delay."
    )
    names = tuple(name.replace("_", " ") for name in odd)
    table = Table((*columns, *names), rows, frozenset({*columns[3:], *names}))
    return Section("labels", title, text, (Chart(alt, tuple(panels)),), table)


def quality_section(material: Material) -> Section:
    """Which checks of the data failed, and when."""
    title, audits = "Data quality", [audit for audit in material.leading if audit.quality]
    if not audits:
        missing = "No check was made: windows without predictions, or a bundle without a reference profile."
        return Section("quality", title, missing=missing if material.audits else "")
    checks: defaultdict[str, dict[str, QualityCheck]] = defaultdict(dict)
    for audit in audits:
        for check in audit.quality:
            checks[_check_name(check)][audit.id] = check
    failed = {name: sum(not check.ok for check in found.values()) for name, found in checks.items()}
    order = sorted(checks, key=lambda name: (-failed[name], name))
    broken = [name for name in order if failed[name]]
    rows = tuple(
        (name, f"{failed[name]:,}", number(min(c.value for c in checks[name].values())), _limits(checks[name].values()))
        for name in order
    )
    table = Table(("check", "windows that fail", "lowest value", "limit"), rows, frozenset({"windows that fail"}))
    text = "Broken data alerts with the feature's name, and no retraining is asked for as long as it is broken."
    if not broken:
        kept = f"All {count(len(order), 'check')} held in all {count(len(audits), 'window')}. {text}"
        return Section("quality", title, (kept,), table=table)
    heat = Heat(
        alt=f"Failed checks over event time: {listed([f'{name} in {failed[name]:,}' for name in broken])} windows.",
        rows=tuple(broken[:_ROWS]),
        columns=_columns(audits),
        cells=tuple(_across([_shortfall(checks[name].get(a.id)) for a in audits], audits) for name in broken[:_ROWS]),
        floor=0.0,
    )
    said = f"{count(len(broken), 'check')} of {len(order):,} failed in some window. {text}"
    return Section("quality", title, (said,), (heat,), table)


def _by_feature(audits: Sequence[Audit]) -> dict[str, dict[str, DriftOfFeature]]:
    found: defaultdict[str, dict[str, DriftOfFeature]] = defaultdict(dict)
    for audit in audits:
        for item in audit.drift:
            found[item.feature][audit.id] = item
    return found


def _effect(item: DriftOfFeature | None) -> float:
    return 0.0 if item is None or item.effect is None else item.effect


def _columns(audits: Sequence[Audit]) -> tuple[tuple[datetime, datetime], ...]:
    """The time of each cell: that of its window, without what the window before it covers; gaps are columns, too."""
    columns: list[tuple[datetime, datetime]] = []
    for audit in audits:
        start = audit.window.start
        if columns and start > columns[-1][1]:
            columns.append((columns[-1][1], start))
        columns.append((max(start, columns[-1][1]) if columns else start, audit.window.end))
    return tuple(columns)


def _across(values: Sequence[float | None], audits: Sequence[Audit]) -> tuple[float | None, ...]:
    """A row of cells: the values, and nothing in the columns that are gaps."""
    ends = {audit.window.end: value for audit, value in zip(audits, values, strict=True)}
    return tuple(ends.get(end) for _, end in _columns(audits))


def _drift_words(material: Material, newest: Audit, floor: float) -> str:
    known = (
        "" if material.document_known else " (the default: the deployment's document is not in millrace.deployments)"
    )
    said = (
        "Distance of a feature from its reference (Jensen-Shannon, without what chance alone brings). It matters from "
        f"the floor on, {number(floor)}{known}. Drift alone alerts, and never asks for retraining."
    )
    evidence, reference = newest.evidence_of("drift"), newest.reference
    if reference is not None:
        said += f" The reference is the model's own profile of {count(reference.rows, 'row')}."
    if evidence is None or evidence.threshold is None:
        return said
    usual = sorted(audit.counts["predictions"] for audit in material.leading)[len(material.leading) // 2]
    small = reference is not None and reference.rows < _SMALL_REFERENCE * usual
    steps = evidence.threshold / (10.0 if small else 1.0)
    said += (
        f" An alarm needs evidence of {evidence.threshold:,.0f}; while nothing changes, chance alone brings that about "
        f"once in {steps:,.0f} windows on average, or less often."
    )
    if small:
        said += f" Evidence is asked for ten times over, because the reference is less than {_SMALL_REFERENCE} windows."
    return said


def _more(order: Sequence[str]) -> str:
    more = len(order) - _ROWS
    return "" if more <= 0 else f"{count(more, 'feature')} with less drift are only in the table."


def _drift_alt(by_feature: Mapping[str, Mapping[str, DriftOfFeature]], order: Sequence[str], floor: float) -> str:
    above = [name for name in order if any(_effect(item) >= floor for item in by_feature[name].values())]
    largest = max(_effect(item) for item in by_feature[order[0]].values())
    return (
        f"Drift of {count(len(order), 'feature')} over event time, one row each, largest first. {order[0]} reaches "
        f"{number(largest)}. Above the floor of {number(floor)} at some time: {listed(above, 6) or 'none'}."
    )


def _drift_table(
    by_feature: Mapping[str, Mapping[str, DriftOfFeature]],
    order: Sequence[str],
    audits: Sequence[Audit],
    material: Material,
) -> Table:
    newest, ends, floor = audits[-1], {a.id: a.window.end for a in audits}, material.settings.min_drift
    rows = []
    for name in order:
        items = by_feature[name]
        largest = max(items, key=lambda audit_id: _effect(items[audit_id]))
        now = items.get(newest.id)
        above = sum(_effect(item) >= floor for item in items.values())
        rows.append(
            (
                name,
                number(_effect(items[largest])),
                moment(ends[largest], material.hop),
                number(None if now is None else now.effect),
                number(None if now is None else now.psi),
                number(None if now is None else now.log_evidence),
                f"{above:,} of {len(items):,}",
            )
        )
    columns = ("feature", "largest", "window ends", "newest", "newest PSI", "ln evidence", "windows above the floor")
    return Table(columns, tuple(rows), frozenset({"largest", "newest", "newest PSI", "ln evidence", columns[-1]}))


def _covered(audit: Audit) -> Point:
    return Point(audit.window.end, audit.coverage.overall, look=_look(audit))


def _look(audit: Audit) -> Look:
    return Look.OPEN if audit.stage == "closed" else Look.FINAL


def _check_name(check: QualityCheck) -> str:
    kind = check.check.replace("_", " ")
    return kind if check.feature == "*" else f"{check.feature}: {kind}"


def _shortfall(check: QualityCheck | None) -> float | None:
    """How much of the limit is missing; None where the check holds."""
    if check is None or check.ok:
        return None
    return (check.limit - check.value) / check.limit if check.limit else 1.0


def _limits(checks: Iterable[QualityCheck]) -> str:
    limits = [number(limit) for limit in sorted({check.limit for check in checks})]
    return limits[0] if len(limits) == 1 else f"{limits[0]} to {limits[-1]}"
