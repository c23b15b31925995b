"""A model for MLServer, as its page on custom runtimes has it. Its Kafka mode sends every record here by itself."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Onnx(MLModel):
    """One session of ONNX Runtime."""

    async def load(self) -> bool:
        """Open the session."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self.model_input = self.session.get_inputs()[0].name
        self.model_output = self.session.get_outputs()[-1].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score the rows of one request."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        [scores] = self.session.run([self.model_output], {self.model_input: rows})
        output = NumpyCodec.encode_output("score", scores.reshape(len(rows), -1)[:, -1:])
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=[output])
