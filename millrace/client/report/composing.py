"""Material in, page out: the pure part of the report."""

from collections.abc import Iterator

from millrace.client.audits import Audit, LabelHorizon, open_alerts
from millrace.client.report.data import coverage_section, drift_section, quality_section
from millrace.client.report.loops import loops_section
from millrace.client.report.material import Material, mature
from millrace.client.report.model import Page, Section, Tile, Tone
from millrace.client.report.performance import baseline_of, estimate_section, performance_section
from millrace.client.report.timeline import about, alert_table
from millrace.client.report.words import count, duration, listed, moment, number, share


def compose(material: Material) -> Page:
    """The page of a deployment; what is not there yet says what to do about it."""
    sections = (
        performance_section,
        estimate_section,
        drift_section,
        coverage_section,
        quality_section,
        loops_section,
        _alerts_section,
        _reading_section,
    )
    made = tuple(section(material) for section in sections)
    return Page(
        title=f"{material.deployment}: audit",
        lead=" ".join(_lead(material)),
        tiles=tuple(_tiles(material)),
        sections=tuple(each for each in made if each.pictures or each.table or each.missing or each.text),
        made_at=material.made_at,
    )


def _lead(material: Material) -> Iterator[str]:
    if not material.audits:
        yield (
            "No window is complete yet. A window closes when predictions of a later event time have come, or its "
            "partitions have been silent for a while: check that a scorer writes predictions and the auditor runs, "
            f"millrace-auditor --name {material.deployment}."
        )
        return
    newest = material.leading[-1]
    yield f"{newest.model}/{newest.version} is in force."
    yield from _performance_now(material)
    alerts = open_alerts(material.alerts)
    yield (
        f"Open: {count(len(alerts), 'alert')}, about {listed(list(dict.fromkeys(map(about, alerts))))}."
        if alerts
        else "No alert is open."
    )


def _performance_now(material: Material) -> Iterator[str]:
    measured, metric, newest = _newest_measured(material), material.headline or "", material.leading[-1]
    if measured is None:
        yield "No window is mature yet, so nothing is known of its performance."
        return
    said = f"{metric.replace('_', ' ')} {number(measured.performance[metric].value)}"
    if measured.version != newest.version:
        yield f"No window of it is mature yet; in the newest mature window version {measured.version} had {said}."
        return
    baseline = baseline_of(material)
    against = "" if baseline is None else f", {number(baseline)} on the reference"
    yield f"In the newest mature window it has {said}{against}."


def _newest_measured(material: Material) -> Audit | None:
    """The newest mature window in which the headline is defined."""
    metric = material.headline or ""
    for audit in reversed(mature(material.leading)):
        figure = audit.performance.get(metric)
        if figure is not None and figure.value is not None:
            return audit
    return None


def _tiles(material: Material) -> Iterator[Tile]:
    if not material.audits:
        return
    leading, measured, metric = material.leading, _newest_measured(material), material.headline
    if measured is not None and metric is not None:
        figure = measured.performance[metric]
        note = "" if figure.lo is None else f"{number(figure.lo)} to {number(figure.hi)}"
        yield Tile(metric.replace("_", " "), number(figure.value), note)
    baseline = baseline_of(material)
    if baseline is not None:
        yield Tile("on the reference", number(baseline), "learnt" if _is_learnt(leading[-1]) else "from the bundle")
    once = material.disjoint
    yield Tile("predictions", f"{sum(audit.counts['predictions'] for audit in once):,}", _windows(material))
    final = mature(once)
    if final:
        known, all_of_them = (sum(a.counts[name] for a in final) for name in ("labelled", "predictions"))
        yield Tile("labelled", share(known / all_of_them if all_of_them else None), "of mature windows")
    alerts = open_alerts(material.alerts)
    yield Tile("open alerts", f"{len(alerts):,}", listed(list(map(about, alerts)), 2), Tone.BAD if alerts else Tone.INK)
    yield Tile("version", f"{leading[-1].version}", leading[-1].model)


def _windows(material: Material) -> str:
    overlap = "" if material.hop == material.size else ", overlapping"
    return f"{count(len(material.leading), 'window')} of {duration(material.size.total_seconds())}{overlap}"


def _alerts_section(material: Material) -> Section:
    if not material.alerts:
        missing = "No alert was ever raised." if material.audits else ""
        return Section("alerts", "Alerts", missing=missing)
    raised = sum(alert.state == "raised" for alert in material.alerts)
    text = f"{count(raised, 'alert')} raised, {count(len(open_alerts(material.alerts)), 'alert')} open."
    return Section("alerts", "Alerts", (text,), table=alert_table(material))


def _reading_section(material: Material) -> Section:
    if not material.audits:
        return Section("reading", "About this page")
    first, last = material.leading[0].window, material.leading[-1].window
    size = duration(material.size.total_seconds())
    facts = (
        f"{count(len(material.leading), 'window')} of {size}, from {moment(first.start)} to {moment(last.end)}, "
        "event time in UTC.",
        f"{count(material.left_out, 'older report')} left out." if material.left_out else "",
        _reference(material),
        _horizon(material.label_horizon),
        f"All numbers, for programs: millrace audit {material.deployment} --last 1000000 --json.",
    )
    return Section("reading", "About this page", tuple(filter(None, facts)))


def _reference(material: Material) -> str:
    reference = material.leading[-1].reference
    if reference is None:
        return ""
    profile = (
        "The model's bundle has no reference profile, so there is no drift."
        if reference.id is None
        else f"Features are compared with the profile in the model's bundle, {reference.rows:,} rows."
    )
    if baseline_of(material) is None:
        seen = count(reference.baseline_windows, "window")
        return f"{profile} The baseline of performance is being learnt from the first mature windows; so far {seen}."
    origin = "learnt from the first mature windows" if reference.baseline_learnt else "that of the model's bundle"
    return f"{profile} The baseline of performance is {origin}."


def _horizon(horizon: LabelHorizon | None) -> str:
    if horizon is None:
        return ""
    said = f"A window is mature {duration(horizon.size_s)} of event time after its end, the label horizon."
    doubt = (
        " Nobody has declared it (audit.label_horizon_secs): it is an assumption, and too short where labels that come "
        "later are counted as late or the delay is near it."
    )
    return said + (doubt if horizon.assumed else "")


def _is_learnt(audit: Audit) -> bool:
    return audit.reference is not None and audit.reference.baseline_learnt
