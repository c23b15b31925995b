"""The judge of a rollout: pure in the records and a given time.

A pane counts when it is mature on all partitions: what is labelled first is not what is labelled last, and a comparison
on early labels alone would be about other events. Panes are looked at in the order of event time, each once complete,
so a judge who reads everything again comes to the same end.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from millrace.codec.evidence import PaneEvidence, Progress
from millrace.core.audit.windows import NO_TIME, Watermarks, WindowSpec, milliseconds
from millrace.core.rollout import Outcome, PairCounts, SequentialTest
from millrace_auditor.logic.rollout_documents import Decision, Pairing, Result, RolloutRecord


class RolloutJudge:
    """Folds the records of a rollouts topic. Records are set and never added up, so reading one twice changes nothing.

    Args:
        model: Name of the model.
        spec: Windows and horizons.
        test: When a rollout ends.
        partitions: How many there are.
        now_ms: The time on the clock, from which a silent partition counts as idle.
    """

    def __init__(self, model: str, spec: WindowSpec, test: SequentialTest, *, partitions: int, now_ms: int) -> None:
        self._model: Final = model
        self._test: Final = test
        self._matures_after_ms: Final = spec.pane_ms + milliseconds(spec.label_horizon)
        self._pane_ms: Final = spec.pane_ms
        self._watermarks = Watermarks.of(spec, dict.fromkeys(range(partitions), now_ms))
        self._panes: dict[Pairing, dict[int, dict[int, PairCounts]]] = {}
        self._decisions: dict[Pairing, Decision] = {}

    @property
    def pending(self) -> Decision | None:
        """A decision that has not been carried out."""
        found = (decision for decision in self._decisions.values() if decision.result is Result.PENDING)
        return next(found, None)

    def take(self, records: Iterable[RolloutRecord], now_ms: int) -> None:
        """Take note of evidence and decisions, in the order of the log."""
        for record in records:
            match record:
                case Progress(partition, newest_ms):
                    self._watermarks = self._watermarks.observe({partition: newest_ms}, now_ms)
                case Decision():
                    self._decisions[record.pairing] = record
                case PaneEvidence(key, partition, _, counts):
                    panes = self._panes.setdefault(Pairing(key.segment, key.version), {})
                    panes.setdefault(key.start_ms, {})[partition] = PairCounts(**counts)

    def counts(self, pairing: Pairing, now_ms: int) -> PairCounts:
        """What the mature panes say so far."""
        return sum((counts for _, counts in self._mature(pairing, now_ms)), PairCounts())

    def due(self, pairing: Pairing, now_ms: int) -> Decision | None:
        """The decision on a rollout that is on, if it has come to its end."""
        before = self._decisions.get(pairing)
        if before is not None and before.result in {Result.PENDING, Result.PROPOSED}:
            return None  # it stands as long as the aliases do
        total = PairCounts()
        for start_ms, counts in self._mature(pairing, now_ms):
            total += counts
            reading = self._test.judge(total)
            if reading.outcome is not Outcome.CONTINUE:
                return Decision(self._model, pairing, reading, self._test.threshold, start_ms + self._pane_ms)
        return None

    def _mature(self, pairing: Pairing, now_ms: int) -> list[tuple[int, PairCounts]]:
        """Panes that nothing more comes to, in the order of event time, since the last decision on these versions."""
        self._watermarks = self._watermarks.advance(now_ms)
        limit = self._watermarks.current_ms - self._matures_after_ms
        before = self._decisions.get(pairing)
        since = NO_TIME if before is None else before.until_ms
        panes = self._panes.get(pairing, {})
        return [
            (start_ms, sum(panes[start_ms].values(), PairCounts()))
            for start_ms in sorted(panes)
            if since <= start_ms <= limit
        ]


def carried_out(decision: Decision, result: Result) -> Decision:
    """The decision, with what was done about it."""
    return replace(decision, result=result)
