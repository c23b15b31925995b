"""Bytewax: `python -m bytewax.run score:flow`. One call of the model for each batch that its source brings.

Delivery is at least once: its Kafka sink has no transactions.
"""

import json
import os

import numpy as np
import onnxruntime
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow

FEATURES = [f"f{number:02d}" for number in range(30)]
BROKERS = [os.environ["PEER_BOOTSTRAP"]]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
model_input, model_output = session.get_inputs()[0].name, session.get_outputs()[-1].name


def score(messages: list[KafkaSourceMessage]) -> list[KafkaSinkMessage]:
    """Score a batch of records."""
    records = [json.loads(message.value) for message in messages]
    rows = np.array([[record[name] for name in FEATURES] for record in records], np.float32)
    [scores] = session.run([model_output], {model_input: rows})
    scored = zip(messages, scores.reshape(len(rows), -1)[:, -1].tolist(), strict=True)
    return [KafkaSinkMessage(message.key, json.dumps({"score": number}).encode()) for message, number in scored]


flow = Dataflow("score")
records = kop.input("records", flow, brokers=BROKERS, topics=[os.environ["PEER_TOPIC"]])
predictions = op.flat_map_batch("score", records.oks, score)
kop.output("predictions", predictions, brokers=BROKERS, topic=os.environ["PEER_OUTPUT"])
