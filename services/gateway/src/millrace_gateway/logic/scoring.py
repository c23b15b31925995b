"""A micro-batch of requests, scored: which of them are answered, by which version, and which are refused and why.

A request is answered whole and by one version, or refused whole for the reason of its first refused row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError
from millrace.core.outputs import Outputs
from millrace.serving.engine import Engine, Inference
from millrace_gateway.logic.tensors import concatenated


class Request(Protocol):
    """What scoring needs of a request."""

    @property
    def columns(self) -> FeatureColumns:
        """Its rows, as they were asked."""
        ...

    @property
    def event_id(self) -> str:
        """Of its first row."""
        ...

    @property
    def key(self) -> str | None:
        """The entity; None where the request names none."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """The requests of a micro-batch that one version answered.

    Attributes:
        version: The version's number.
        requests: Their numbers in the micro-batch, ascending.
        asked: Their rows in order, as they were asked.
        columns: The same rows as the model had them.
        outputs: One per row.
        bins: One per row.
    """

    version: int
    requests: Sequence[int]
    asked: FeatureColumns
    columns: FeatureColumns
    outputs: Outputs
    bins: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a micro-batch; each of its requests is in one part, or refused.

    Attributes:
        parts: What was answered.
        refused: Why a request is not answered, by its number.
    """

    parts: Sequence[Part]
    refused: Mapping[int, InvalidRecordError] = field(default_factory=dict)


class Scoring(Protocol):
    """Scores micro-batches."""

    @property
    def may_wait(self) -> bool:
        """Whether it may wait for something outside this process, and so must not be called on an event loop."""
        ...

    def score(self, requests: Sequence[Request]) -> Scored:
        """Score the rows of all requests, at least one.

        Raises:
            TransientError: Something outside that the rows need is away; the same call may succeed later.
            FatalError: No row can be scored.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelScoring:
    """One version that takes rows as they were asked. See `Scoring`."""

    version: int
    engine: Engine

    @property
    def may_wait(self) -> bool:
        """Never."""
        return False

    def score(self, requests: Sequence[Request]) -> Scored:
        """One call of the model for all rows."""
        columns = concatenated([request.columns for request in requests])
        inference = self.engine.infer(columns)
        if not inference.refused:
            everybody = range(len(requests))
            return Scored([Part(self.version, everybody, columns, columns, inference.outputs, inference.bins)])
        return _without_refused(self.version, requests, columns, inference)


def request_of_row(requests: Sequence[Request]) -> NDArray[np.intp]:
    """The number of the request that each row of a micro-batch belongs to."""
    return np.repeat(np.arange(len(requests)), [len(request.columns) for request in requests])


def _without_refused(
    version: int, requests: Sequence[Request], columns: FeatureColumns, inference: Inference
) -> Scored:
    """Refuse the requests with a row that the model refuses; keep the others."""
    of_row = request_of_row(requests)
    reasons: dict[int, InvalidRecordError] = {}
    for row, error in inference.refused:
        reasons.setdefault(int(of_row[row]), error)
    kept = np.flatnonzero(~np.isin(of_row[inference.scored], list(reasons)))
    if not len(kept):
        return Scored((), reasons)
    rows = columns.take(inference.scored[kept])
    bins = list(map(inference.bins.__getitem__, kept.tolist()))
    good = [number for number in range(len(requests)) if number not in reasons]
    return Scored([Part(version, good, rows, rows, inference.outputs.take(kept), bins)], reasons)
