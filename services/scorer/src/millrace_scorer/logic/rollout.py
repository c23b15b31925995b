"""A rollout at work: a champion and a challenger on the same records, in the same micro-batch and transaction.

What becomes of a record is decided by the champion alone: it is predicted or a dead letter as without a rollout. The
challenger then scores what the champion has scored. In a shadow its answers are written beside the predictions; in a
canary they take the place of the champion's for the keys that are drawn. Where it has none, the champion's stand.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.codec.shadows import ShadowEncoder
from millrace.core.batching import Costs
from millrace.core.columns import Decoded, Decoder
from millrace.core.errors import MillraceError
from millrace.core.records import OutputBatch, RecordBatch
from millrace.core.resting import Rest
from millrace.core.rollout import RolloutMode, draw, salt_of
from millrace_scorer.logic.lineup import Lineup, Member, Trial
from millrace_scorer.logic.ports import Scored
from millrace_scorer.logic.scoring import (
    ENCODE,
    INFER,
    NOTHING,
    Answers,
    ModelScoring,
    StopWatch,
    beside_their_inputs,
    take_rows,
    was_bisected,
)

_NONE: Final = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a challenger is tried.

    Attributes:
        deployment: Name of the deployment, which salts the draw.
        mode: `shadow` or `canary`.
        share: The share of keys that a canary answers.
        topic: Where shadow records go.
        allowance: A challenger that takes longer for a batch is slow.
    """

    deployment: str
    mode: RolloutMode
    share: float
    topic: str
    allowance: timedelta

    def lineup(self, model: str, champion: Member, challenger: Member) -> Lineup:
        """Who answers under these terms."""
        share = self.share if self.mode is RolloutMode.CANARY else 0.0
        return Lineup(model, champion, Trial(challenger, self.mode, share))


