"""One deployment, as its page shows it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from millrace_launcher.ui.charts import Chart, Line, chart
from millrace_launcher.ui.figures import Together
from millrace_launcher.ui.words import day_and_minute, latency, milliseconds, number, rate, share, size, tone

_SLO_MS: Final = 200
"""What a document means that says nothing of latency."""
_QUALITY: Final = ("accuracy", "mae")
"""Metrics of performance, the first that a report has is charted."""
_CANARY: Final = 0.1
"""The share of a canary whose document says none."""
_DRIFTED: Final = 5
_COUNTS: Final = ("scorers", "auditors", "gateways", "materializers")


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure that is seen first."""

    name: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A process slot."""

    slot: str
    href: str
    state: str
    tone: str
    node: str
    pid: str
    memory: str
    why: str


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a feature is from its reference, for a bar."""

    feature: str
    value: str
    width: int


@dataclass(frozen=True, slots=True)
class Audited:
    """What the auditor says."""

    charts: tuple[Chart, ...]
    drifts: tuple[Drift, ...]
    window: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An open alert."""

    state: str
    words: str
    note: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Everything about a deployment."""

    name: str
    state: str
    tone: str
    why: str
    reads: str
    writes: str
    model: str
    tiles: tuple[Tile, ...]
    charts: tuple[Chart, ...]
    rows: tuple[Row, ...]
    audited: Audited | None
    alerts: tuple[Alert, ...]
    counts: tuple[tuple[str, int], ...]


def dashboard(
    status: Mapping[str, Any],
    scorers: Together,
    memory: Mapping[str, float | None],
    audits: Mapping[str, Any],
    versions: Sequence[Mapping[str, Any]],
    *,
    now_ms: float,
) -> Dashboard:
    """Put a deployment's page together.

    Args:
        status: What REST says of it, with its document.
        scorers: The figures of its scorers.
        memory: What each process holds, by slot.
        audits: Reports and alerts.
        versions: All versions of models.
        now_ms: The time, milliseconds since 1970.
    """
    document = status["document"] or {}
    name = status["deployment"]
    slo_ms = float(document.get("slo", {}).get("latency_ms", _SLO_MS))
    return Dashboard(
        name=name,
        state=status["state"],
        tone=tone(status["state"]),
        why=status["why"],
        reads=document.get("source", {}).get("topic", ""),
        writes=document.get("sink", {}).get("predictions") or f"{name}.predictions",
        model=document.get("model", ""),
        tiles=(*_tiles(status, scorers, audits["windows"], slo_ms, now_ms), _version(document, versions)),
        charts=_charts(scorers, slo_ms),
        rows=tuple(_row(slot, memory) for slot in status["slots"]),
        audited=_audited(audits["windows"]),
        alerts=tuple(map(_alert, audits["alerts"])),
        counts=tuple((kind, _count(document, kind)) for kind in _COUNTS),
    )


def _tiles(
    status: Mapping[str, Any], scorers: Together, windows: Sequence[Mapping[str, Any]], slo_ms: float, now_ms: float
) -> tuple[Tile, ...]:
    p99 = scorers.latest("p99_ms", now_ms)
    lost = scorers.latest("dead_letter_rate", now_ms)
    late = p99 is not None and p99 > slo_ms
    quality = _latest_quality(windows)
    return (
        Tile("records scored", rate(scorers.latest("done_rate", now_ms))),
        Tile("latency p99", latency(p99), f"goal {milliseconds(slo_ms)}", "bad" if late else ""),
        Tile("records waiting", number(scorers.latest("lag", now_ms))),
        Tile("dead letters", rate(lost), tone="warn" if lost else ""),
        Tile("processes ready", f"{status['ready']} of {status['desired']}"),
        *((quality,) if quality else ()),
    )


