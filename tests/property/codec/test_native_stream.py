"""A scorer with the native body of the lane reads and writes as one with the Python body, whatever the formats."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from millrace.codec.predictions import Identity
from millrace.core.columns import Decoded
from millrace.core.outputs import Outputs
from millrace.core.records import RecordBatch
from millrace.core.rollout import RolloutMode
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.settings import LaneBody, Settings
from millrace.serving.streams import StreamCodec
from millrace.testing.models import linear_signature
from millrace.testing.records import record_batch

SIGNATURE = linear_signature(("a", "b"))
DEPLOYMENT = Deployment.model_validate({"deployment": "rain", "source": {"topic": "weather.features"}, "model": "rain"})
SILENT, ANSWERING = (Identity("rain", "rain", version, f"sha256:{version}") for version in (2, 1))


def records() -> RecordBatch:
    """A record of JSON, one of Arrow IPC, and one that is neither."""
    sink, table = pa.BufferOutputStream(), pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = [("content-type", b"application/vnd.apache.arrow.stream")]
    values = [b'{"a":1.5,"b":2}', sink.getvalue().to_pybytes(), b"{"]
    return record_batch(values, headers=[None, arrow, None])


def answered(codec: StreamCodec) -> tuple[Decoded, list[bytes], list[bytes]]:
    """What a codec reads of the records the second time, and what it writes of them."""
    decoder, batch = codec.decoder(SIGNATURE), records()
    decoder.decode(batch)
    decoded = decoder.decode(batch)
    outputs = Outputs(
        np.array([[0.75, 0.25]] * len(decoded.source), np.float32), np.zeros(len(decoded.source), np.intp)
    )
    predictions = codec.encoder(ANSWERING, SIGNATURE).encode(batch, decoded, outputs, bins=None, scored_at_ms=7)
    shadows = codec.shadow_encoder(SILENT, ANSWERING, SIGNATURE, RolloutMode.SHADOW)
    return decoded, list(predictions), list(shadows.encode(batch, decoded, outputs, outputs, bins=None, scored_at_ms=7))


def test_both_bodies_answer_alike(tmp_path: Path) -> None:
    found = []
    for body in (LaneBody.PYTHON, LaneBody.NATIVE):
        with StreamCodec(DEPLOYMENT, SystemClock(), settings=Settings(home=tmp_path, lane=body)) as codec:
            found.append(answered(codec))
    (python, *written), (native, *natively) = found
    assert written == natively
    assert native.source.tolist() == python.source.tolist() == [0, 1, 1]
    assert native.columns.tensors[0].tolist() == python.columns.tensors[0].tolist() == [[1.5, 2], [1, 3], [2, 4]]
    assert [rejection.row for rejection in native.rejections] == [2]