@dataclass(frozen=True, slots=True)
class _Tried:
    """What the challenger had to say.

    Attributes:
        wanted: Rows among the champion's that it was to score.
        rows: Those that it has scored, ascending.
        answers: Its answers to them, row by row.
        trouble: What is wrong with it, if anything.
    """

    wanted: int
    rows: NDArray[np.intp]
    answers: Answers | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class RolloutScoring:
    """Two versions at work. See `millrace_scorer.logic.ports.Scoring`.

    Attributes:
        champion: Decides what becomes of a record.
        challenger: Is tried.
        challenger_decoder: How the challenger reads records; None where it reads the champion's rows.
        shadows: Compiled for both.
        terms: On which terms the challenger is tried.
        costs: What micro-batches cost with both.
        lineup: Who answers.
        rest: Keeps a bad challenger from costing much.
    """

    champion: ModelScoring
    challenger: ModelScoring
    challenger_decoder: Decoder | None
    shadows: ShadowEncoder
    terms: Terms
    costs: Costs
    lineup: Lineup
    rest: Rest

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        """Score every record or make a dead letter of it, and let the challenger have its part."""
        watch = StopWatch(self.champion.clock)
        answers = self.champion.answer(records, watch)
        tried = self._try(records, answers, watch)
        with watch.stage(ENCODE):
            letters = self.champion.letters(records, answers, wall_ms=wall_ms)
            outputs = (*self._answered(records, answers, tried, wall_ms), *letters)
        paired = len(tried.rows)
        tally = replace(
            self.champion.tally(records, answers),
            shadowed=paired,
            canary=paired if self._is_canary else 0,
            missed=tried.wanted - paired,
        )
        return Scored(tuple(filter(len, outputs)), tally, watch.seconds, was_bisected(answers), tried.trouble)

    @property
    def _is_canary(self) -> bool:
        return self.terms.mode is RolloutMode.CANARY

    def _try(self, records: RecordBatch, answers: Answers, watch: StopWatch) -> _Tried:
        """Let the challenger score its part. Whatever is wrong with it, the champion's answers stand."""
        wanted = self._drawn(records, answers.decoded)
        if not len(wanted):
            return _Tried(0, _NONE)
        if not self.rest.is_over:
            return _Tried(len(wanted), _NONE, trouble="it rests, because it failed or was slow")
        clock = self.champion.clock
        started = clock.monotonic()
        try:
            with watch.stage(INFER):
                rows, found = self._challenge(records, answers.decoded, wanted)
        except MillraceError as error:
            self.rest.after_failure(clock.monotonic() - started)
            return _Tried(len(wanted), _NONE, trouble=str(error))
        return _Tried(len(wanted), rows, found, self.rest.after(clock.monotonic() - started))

    def _drawn(self, records: RecordBatch, decoded: Decoded) -> NDArray[np.intp]:
        """The champion's rows that are the challenger's part."""
        if not self._is_canary:
            return np.arange(len(decoded.columns))
        salt = salt_of(self.terms.deployment, self.challenger.identity.version)
        return np.flatnonzero(draw(records, share=self.terms.share, salt=salt)[decoded.source])

    def _challenge(
        self, records: RecordBatch, decoded: Decoded, wanted: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], Answers]:
        """The challenger's answers, and the champion's rows that they are to.

        Raises:
            MillraceError: It refuses some row, or all of them. It is not asked again row by row: that would take long.
        """
        if self.challenger_decoder is None:
            rows, theirs = wanted, _taken(decoded, wanted)
        else:
            read = self.challenger_decoder.decode(records)
            _, here, there = np.intersect1d(
                _identities(decoded)[wanted], _identities(read), assume_unique=True, return_indices=True
            )
            rows, theirs = wanted[here], _taken(read, there)
        if not len(rows):
            return _NONE, Answers(theirs, NOTHING, [])
        inference = self.challenger.engine.infer_whole(theirs.columns)
        answered = _taken(theirs, inference.scored)  # without what its own transform leaves out
        return rows[inference.scored], Answers(answered, inference.outputs, inference.bins)

    def _answered(self, records: RecordBatch, answers: Answers, tried: _Tried, wall_ms: int) -> tuple[OutputBatch, ...]:
        """Predictions, and what the other version said beside them."""
        predictions = self.champion.topics.predictions
        if tried.answers is None or not len(tried.rows):
            values = self.champion.encode(records, answers, wall_ms=wall_ms)
            return (beside_their_inputs(records, answers.decoded, predictions, values),)
        replaced = answers.take(tried.rows)
        if self._is_canary:
            values = self._mixed(records, answers, tried.rows, tried.answers, wall_ms)
            silent, answering = replaced, tried.answers
        else:
            values = self.champion.encode(records, answers, wall_ms=wall_ms)
            silent, answering = tried.answers, replaced
        shadows = self.shadows.encode(
            records, silent.decoded, silent.outputs, answering.outputs, bins=silent.bins, scored_at_ms=wall_ms
        )
        return (
            beside_their_inputs(records, answers.decoded, predictions, values),
            beside_their_inputs(records, silent.decoded, self.terms.topic, shadows),
        )

    def _mixed(
        self, records: RecordBatch, answers: Answers, rows: NDArray[np.intp], theirs: Answers, wall_ms: int
    ) -> list[bytes]:
        """Predictions in the order of the records: the challenger's in these rows, the champion's in the others."""
        others = np.delete(np.arange(len(answers)), rows)
        values = np.empty(len(answers), np.object_)
        values[rows] = list(self.challenger.encode(records, theirs, wall_ms=wall_ms))
        values[others] = list(self.champion.encode(records, answers.take(others), wall_ms=wall_ms))
        mixed: list[bytes] = values.tolist()
        return mixed


def _taken(decoded: Decoded, rows: NDArray[np.intp]) -> Decoded:
    return decoded if len(rows) == len(decoded.columns) else take_rows(decoded, rows)


def _identities(decoded: Decoded) -> NDArray[np.int64]:
    """A number for each row, ascending, by which two decoders' rows are told to be the same."""
    return (decoded.source.astype(np.int64) << 32) | decoded.rows.astype(np.int64)
