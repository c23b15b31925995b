"""How requests and answers are written: the journal's entries as records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millrace.codec.predictions import PredictionEncoder
from millrace.codec.shadows import ShadowEncoder
from millrace.core.columns import Decoded
from millrace.core.records import Headers, OutputBatch, RecordBatch
from millrace_gateway.logic.feature_records import FeatureRecordEncoder
from millrace_gateway.logic.scoring import Part


@dataclass(frozen=True, slots=True)
class Pages:
    """How what was asked of one model, and answered, is written. For the journal's thread.

    Attributes:
        requests_topic: Topic of requests.
        predictions_topic: Topic of predictions, with as many partitions.
        requests: Writes rows as they were asked.
        predictions: Writes predictions, by the number of the version that answered.
        headers: Of every request's record, beside its id.
        shadows_topic: Topic of what the version that did not answer says.
        shadows: Writes that; None without a rollout.
    """

    requests_topic: str
    predictions_topic: str
    requests: FeatureRecordEncoder
    predictions: Mapping[int, PredictionEncoder]
    headers: Headers = ()
    shadows_topic: str = ""
    shadows: ShadowEncoder | None = None

    def answers(
        self, requests: RecordBatch, part: Part, event_ids: Sequence[str], *, scored_at_ms: int
    ) -> Sequence[OutputBatch]:
        """What is written once the requests are records; `requests` are these, row by row."""
        encoder = self.predictions[part.version]
        values = encoder.encode(
            requests, _rows(part, event_ids), part.outputs, bins=part.bins, scored_at_ms=scored_at_ms
        )
        answered = _beside(requests, self.predictions_topic, values)
        if part.silent is None or self.shadows is None:
            return (answered,)
        silent = part.silent
        values = self.shadows.encode(
            requests,
            _rows(silent, event_ids),
            silent.outputs,
            part.outputs,
            bins=silent.bins,
            scored_at_ms=scored_at_ms,
        )
        return answered, _beside(requests, self.shadows_topic, values)


def _rows(part: Part, event_ids: Sequence[str]) -> Decoded:
    count = len(part.columns)
    return Decoded(part.columns, np.arange(count), np.zeros(count, np.int32), event_ids)


def _beside(requests: RecordBatch, topic: str, values: Sequence[bytes]) -> OutputBatch:
    """Values with the key, partition and timestamp of the requests."""
    return OutputBatch(topic, requests.partitions, requests.timestamps_ms, requests.keys, values)
