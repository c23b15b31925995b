"""Faust: an agent that takes one record at a time. Delivery is at least once, as Faust's is in fact (decision 15)."""

import os

import faust
import numpy as np
import onnxruntime

FEATURES = [f"f{number:02d}" for number in range(30)]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
model_input, model_output = session.get_inputs()[0].name, session.get_outputs()[-1].name

app = faust.App(
    os.environ["PEER_GROUP"],
    broker=f"kafka://{os.environ['PEER_BOOTSTRAP']}",
    datadir=os.environ["PEER_DATA"],
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    web_enabled=False,
)
records = app.topic(os.environ["PEER_TOPIC"], key_type=bytes, key_serializer="raw", value_serializer="json")
predictions = app.topic(os.environ["PEER_OUTPUT"], key_type=bytes, key_serializer="raw", value_serializer="json")


@app.agent(records)
async def score(stream: faust.StreamT) -> None:
    """Score each record."""
    async for key, record in stream.items():
        row = np.array([[record[name] for name in FEATURES]], np.float32)
        [scores] = session.run([model_output], {model_input: row})
        await predictions.send(key=key, value={"score": float(scores.reshape(-1)[-1])})


if __name__ == "__main__":
    app.main()
