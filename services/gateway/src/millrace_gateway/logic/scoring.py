"""A micro-batch of requests, scored: which of them are answered, by which version, and which are refused and why.

A request is answered whole and by one version, or refused whole for the reason of its first refused row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress, repeat
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, MillraceError
from millrace.core.outputs import Outputs
from millrace.serving.engine import Engine, Inference
from millrace.serving.given import Completion, GivenRows
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
        sizes: How many rows each of them has.
        asked: Their rows in order, as they were asked.
        columns: The same rows as the model had them.
        outputs: One per row.
        bins: One per row; none of an engine without a binner.
        silent: What another version, which does not answer, says of the same rows; None where none was asked.
    """

    version: int
    requests: Sequence[int]
    sizes: Sequence[int]
    asked: FeatureColumns
    columns: FeatureColumns
    outputs: Outputs
    bins: Sequence[bytes]
    silent: "Part | None" = None

    def only(self, wanted: NDArray[np.bool_]) -> "Part":
        """Some of the requests: those of these places."""
        if wanted.all():
            return self
        rows = np.flatnonzero(np.repeat(wanted, self.sizes))
        return Part(
            self.version,
            tuple(compress(self.requests, wanted.tolist())),
            tuple(compress(self.sizes, wanted.tolist())),
            self.asked.take(rows),
            self.columns.take(rows),
            self.outputs.take(rows),
            _taken(self.bins, rows),
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a micro-batch; each of its requests is in one part, or refused.

    Attributes:
        parts: What was answered.
        refused: Why a request is not answered, by its number.
    """

    parts: Sequence[Part]
    refused: Mapping[int, MillraceError] = field(default_factory=dict)


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
    """One version at work. See `Scoring`.

    Attributes:
        version: The version's number.
        engine: The model.
        completion: Fetches what requests do not bring, in one round trip for a micro-batch; None where they bring the
            model's rows.
    """

    version: int
    engine: Engine
    completion: Completion | None = None

    @property
    def may_wait(self) -> bool:
        """Where something is fetched."""
        return self.completion is not None

    def score(self, requests: Sequence[Request]) -> Scored:
        """Complete the rows, and one call of the model for all that could be.

        Raises:
            TransientError: The online store or the blob store is away, or a table is being filled.
            FatalError: No row can be scored.
        """
        asked = concatenated([request.columns for request in requests])
        sizes = [len(request.columns) for request in requests]
        rows = self.complete(asked, () if self.completion is None else keys_of(requests, sizes))
        inference = _NO_INFERENCE
        if count := len(rows.columns):
            inference = self.engine.infer(rows.columns).answering(count)
        return _scored(self.version, sizes, rows, inference)

    def complete(self, asked: FeatureColumns, keys: Sequence[bytes | None]) -> "Completed":
        """The rows as the model wants them; `keys` are needed where something is fetched. Raises as `score`."""
        if self.completion is None:
            return Completed(asked, asked, np.arange(len(asked)))
        decoded = self.completion.decoder.decode(GivenRows.of(asked, keys))
        errors = {rejection.row: rejection.error for rejection in decoded.rejections}
        return Completed(asked, decoded.columns, decoded.source, errors)


@dataclass(frozen=True, slots=True)
class Completed:
    """The rows of a micro-batch as a model wants them.

    Attributes:
        asked: All rows, as they were asked.
        columns: Those that could be completed.
        source: intp, where these are in `asked`, ascending.
        errors: Why others could not be, by their place in `asked`.
    """

    asked: FeatureColumns
    columns: FeatureColumns
    source: NDArray[np.intp]
    errors: Mapping[int, InvalidRecordError] = field(default_factory=dict)


def keys_of(requests: Sequence[Request], sizes: Sequence[int]) -> list[bytes | None]:
    """The key of every row; a request without one is about no entity, whatever its records are keyed by."""
    keys = (None if request.key is None else request.key.encode() for request in requests)
    return list(chain.from_iterable(map(repeat, keys, sizes)))


_NO_INFERENCE: Final = Inference(np.empty(0, np.intp), Outputs(np.empty((0, 0), np.float32), None), [])


def _scored(version: int, sizes: Sequence[int], rows: Completed, inference: Inference) -> Scored:
    """What becomes of requests of these sizes: those with a refused row are refused, the others answered."""
    if not rows.errors and not inference.refused:
        everybody = range(len(sizes))
        return Scored([Part(version, everybody, sizes, rows.asked, rows.columns, inference.outputs, inference.bins)])
    errors = {**rows.errors, **{int(rows.source[row]): error for row, error in inference.refused}}
    of_row = np.repeat(np.arange(len(sizes)), sizes)
    reasons: dict[int, MillraceError] = {}
    for row in sorted(errors):
        reasons.setdefault(int(of_row[row]), errors[row])
    good = [number for number in range(len(sizes)) if number not in reasons]
    if not good:
        return Scored((), reasons)
    places = rows.source[inference.scored]
    kept = np.flatnonzero(~np.isin(of_row[places], list(reasons)))
    part = Part(
        version,
        good,
        [sizes[number] for number in good],
        rows.asked.take(places[kept]),
        rows.columns.take(inference.scored[kept]),
        inference.outputs.take(kept),
        _taken(inference.bins, kept),
    )
    return Scored([part], reasons)


def _taken(bins: Sequence[bytes], rows: NDArray[np.intp]) -> Sequence[bytes]:
    return list(map(bins.__getitem__, rows.tolist())) if bins else bins
