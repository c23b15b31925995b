"""A rollout at the doors: a champion and a challenger score the same requests, and one of them answers each.

What becomes of a request is decided by the champion alone: it is answered or refused as without a rollout. In a canary
the challenger answers the requests whose key is drawn, by the function that scorers draw records with; in a shadow it
answers nobody. Where it has no answer, the champion's stands. What the other version says goes to the shadows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.core.records import RecordBatch
from millrace.core.resting import Rest
from millrace.core.rollout import RolloutMode, draw, salt_of
from millrace.core.signature import Signature
from millrace.serving.rows import columns_from_values
from millrace_gateway.logic.scoring import ModelScoring, Part, Request, Scored, keys_of

_RESTING: Final = "it rests, because it failed or was slow"


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a challenger is tried.

    Attributes:
        deployment: Name of the deployment, which salts the draw.
        mode: `shadow` or `canary`.
        share: The share of keys that a canary answers.
    """

    deployment: str
    mode: RolloutMode
    share: float

    @property
    def is_canary(self) -> bool:
        """Whether the challenger answers anybody."""
        return self.mode is RolloutMode.CANARY


class OnTried(Protocol):
    """Is told what the challenger did, from the thread that scores. Must be quick and must not raise."""

    def __call__(self, *, paired: int, missed: int, trouble: str | None) -> None:
        """It scored so many rows of a micro-batch, and missed so many; what is wrong with it, if anything."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutScoring:
    """Two versions at work. See `millrace_gateway.logic.scoring.Scoring`.

    Attributes:
        champion: Decides what becomes of a request.
        challenger: Is tried.
        challenger_asked: What a request would bring to the challenger alone; None where it reads the champion's rows.
        terms: On which terms the challenger is tried.
        rest: Keeps a bad challenger from costing much.
        clock: Times the challenger.
        on_tried: Told what it did.
    """

    champion: ModelScoring
    challenger: ModelScoring
    challenger_asked: Signature | None
    terms: Terms
    rest: Rest
    clock: Clock
    on_tried: OnTried

    @property
    def may_wait(self) -> bool:
        """Always: nobody knows yet how slow a challenger is."""
        return True

    def score(self, requests: Sequence[Request]) -> Scored:
        """Score all requests, and let the challenger have its part. Raises what the champion raises."""
        scored = self.champion.score(requests)
        if not scored.parts:
            return scored
        [ours] = scored.parts
        drawn = self._drawn([requests[number] for number in ours.requests])
        theirs = self._try(ours.only(drawn), requests) if drawn.any() else None
        if theirs is None:
            return scored
        paired = np.isin(ours.requests, theirs.requests)
        beside = ours.only(paired)
        answer = replace(theirs, silent=beside) if self.terms.is_canary else replace(beside, silent=theirs)
        others = () if paired.all() else (ours.only(~paired),)
        return Scored((answer, *others), scored.refused)

    def _drawn(self, requests: Sequence[Request]) -> NDArray[np.bool_]:
        """Which requests are the challenger's part: each whole, by its key or the id of its first row."""
        if not self.terms.is_canary:
            return np.ones(len(requests), np.bool_)
        count = len(requests)
        keys = [(request.event_id if request.key is None else request.key).encode() for request in requests]
        nothing = [None] * count
        places = np.zeros(count, np.int32), np.arange(count), np.full(count, -1, np.int64)
        salt = salt_of(self.terms.deployment, self.challenger.version)
        return draw(RecordBatch("", *places, keys, nothing, nothing), share=self.terms.share, salt=salt)

    def _try(self, ours: Part, requests: Sequence[Request]) -> Part | None:
        """The challenger's answers to what the champion has answered; None where it has none."""
        if not self.rest.is_over:
            self.on_tried(paired=0, missed=len(ours.asked), trouble=_RESTING)
            return None
        started = self.clock.monotonic()
        try:
            theirs = self._challenge(ours, [requests[number] for number in ours.requests])
        except MillraceError as error:
            self.rest.after_failure(self.clock.monotonic() - started)
            self.on_tried(paired=0, missed=len(ours.asked), trouble=str(error))
            return None
        trouble = self.rest.after(self.clock.monotonic() - started)
        paired = 0 if theirs is None else len(theirs.asked)
        self.on_tried(paired=paired, missed=len(ours.asked) - paired, trouble=trouble)
        return theirs

    def _challenge(self, ours: Part, requests: Sequence[Request]) -> Part | None:
        """The challenger's answers to the requests whose rows it can read all of; None if there are none.

        Raises:
            MillraceError: It refuses some row, or all of them. It is not asked again row by row: that would take long.
        """
        wanted = self.challenger_asked
        if wanted is None:
            columns, theirs = ours.columns, ours
        else:
            asked = columns_from_values(wanted, {each.name: ours.asked.column(each.name) for each in wanted.features})
            rows = self.challenger.complete(asked, keys_of(requests, ours.sizes))
            of_row = np.repeat(np.arange(len(ours.sizes)), ours.sizes)
            readable = ~np.isin(np.arange(len(ours.sizes)), of_row[list(rows.errors)])
            if not readable.any():
                return None
            columns = rows.columns.take(np.flatnonzero(readable[of_row[rows.source]]))
            theirs = ours.only(readable)
        inference = self.challenger.engine.infer_whole(columns).answering(len(columns))
        if inference.refused:  # by a filter of its own transform
            raise inference.refused[0][1]
        return replace(
            theirs,
            version=self.challenger.version,
            columns=columns,
            outputs=inference.outputs,
            bins=inference.bins,
        )
