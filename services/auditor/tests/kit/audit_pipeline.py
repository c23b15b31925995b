"""The whole auditor by values: join and judge without a broker, records in whatever order a test lets them arrive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

import numpy as np

from millrace.codec.audit_records import ReadLabels, VersionBlock
from millrace.codec.evidence import PaneEvidence, Progress, pane_value, progress_value, read_evidence
from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.decisions import Policy
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import PaneKey, read_digits
from millrace.core.audit.report import Subject
from millrace.core.audit.segments import find_segments
from millrace.core.audit.watch import Baseline, Observation, Watch
from millrace.core.audit.windows import Stage, WindowSpec
from millrace.core.profile import NumericCells
from millrace.core.signature import Task
from millrace_auditor.logic.judge import Judge, LoopEnd
from millrace_auditor.logic.partition import PartitionState, restore

VERSION: Final = 7
DISORDER_MS: Final = 10_000
HORIZON_MS: Final = 60_000
SPEC: Final = WindowSpec(
    label_horizon=timedelta(milliseconds=HORIZON_MS),
    size=timedelta(minutes=1),
    out_of_orderness=timedelta(milliseconds=DISORDER_MS),
    idle_after=timedelta(hours=1),
)
CELLS: Final = (
    NumericCells("income", (0.0, 1.0), 2.0, (0, 0, 5000, 5000, 0)),
    NumericCells("age", (0.0,), 1.0, (0, 0, 9000, 0)),
)
LAYOUT: Final = Layout(Task.BINARY, ("no", "yes"), CELLS)


@dataclass(frozen=True, slots=True)
class Scored:
    """A prediction, and when it arrives."""

    event: int
    time_ms: int
    score: float
    bins: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class Told:
    """A label, and when it arrives: when the truth becomes known."""

    event: int
    label: int
    revision: int
    retracted: bool
    at_ms: int


Record = Scored | Told


def history(seed: int, *, windows: int = 14, per_window: int = 40, disorder_ms: int = DISORDER_MS) -> list[Record]:
    """Events of a model that falls half way, with labels early and late, repeats, corrections and retractions."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for event in range(windows * per_window):
        time_ms = event * 60_000 // per_window
        is_bad = event >= windows * per_window // 2
        score, is_wrong = float(rng.random()), rng.random() < (0.6 if is_bad else 0.1)
        bins = b"%d2" % rng.integers(2, 4) if not is_bad else b"32"
        scored = Scored(event, time_ms, score, bins, time_ms + int(rng.integers(disorder_ms)))
        truth = int((score > 0.5) != is_wrong)
        told = [
            Told(event, truth if not revision else 1 - truth, revision, rng.random() < 0.1, at)
            for revision, at in enumerate(sorted(rng.integers(time_ms, time_ms + HORIZON_MS, rng.integers(0, 3))))
        ]
        records += [scored, *told, *([scored] if rng.random() < 0.1 else []), *(told if rng.random() < 0.1 else [])]
    end_ms = windows * 60_000
    return [*records, *_time_goes_on(end_ms)]


def _time_goes_on(end_ms: int) -> list[Record]:
    """Late enough events in every one of eight partitions, so that all windows before are mature."""
    at_ms = end_ms + HORIZON_MS + 3 * DISORDER_MS
    return [Scored(10**6 + number, at_ms, 0.9, b"22", at_ms + DISORDER_MS) for number in range(8)]


