"""The judge: evidence of all partitions becomes reports, alerts and requests, in an order that no restart can change.

A window is shown twice: when it closes, and when it matures; then again for every amendment. What is due is ordered by
when it became due in event time, so that a judge who catches up decides in the order of one who was always there. A
report's watermark is that moment, too.

The ends of loops come by the clock. Each is given the event time at which it was heard: windows that are due later are
decided with it. A judge who begins again is told that time, and decides the same.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import reduce
from operator import add, attrgetter
from typing import Any, Final

import numpy as np

from millrace.codec.evidence import PaneEvidence, Progress, Span
from millrace.core.audit.memory import dump_state, load_state
from millrace.core.audit.pane import Pane, PaneKey
from millrace.core.audit.policy import Decision, begin_guarded, close_request
from millrace.core.audit.report import canonical_json
from millrace.core.audit.segments import NO_SEGMENT, Segments
from millrace.core.audit.watch import Baseline, Observation, View, Watch, WatchState, begin, observe
from millrace.core.audit.windows import NO_TIME, Stage, Watermarks, Window, WindowSpec, milliseconds
from millrace.core.errors import RequestError

WatchOf = Callable[[int], tuple[Watch, Baseline | None]]
"""How a version is watched, and its baseline."""

_FORMAT: Final = 1
_NEVER: Final = -NO_TIME
"""After every event time."""


@dataclass(frozen=True, slots=True, order=True)
class _Due:
    """A window that has reached a stage, ordered by when."""

    at_ms: int
    window: Window
    version: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """A loop of retraining has ended.

    Attributes:
        at_ms: The event time at which it was heard: windows that are due later are decided with it.
        loop_id: The loop.
        version: The version that was to be replaced.
        promoted: The version that replaced it; None where none did.
    """

    at_ms: int
    loop_id: str
    version: int
    promoted: int | None = None


@dataclass(frozen=True, slots=True)
class _Shown:
    """How a window was shown last."""

    stage: Stage
    revision: int


@dataclass(slots=True)
class _Watched:
    """One version: how it is watched, what is remembered, what was shown, and what has changed since.

    Panes that begin before `forgotten_ms` are in no window that can still change; evidence of them is old. A window
    that begins before `begun_ms`, the version's first pane, shows a part of what it should. From `retired_ms` on
    another version is in its place: it is still reported on, and decides nothing.
    """

    watch: Watch
    state: WatchState
    shown: dict[Window, _Shown] = field(default_factory=dict)
    panes: dict[PaneKey, dict[int, tuple[Pane, Span]]] = field(default_factory=dict)
    amended: set[Window] = field(default_factory=set)
    forgotten_ms: int = NO_TIME
    begun_ms: int = _NEVER
    retired_ms: int = _NEVER


class Judge:
    """Watches every version of one deployment. A value with methods: no clock, no topics.

    Args:
        spec: Windows and horizons.
        predictions_topic: Names the offsets in reports.
        partitions: Partitions of the predictions topic; each holds event time back until it is idle.
        watch_of: How a version is watched.
        now_ms: The time at which watching begins.
    """

    def __init__(
        self, spec: WindowSpec, predictions_topic: str, partitions: int, watch_of: WatchOf, now_ms: int
    ) -> None:
        self._spec = spec
        self._topic = predictions_topic
        self._watch_of = watch_of
        self._watched: dict[int, _Watched] = {}
        self._newest: dict[int, int] = {}
        self._next_labels: dict[int, int] = {}
        self._ends: list[LoopEnd] = []
        self._watermarks = Watermarks.of(spec, dict.fromkeys(range(partitions), now_ms))

    @property
    def watermark_ms(self) -> int:
        """Event time up to which the predictions of all partitions are taken to be complete."""
        return self._watermarks.current_ms

    @property
    def next_labels(self) -> dict[int, int]:
        """By partition, the offset of the first label that no evidence so far can count."""
        return dict(sorted(self._next_labels.items()))

    def take(self, evidence: Sequence[PaneEvidence | Progress], now_ms: int) -> None:
        """Take evidence in; taking it twice changes nothing.

        Raises:
            RequestError: The registry does not know a version.
        """
        for item in evidence:
            if isinstance(item, Progress):
                self._advance(item, now_ms)
            else:
                self._set(item)

    def due(self, now_ms: int) -> Iterator[Observation]:
        """Observe every window that has reached its next stage, or was amended, in the order of event time."""
        self._watermarks = self._watermarks.advance(now_ms)
        pending = sorted(each for version in self._watched for each in self._due(version))
        for each in pending:
            self._heed(before_ms=each.at_ms)
            yield self._show(each)
        self._forget()

    def hear(self, ends: Sequence[LoopEnd]) -> list[LoopEnd]:
        """Take the ends of loops in, after what was due; returns those of them that change what is decided from now on.

        Raises:
            RequestError: The registry does not know a promoted version.
        """
        self._ends = sorted({*self._ends, *ends}, key=attrgetter("at_ms", "loop_id"))
        changed = self._heed(before_ms=self.watermark_ms + 1)
        return [end for end in changed if end in ends]

    def dump(self) -> dict[bytes, bytes]:
        """Everything but the panes, which are the evidence itself: records of the state topic by key."""
        records = {
            _key(version): canonical_json(
                {
                    "begun_ms": watched.begun_ms,
                    "forgotten_ms": watched.forgotten_ms,
                    "format": _FORMAT,
                    "retired_ms": watched.retired_ms,
                    "shown": [
                        [window.start_ms, window.end_ms, shown.stage.value, shown.revision]
                        for window, shown in sorted(watched.shown.items())
                    ],
                    "watch": json.loads(dump_state(watched.state)),
                }
            )
            for version, watched in sorted(self._watched.items())
        }
        progress = {
            "ends": list(map(astuple, self._ends)),
            "format": _FORMAT,
            "newest_ms": sorted(self._newest.items()),
            "next_labels": sorted(self._next_labels.items()),
        }
        return {**records, _HEAD: canonical_json(progress)}

    def restore(self, records: Mapping[bytes, bytes], evidence: Sequence[PaneEvidence | Progress], now_ms: int) -> None:
        """Continue from what `dump` returned and from the evidence that had been taken by then."""
        if _HEAD not in records:
            return
        for version in (int(key.split(b"/")[1]) for key in records if key.startswith(_HEAD + b"/")):
            document = _read(records[_key(version)])
            watched = self._of(version)
            watched.forgotten_ms = document["forgotten_ms"]
            watched.begun_ms, watched.retired_ms = document["begun_ms"], document["retired_ms"]
            watched.state = load_state(json.dumps(document["watch"]).encode(), watched.watch.layout)
            watched.shown.update(
                (Window(start, end), _Shown(Stage(stage), revision))
                for start, end, stage, revision in document["shown"]
            )
        head = _read(records[_HEAD])
        self._ends = [LoopEnd(*each) for each in head["ends"]]
        self._next_labels.update(head["next_labels"])
        for partition, newest_ms in head["newest_ms"]:
            self._advance(Progress(partition, newest_ms), now_ms)
        self.take([item for item in evidence if isinstance(item, PaneEvidence)], now_ms)
        for watched in self._watched.values():
            watched.amended.clear()

    def _heed(self, *, before_ms: int) -> list[LoopEnd]:
        """Let ends of loops count that were heard before this event time; returns those that made a difference."""
        heard = [end for end in self._ends if end.at_ms < before_ms]
        changed = [end for end in heard if self._apply(end)]
        # What was heard before there was any evidence may answer a request that is made again only later.
        done = {end for end in heard if end.at_ms > NO_TIME or end in changed}
        self._ends = [end for end in self._ends if end not in done]
        return changed

    def _apply(self, end: LoopEnd) -> bool:
        old = self._watched.get(end.version)
        if old is None:
            return False
        before, baseline = old.state.policy, old.state.baseline
        old.state = replace(old.state, policy=close_request(before, end.loop_id))
        if end.promoted is None or baseline is None or end.at_ms == NO_TIME:
            return old.state.policy != before
        old.retired_ms = end.at_ms
        new = self._of(end.promoted)
        guarded = begin_guarded(new.state.policy, end.at_ms, before, baseline.value, new.watch.policy)
        new.state = replace(new.state, policy=guarded)
        return True

    def _advance(self, progress: Progress, now_ms: int) -> None:
        self._next_labels[progress.partition] = max(progress.next_label, self._next_labels.get(progress.partition, 0))
        if progress.newest_ms > self._newest.get(progress.partition, progress.newest_ms - 1):
            self._newest[progress.partition] = progress.newest_ms
            self._watermarks = self._watermarks.observe({progress.partition: progress.newest_ms}, now_ms)

    def _of(self, version: int) -> _Watched:
        if version not in self._watched:
            watch, baseline = self._watch_of(version)
            self._watched[version] = _Watched(watch, begin(watch, baseline))
        return self._watched[version]

    def _set(self, evidence: PaneEvidence) -> None:
        watched = self._of(evidence.key.version)
        if evidence.key.start_ms < watched.forgotten_ms:
            return
        watched.begun_ms = min(watched.begun_ms, evidence.key.start_ms)
        shards = watched.panes.setdefault(evidence.key, {})
        shard = (evidence.pane(watched.watch.layout), evidence.span)
        if evidence.partition in shards and _is_same(shards[evidence.partition], shard):
            return
        shards[evidence.partition] = shard
        mature = (Stage.MATURE, Stage.AMENDED)
        watched.amended.update(
            window
            for window in self._spec.windows_of(evidence.key.start_ms)
            if window in watched.shown and watched.shown[window].stage in mature
        )

    def _due(self, version: int) -> Iterator[_Due]:
        watched, horizon_ms = self._watched[version], milliseconds(self._spec.label_horizon)
        starts = {key.start_ms for key in watched.panes}
        for window in {window for start in starts for window in self._spec.windows_of(start)}:
            shown, reached = watched.shown.get(window), self._spec.stage(window, self.watermark_ms)
            if reached is Stage.PROVISIONAL:
                continue
            if shown is None:
                yield _Due(window.end_ms, window, version, Stage.CLOSED)
            if (shown is None or shown.stage is Stage.CLOSED) and reached is not Stage.CLOSED:
                yield _Due(window.end_ms + horizon_ms, window, version, Stage.MATURE)
            elif window in watched.amended:
                yield _Due(window.end_ms + horizon_ms, window, version, Stage.AMENDED)

    def _show(self, due: _Due) -> Observation:
        watched = self._watched[due.version]
        before = watched.shown.get(due.window)
        revision = 0 if before is None else before.revision + 1
        starts = set(self._spec.panes_of(due.window))
        inside = {key: shards for key, shards in watched.panes.items() if key.start_ms in starts}
        view = View(
            due.window,
            due.stage,
            due.at_ms,
            _by_start(inside),
            revision,
            inputs=self._inputs(inside),
            segments=_by_segment(inside, watched.watch.segments),
            is_whole=due.window.start_ms >= watched.begun_ms,
        )
        observation = observe(watched.watch, watched.state, view)
        if due.window.end_ms > watched.retired_ms:
            observation = replace(observation, state=watched.state, decision=Decision(watched.state.policy))
        watched.state = observation.state
        watched.shown[due.window] = _Shown(due.stage, revision)
        watched.amended.discard(due.window)
        return observation

    def _inputs(
        self, panes: Mapping[PaneKey, Mapping[int, tuple[Pane, Span]]]
    ) -> dict[str, dict[str, tuple[int, int]]]:
        spans: dict[int, Span] = {}
        for shards in panes.values():
            for partition, (_, span) in shards.items():
                spans[partition] = spans[partition] | span if partition in spans else span
        return {self._topic: {str(number): (span.first, span.after) for number, span in sorted(spans.items())}}

    def _forget(self) -> None:
        """Drop the panes of which no window can change any more, and then the windows without a pane."""
        for watched in self._watched.values():
            past = [key for key in watched.panes if self._is_past(key.start_ms)]
            if not past:
                continue
            for key in past:
                del watched.panes[key]
                watched.forgotten_ms = max(watched.forgotten_ms, key.start_ms + self._spec.pane_ms)
            for window in [window for window in watched.shown if window.end_ms <= watched.forgotten_ms]:
                del watched.shown[window]
                watched.amended.discard(window)

    def _is_past(self, pane_start_ms: int) -> bool:
        return all(
            self._spec.stage(window, self.watermark_ms) is Stage.EVICTED
            for window in self._spec.windows_of(pane_start_ms)
        )


_HEAD: Final = b"judge"


def _key(version: int) -> bytes:
    return _HEAD + b"/%d" % version


def _is_same(one: tuple[Pane, Span], other: tuple[Pane, Span]) -> bool:
    (pane, span), (other_pane, other_span) = one, other
    return span == other_span and pane.sums == other_pane.sums and np.array_equal(pane.counts, other_pane.counts)


def _by_start(panes: Mapping[PaneKey, Mapping[int, tuple[Pane, Span]]]) -> dict[int, Pane]:
    """All partitions and segments added up."""
    sums: dict[int, Pane] = {}
    for key, shards in sorted(panes.items()):
        total = reduce(add, (pane for _, (pane, _) in sorted(shards.items())))
        sums[key.start_ms] = sums[key.start_ms] + total if key.start_ms in sums else total
    return sums


def _by_segment(
    panes: Mapping[PaneKey, dict[int, tuple[Pane, Span]]], segments: Segments | None
) -> dict[str, dict[int, Pane]]:
    """All partitions added up for each segment."""
    if segments is None:
        return {}
    numbers = {key.segment for key in panes} - {NO_SEGMENT}
    return {
        segments.names[number - 1]: _by_start({key: panes[key] for key in panes if key.segment == number})
        for number in sorted(numbers)
    }


def _read(value: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(value)
    except ValueError as error:
        raise _unreadable(repr(error)) from None
    if document.get("format") != _FORMAT:
        raise _unreadable(f"format {document.get('format')}")
    return document


def _unreadable(what: str) -> RequestError:
    return RequestError(
        f"the judge's state cannot be read: {what}",
        remedy="delete the keys `judge...` from the audit-state topic; the judge then begins with the oldest evidence",
    )
