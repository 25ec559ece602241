"""What Lambda calls: one photo in, one answer out, from the archive that TorchServe serves too.

    {"file": "file1", "predicted": "That seems to be Flying Birds", "confidence": 0.97, "novelty": 0.41,
     "probabilities": {"Flying Birds": 0.97, ...}, "model_version": "1.0"}

A path that begins with /explanations, as TorchServe's, also shows where the network looked.

The model is loaded and compared with its golden photos when the module is imported: Lambda counts that
as initialisation, and starts no instance that would answer differently from training.
"""

import logging
import os
import time
from typing import Any

from deploy.aws_lambda.archive import VARIABLE, open_archive
from deploy.aws_lambda.events import Event, header, is_explain, is_preflight, read_event, respond
from model.answers import as_answer, as_error
from model.bundle import read_bundle
from model.engines import FOLDER, choose_engine
from model.errors import PhotoError
from model.files import read_json
from model.predictor import Predictor
from model.web import check_origins

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # the runtime client has given the root logger its handler


class Model:
    """The archive's model, ready to answer."""

    def __init__(self, place: str) -> None:
        """Load the archive at `place` and check it.

        Raises:
            FlyobjError: there is no archive, or it would answer differently from training.
        """
        started = time.monotonic()
        folder = open_archive(place)
        bundle = read_bundle(folder / "bundle")
        engine = choose_engine(bundle, folder / FOLDER)
        self._predictor = Predictor(bundle, engine)
        self._predictor.check(bundle.golden)
        manifest = read_json(folder / "MAR-INF" / "MANIFEST.json")
        self._version = str(manifest["model"]["modelVersion"])
        took = time.monotonic() - started
        logger.info("version %s loaded in %.2f s on %s", self._version, took, engine.description)

    def answer(self, event: Event) -> dict[str, Any]:
        """Answer the photo of an event; raises `PhotoError`."""
        upload = read_event(event)
        pixels = self._predictor.prepare(upload.content)
        (found,) = self._predictor.answer([pixels], [is_explain(event)])
        answer = as_answer(found, self._predictor.classes, self._version, upload.file, pixels=pixels)
        return {**answer, "predicted": f"That seems to be {found.name}"}


def handler(event: Event, _context: object) -> dict[str, Any]:
    """Answer one request of API Gateway; an error of ours is in the log with its traceback.

    Pages of the origins in `FLYOBJ_ALLOW_ORIGINS` may read the answers.
    """
    allowed = header(event, "origin") in _origins
    origin = header(event, "origin") if allowed else None
    try:
        if allowed and is_preflight(event):
            return respond(204, None, origin)
        return respond(200, _model.answer(event), origin)
    except PhotoError as error:
        return respond(error.status, as_error(error), origin)
    except Exception as error:
        logger.exception("a request failed")
        return respond(500, as_error(error), origin)


_origins = check_origins(os.environ.get("FLYOBJ_ALLOW_ORIGINS", "").split())
_model = Model(os.environ.get(VARIABLE, ""))