@dataclass
class Pipeline:
    """Join and judge over so many partitions; an event is in the partition of its number.

    Attributes:
        partitions: How many.
        notes: Ends of loops that an earlier judge has noted.
        answer_after: So many turns after a request its answer is heard; None for never.
    """

    partitions: int
    notes: Sequence[LoopEnd] = ()
    answer_after: int | None = None
    evidence: dict[tuple[PaneKey, int] | int, bytes] = field(default_factory=dict)
    seen: list[Observation] = field(default_factory=list)
    heard: list[LoopEnd] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._states = {number: self._restored(number, {}) for number in range(self.partitions)}
        self._shelf: dict[int, dict[bytes, bytes]] = {number: {} for number in range(self.partitions)}
        self._open: list[tuple[int, str]] = []
        self._turns = 0
        self._judge = make_judge(self.partitions)
        self._judge.hear(self.notes)

    def run(
        self, records: Sequence[Record], random: Random, *, turn_ms: int, batch: int, kills: Mapping[int, str] | None
    ) -> "Pipeline":
        """Let everything arrive, turn by turn, in any order within a turn; kill join or judge in these turns."""
        by_turn: dict[int, list[Record]] = {}
        for record in records:
            by_turn.setdefault(record.at_ms // turn_ms, []).append(record)
        for number, turn in enumerate(sorted(by_turn)):
            arrived = by_turn[turn]
            random.shuffle(arrived)
            killed = (kills or {}).get(number)
            if killed == "join":
                self._shelf = {each: dict(state.snapshot()) for each, state in self._states.items()}
                self._feed(arrived[: len(arrived) // 2], batch)
                self._forget_join()
            if killed == "judge":
                self._forget_judge()
            self._feed(arrived, batch)
            self._settle()
        return self

    def mature(self) -> dict[str, bytes]:
        """Every mature report, the whole's and its segments', by window and segment."""
        reports = [report for each in self.seen for report in (each.report, *each.segments)]
        return {
            f"{report.window.start_ms} {report.subject.segment}": report.to_json()
            for report in reports
            if report.stage is Stage.MATURE
        }

    def requests(self) -> list[str]:
        """The ids of the retrain requests, in the order in which they were made."""
        return [each.decision.request.id for each in self.seen if each.decision.request is not None]

    def alerts(self) -> list[str]:
        """The ids of the changes of alerts."""
        return [alert.id for each in self.seen for alert in each.decision.alerts]

    def judged_again(self) -> "Pipeline":
        """What a judge makes of all evidence at once, who is told only the notes of this one."""
        again = Pipeline(self.partitions, self.heard)
        again.evidence = self.evidence
        again._judge.take(again._all_evidence(), 0)
        again.seen = list(again._judge.due(0))
        return again

    def _feed(self, records: Sequence[Record], batch: int) -> None:
        for number, state in self._states.items():
            own = [record for record in records if record.event % self.partitions == number]
            for start in range(0, len(own), batch):
                self._feed_one(state, own[start : start + batch])

    def _feed_one(self, state: PartitionState, records: Sequence[Record]) -> None:
        scored = [record for record in records if isinstance(record, Scored)]
        told = [record for record in records if isinstance(record, Told)]
        first = state.position.next_prediction
        if scored:
            state.add_predictions(VERSION, _block(scored, first), lambda _: LAYOUT)
            state.position.next_prediction = first + len(scored)
        state.add_labels(_labels(told))

    def _settle(self) -> None:
        """One turn's transaction, and what the judge makes of it."""
        news: dict[tuple[PaneKey, int] | int, bytes] = {}
        for number, state in self._states.items():
            state.advance()
            for key, span, pane in state.take_changed():
                news[key, number] = pane_value("loans", key, number, span, pane)
            news[number] = progress_value(Progress(number, state.position.reached_ms))
        self.evidence |= news
        self._judge.take(list(map(read_evidence, news.values())), 0)
        made = list(self._judge.due(0))
        self.seen += made
        self._open += [(self._turns, o.decision.request.loop_id) for o in made if o.decision.request is not None]
        if self.answer_after is not None:
            answered = [loop_id for turn, loop_id in self._open if self._turns - turn >= self.answer_after]
            self._open = [each for each in self._open if each[1] not in answered]
            ends = [LoopEnd(self._judge.watermark_ms, loop_id, VERSION) for loop_id in answered]
            self.heard += self._judge.hear(ends)
        self._turns += 1

    def _all_evidence(self) -> list[PaneEvidence | Progress]:
        return list(map(read_evidence, self.evidence.values()))

    def _forget_join(self) -> None:
        self._states = {number: self._restored(number, self._shelf[number]) for number in self._states}

    def _forget_judge(self) -> None:
        records = self._judge.dump()
        self._judge = make_judge(self.partitions)
        self._judge.restore(records, self._all_evidence(), 0)

    @staticmethod
    def _restored(number: int, records: Mapping[bytes, bytes]) -> PartitionState:
        state = restore(number, SPEC, records, lambda _: LAYOUT, max_events=100_000)
        return state or PartitionState.begin(number, SPEC, score_columns=1, max_events=100_000)


def make_judge(partitions: int) -> Judge:
    """A judge of the model of `history`."""
    policy = Policy(min_samples=50, cooldown=timedelta(minutes=2), max_requests_per_day=100)
    watch = Watch(Subject("loans", VERSION), LAYOUT, policy=policy, segments=find_segments(CELLS, "income"))
    baseline = Baseline.of_errors(1000, 10_000)
    return Judge(SPEC, "loans.predictions", partitions, lambda _: (watch, baseline), now_ms=0)


def _block(scored: Sequence[Scored], first: int) -> VersionBlock:
    digits = read_digits([each.bins for each in scored], len(CELLS))
    segments = find_segments(CELLS, "income")
    columns = Predictions(
        [b"e%d" % each.event for each in scored],
        np.array([each.time_ms for each in scored], np.int64),
        np.full(len(scored), VERSION),
        np.zeros(len(scored), np.int64) if segments is None else segments.assign(digits),
        np.array([each.score > 0.5 for each in scored], np.int64),
        np.array([[each.score] for each in scored], np.float64),
    )
    return VersionBlock(columns, np.arange(first, first + len(scored)), digits)


def _labels(told: Sequence[Told]) -> ReadLabels:
    columns = Labels(
        [b"e%d" % each.event for each in told],
        np.array([each.label for each in told], np.float64),
        np.array([each.at_ms for each in told], np.int64),
        np.array([each.revision for each in told], np.int64),
        np.array([each.retracted for each in told], np.bool_),
    )
    return ReadLabels(columns, np.arange(len(told)))
