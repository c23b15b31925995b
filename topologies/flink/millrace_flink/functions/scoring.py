"""Records to predictions and dead letters, with the decoder, the engine and the encoder of the scorer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.codec.dead_letters import Circumstances, dead_letters
from millrace.codec.predictions import PredictionEncoder
from millrace.core.columns import Decoded, Decoder, Rejection
from millrace.core.records import Headers, RecordBatch
from millrace.serving.engine import Engine
from millrace.serving.transforming import UntransformableError

DECODE: Final = "decode"
TRANSFORM: Final = "transform"
INFER: Final = "infer"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What became of n records, in columns of n: each has predictions or the headers of a dead letter, never both.

    Attributes:
        predictions: The values of each record's predictions, one per row of the record.
        letters: The headers of each record's dead letter; none for a record that was scored.
    """

    predictions: list[list[bytes]]
    letters: list[Headers]

    @classmethod
    def pending(cls, count: int) -> "Verdicts":
        """Nothing is known yet of so many records."""
        return cls([[] for _ in range(count)], [()] * count)


@dataclass(frozen=True, slots=True)
class RecordScoring:
    """Scores records of one topic with one model version.

    Attributes:
        decoder: Compiled from the model's signature and the stream's format.
        engine: The model.
        encoder: Compiled from the model's identity.
        circumstances: What dead letters say about where they failed.
    """

    decoder: Decoder
    engine: Engine
    encoder: PredictionEncoder
    circumstances: Circumstances

    def score(self, records: RecordBatch, *, wall_ms: int) -> Verdicts:
        """Score every record or say why not.

        Args:
            records: Records of one topic.
            wall_ms: The time now, milliseconds since 1970.

        Raises:
            TransientError: A schema registry or a store cannot be reached.
            FatalError: No record can be scored.
        """
        verdicts = Verdicts.pending(len(records))
        decoded = self.decoder.decode(records)
        self._refuse(verdicts, records, decoded.rejections, DECODE, wall_ms)
        if not len(decoded.columns):
            return verdicts
        inference = self.engine.infer(decoded.columns)
        refused = {int(decoded.source[row]): error for row, error in reversed(inference.refused)}
        for row, error in refused.items():
            stage = TRANSFORM if isinstance(error, UntransformableError) else INFER
            self._refuse(verdicts, records, [Rejection(row, error)], stage, wall_ms)
        kept = np.flatnonzero(~np.isin(decoded.source[inference.scored], list(refused)))
        scored = _take(decoded, inference.scored[kept])
        values = self.encoder.encode(
            records,
            scored,
            inference.outputs.take(kept),
            bins=[inference.bins[row] for row in kept.tolist()],
            scored_at_ms=wall_ms,
        )
        for record, value in zip(scored.source.tolist(), values, strict=True):
            verdicts.predictions[record].append(value)
        return verdicts

    def _refuse(
        self, verdicts: Verdicts, records: RecordBatch, rejections: Sequence[Rejection], stage: str, wall_ms: int
    ) -> None:
        if not rejections:
            return
        letters = dead_letters(
            records, rejections, topic="", stage=stage, circumstances=self.circumstances, failed_at_ms=wall_ms
        )
        for rejection, headers in zip(rejections, letters.headers or (), strict=True):
            verdicts.letters[rejection.row] = headers or ()


def _take(decoded: Decoded, rows: NDArray[np.intp]) -> Decoded:
    ids = None if decoded.event_ids is None else [decoded.event_ids[row] for row in rows.tolist()]
    return replace(
        decoded,
        columns=decoded.columns.take(rows),
        source=decoded.source[rows],
        rows=decoded.rows[rows],
        event_ids=ids,
    )
