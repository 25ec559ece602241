"""The same archive without TorchServe: an ASGI application for uvicorn, hypercorn or a cloud's server.

    unzip model-store/flying_objects-1.0.mar -d elsewhere && cp deploy/asgi/app.py elsewhere
    pip install -r deploy/asgi/requirements.txt -c constraints.txt
    cd elsewhere && uvicorn app:app --port 8000
    curl -T photo.jpg http://127.0.0.1:8000/predictions

`model/` is in the archive, so nothing else of ours is needed. It is an example and not a second server:
no batches, versions or metrics, and one photo at a time; `uvicorn --workers` has more processes.
"""

import threading
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from model.answers import as_answer, as_error
from model.bundle import read_bundle
from model.engines import FOLDER, choose_engine
from model.errors import PhotoError
from model.files import read_json
from model.predictor import Predictor

FILES = Path(__file__).parent  # where the archive was unpacked

version = str(read_json(FILES / "MAR-INF" / "MANIFEST.json")["model"]["modelVersion"])
bundle = read_bundle(FILES / "bundle")
predictor = Predictor(bundle, choose_engine(bundle, FILES / FOLDER))
predictor.check(bundle.golden)  # else it would answer differently from training
one_at_a_time = threading.Lock()


def answer(photo: bytes) -> Response:
    """Answer one photo in the words of every other target."""
    try:
        with one_at_a_time:
            (prediction,) = predictor.answer([predictor.prepare(photo)])
    except PhotoError as error:
        return JSONResponse(as_error(error), error.status)
    return JSONResponse(as_answer(prediction, predictor.classes, version))


async def predict(request: Request) -> Response:
    """Take a photo as the body of a request."""
    photo = bytearray()
    async for chunk in request.stream():
        photo += chunk
        if len(photo) > predictor.limits.max_bytes:
            break  # `prepare` refuses it
    return await run_in_threadpool(answer, bytes(photo))


app = Starlette(routes=[Route("/predictions", predict, methods=["POST", "PUT"])])