def _version(document: Mapping[str, Any], versions: Sequence[Mapping[str, Any]]) -> Tile:
    """Which version scores, and which one is tried beside it."""
    name, mark, rest = (*re.split("([@/])", document.get("model", ""), maxsplit=1), "", "")[:3]
    named = {alias: each["version"] for each in versions if each["name"] == name for alias in each["aliases"]}
    version = rest if mark == "/" else named.get(rest or "champion", "–")
    challenger = named.get("challenger")
    if challenger is None or str(challenger) == str(version):
        return Tile("version", str(version), name)
    rollout = document.get("rollout", {})
    match rollout.get("mode"):
        case "canary":
            note = f"canary: {share(rollout.get('share', _CANARY))} of the keys to {challenger}"
        case "shadow":
            note = f"shadow: {challenger} scores too"
        case _:
            note = f"{challenger} waits as challenger"
    return Tile("version", str(version), note)


def _latest_quality(windows: Sequence[Mapping[str, Any]]) -> Tile | None:
    for window in reversed(windows):
        for metric in _QUALITY:
            figure = window["performance"].get(metric)
            if figure and figure["value"] is not None:
                return Tile(metric, _quality(metric, figure["value"]), f"version {window['version']}")
    return None


def _quality(metric: str, value: float | None) -> str:
    return share(value) if metric == "accuracy" else number(value)


def _charts(scorers: Together, slo_ms: float) -> tuple[Chart, ...]:
    at = scorers.at_ms
    rates = [Line("scored", "main", scorers.done_rate)]
    if any(scorers.dead_letter_rate):
        rates.append(Line("dead letters", "bad", scorers.dead_letter_rate))
    latencies = [Line("p99", "main", scorers.p99_ms), Line("median", "second", scorers.p50_ms)]
    goal = (slo_ms, f"goal {milliseconds(slo_ms)}")
    return (
        chart("Throughput", at, rates, say=rate),
        chart("Latency", at, latencies, say=latency, rule=goal),
        chart("Records waiting", at, [Line("lag", "main", scorers.lag)], say=number),
    )


def _row(slot: Mapping[str, Any], memory: Mapping[str, float | None]) -> Row:
    assignment, process = slot["assignment"] or {}, slot["process"] or {}
    name = slot["slot"]
    deployment, kind, count = name.split("/")
    held = memory.get(name)
    return Row(
        slot=f"{kind}/{count}",
        href=f"/deployments/{deployment}/logs/{kind}/{count}",
        state=slot["state"],
        tone=tone(slot["state"]),
        node=assignment.get("node") or "",
        pid=str(process.get("pid") or ""),
        memory="" if held is None else size(held),
        why=slot["why"],
    )


def _audited(windows: Sequence[Mapping[str, Any]]) -> Audited | None:
    if not windows:
        return None
    at = [datetime.fromisoformat(window["window"]["start"]).timestamp() * 1000 for window in windows]
    metric = next((name for name in _QUALITY if any(name in window["performance"] for window in windows)), "")
    charts = []
    if metric:
        values = [_value(window, metric) for window in windows]
        bounds = (0.0, 1.0) if metric == "accuracy" else None
        line = Line(metric, "main", values)
        charts.append(chart(metric.capitalize(), at, [line], say=lambda v: _quality(metric, v), bounds=bounds))
    strongest = [max((d["effect"] or 0.0 for d in window["drift"]), default=None) for window in windows]
    charts.append(chart("Strongest drift of a feature", at, [Line("effect", "second", strongest)], say=number))
    latest = windows[-1]
    return Audited(tuple(charts), tuple(_drifts(latest["drift"])), day_and_minute(latest["window"]["start"]))


def _value(window: Mapping[str, Any], metric: str) -> float | None:
    figure = window["performance"].get(metric)
    return figure["value"] if figure else None


def _drifts(drift: Iterable[Mapping[str, Any]]) -> Iterable[Drift]:
    known = sorted((each for each in drift if each["effect"]), key=lambda each: -each["effect"])[:_DRIFTED]
    for each in known:
        yield Drift(each["feature"], number(each["effect"]), max(1, round(100 * min(each["effect"], 1.0))))


def _alert(alert: Mapping[str, Any]) -> Alert:
    about = " ".join(filter(None, (alert["signal"], alert["feature"], alert["metric"])))
    since = f" since {day_and_minute(alert['windows'][0])}" if alert["windows"] else ""
    return Alert(alert["state"], f"{about}, version {alert['version']}{since}", alert["note"])


def _count(document: Mapping[str, Any], kind: str) -> int:
    return int(document.get("scale", {}).get(kind, 1 if kind == "scorers" else 0))
