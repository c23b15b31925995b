"""The overview: how records flow from topic to topic through the deployments, as a river."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log10
from typing import Any, Final

from millrace_launcher.ui.figures import Together
from millrace_launcher.ui.words import latency, number, rate, tone

_WIDEST: Final = 6
_FAST: Final = 1_000.0
_SLOW: Final = 10.0


@dataclass(frozen=True, slots=True)
class Flow:
    """A stretch of the river.

    Attributes:
        words: How much flows.
        width: 0 for a dry bed, up to 6.
        pace: `still`, `slow`, `steady` or `fast`.
    """

    words: str
    width: int
    pace: str


@dataclass(frozen=True, slots=True)
class Stop:
    """What stands at the river.

    Attributes:
        kind: `topic`, `deployment`, `auditor` or `trainer`.
        name: Its name.
        tone: Colour of its health; empty for topics, which have none.
        state: The same in a word.
        notes: What else there is to know, a line each.
        href: Its page; empty for none.
        is_there: Whether anything runs there; a place that is offered is drawn as an outline.
    """

    kind: str
    name: str
    tone: str = ""
    state: str = ""
    notes: tuple[str, ...] = ()
    href: str = ""
    is_there: bool = True


@dataclass(frozen=True, slots=True)
class Course:
    """The river of one deployment, from its topic on: a flow before each stop."""

    name: str
    steps: tuple[tuple[Flow, Stop], ...]
    returns: str
    why: str


@dataclass(frozen=True, slots=True)
class Basin:
    """A topic, and the deployments that drink from it."""

    source: Stop
    courses: tuple[Course, ...]

    @property
    def is_trained(self) -> bool:
        """Whether a trainer stands at any of its courses."""
        return any(course.returns for course in self.courses)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one deployment.

    Attributes:
        status: What REST says of it, with its document.
        scorers: The figures of its scorers.
        auditors: Those of its auditors.
        alerts: Its open alerts.
        is_training: Whether its trainer answers a request now; None where it has none.
    """

    status: Mapping[str, Any]
    scorers: Together
    auditors: Together
    alerts: tuple[Mapping[str, Any], ...]
    is_training: bool | None


def flow(value: float | None) -> Flow:
    """The stretch for a rate: its width grows with the logarithm.

    >>> flow(None).width, flow(0).pace, flow(5).width, flow(5000)
    (0, 'still', 1, Flow(words='5,000 /s', width=4, pace='fast'))
    """
    if not value:
        return Flow(rate(value), 0, "still")
    width = max(1, min(_WIDEST, 1 + int(log10(max(value, 1.0)))))
    pace = "fast" if value >= _FAST else "steady" if value >= _SLOW else "slow"
    return Flow(rate(value), width, pace)


def basins(known: Iterable[Known], *, now_ms: float) -> tuple[Basin, ...]:
    """The deployments by the topics that they read."""
    by_topic: dict[str, list[Known]] = {}
    for each in known:
        by_topic.setdefault(_source(each.status), []).append(each)
    return tuple(
        Basin(Stop("topic", topic, notes=_lag_note(here, now_ms)), tuple(_course(each, now_ms) for each in here))
        for topic, here in sorted(by_topic.items())
    )


def _source(status: Mapping[str, Any]) -> str:
    return str((status["document"] or {}).get("source", {}).get("topic", "no topic"))


def _lag_note(here: Iterable[Known], now_ms: float) -> tuple[str, ...]:
    known = [each.scorers.latest("lag", now_ms) for each in here]
    lags = [lag for lag in known if lag is not None]
    return (f"{number(max(lags))} waiting",) if lags else ()


def _course(known: Known, now_ms: float) -> Course:
    status, scorers, auditors = known.status, known.scorers, known.auditors
    name = status["deployment"]
    document = status["document"] or {}
    scored = flow(scorers.latest("done_rate", now_ms))
    joined = flow(auditors.latest("done_rate", now_ms))
    predictions = document.get("sink", {}).get("predictions") or f"{name}.predictions"
    steps = [
        (scored, _deployment(known, now_ms)),
        (scored, Stop("topic", predictions)),
        (joined, _auditor(known)),
    ]
    if known.is_training is not None:
        request = Flow("request", 2, "slow") if known.is_training else Flow("", 0, "still")
        steps.append((request, _trainer(known)))
    returns = "new versions" if known.is_training is not None else ""
    return Course(name, tuple(steps), returns, status["why"])


def _deployment(known: Known, now_ms: float) -> Stop:
    status = known.status
    slowest = known.scorers.latest("p99_ms", now_ms)
    notes = [f"{status['ready']} of {status['desired']} ready"]
    if slowest is not None:
        notes.append(f"p99 {latency(slowest)}")
    return Stop(
        "deployment",
        status["deployment"],
        tone(status["state"]),
        status["state"],
        tuple(notes),
        f"/deployments/{status['deployment']}",
    )


def _auditor(known: Known) -> Stop:
    slots = _of_kind(known.status, "auditor")
    if not slots:
        return Stop("auditor", "no auditor", notes=("scale auditors=1 to watch quality",), is_there=False)
    state = _worst(slots)
    alerts = len(known.alerts)
    notes = (f"{alerts} open alert{'' if alerts == 1 else 's'}",) if alerts else ("no open alert",)
    if alerts and state == "ready":
        return Stop("auditor", "auditor", "warn", notes[0])
    return Stop("auditor", "auditor", tone(state), state, notes)


def _trainer(known: Known) -> Stop:
    state = _worst(_of_kind(known.status, "trainer"))
    return Stop("trainer", "trainer", tone(state), "training" if known.is_training else state, ())


def _of_kind(status: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    return [slot for slot in status["slots"] if slot["slot"].split("/")[1] == kind]


def _worst(slots: Iterable[Mapping[str, Any]]) -> str:
    order = ("failed", "waiting", "starting", "stopped", "ready")
    return min((str(slot["state"]) for slot in slots), key=lambda s: order.index(s) if s in order else 0)
