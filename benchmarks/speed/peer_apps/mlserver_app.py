"""MLServer: a custom runtime; the photo comes as base64 in JSON, its protocol's way for bytes."""

import json

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.speed.peer_apps.classify import load_classifier


class Classifier(MLModel):
    """Adaptive batching puts the photos of several requests into one input."""

    async def load(self) -> bool:
        """Load the classifier in a worker."""
        self.classify = load_classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer all photos of the input, each as a JSON text."""
        answers = [
            json.dumps(answer) for answer in self.classify(Base64Codec.decode_input(payload.inputs[0]))
        ]
        output = StringCodec.encode_output("answers", answers)
        return InferenceResponse(model_name=self.name, outputs=[output])
