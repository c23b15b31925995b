"""The loop that most write: `python pandas_loop.py MODEL SOURCE TARGET`. Runs where pandas is, which is not here.

Says what it took as JSON: seconds, and CPU seconds.
"""

import json
import sys
import time

import onnxruntime
import pandas as pd


def main(model: str, source: str, target: str) -> None:
    """Read a Parquet file, score it, write ids, labels and scores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    frame = pd.read_parquet(source)
    features = frame.drop(columns="id").to_numpy("float32")
    scores = session.run(None, {session.get_inputs()[0].name: features})[-1].reshape(len(frame), -1)[:, -1]
    pd.DataFrame({"id": frame["id"], "label": scores > 0.5, "score": scores}).to_parquet(target)


if __name__ == "__main__":
    cpu, started = time.process_time(), time.monotonic()
    main(*sys.argv[1:])
    spent = {"secs": time.monotonic() - started, "cpu_secs": time.process_time() - cpu}
    sys.stdout.write(json.dumps(spent))
