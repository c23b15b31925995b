"""Quix Streams, exactly once: one call of the model for each record, as its streaming frames have it."""

import os

import numpy as np
import onnxruntime
from quixstreams import Application

FEATURES = [f"f{number:02d}" for number in range(30)]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
model_input, model_output = session.get_inputs()[0].name, session.get_outputs()[-1].name


def score(record: dict[str, float]) -> dict[str, float]:
    """Score one record."""
    row = np.array([[record[name] for name in FEATURES]], np.float32)
    [scores] = session.run([model_output], {model_input: row})
    return {"score": float(scores.reshape(-1)[-1])}


app = Application(
    broker_address=os.environ["PEER_BOOTSTRAP"],
    consumer_group=os.environ["PEER_GROUP"],
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_every=int(os.environ["PEER_TRANSACTION_RECORDS"]),
)
frame = app.dataframe(app.topic(os.environ["PEER_TOPIC"], value_deserializer="json"))
frame = frame.apply(score).to_topic(app.topic(os.environ["PEER_OUTPUT"], value_serializer="json"))

if __name__ == "__main__":
    app.run()
