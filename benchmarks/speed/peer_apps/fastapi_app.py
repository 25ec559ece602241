"""FastAPI under uvicorn: the photo is the body, each process answers one at a time, without batches."""

from typing import Any

from fastapi import FastAPI, Request

from benchmarks.speed.peer_apps.classify import load_classifier

app = FastAPI()
classify = load_classifier()


@app.post("/predict")
async def predict(request: Request) -> Any:
    """Answer one photo; the event loop waits for it, as there is nothing else to do meanwhile."""
    return classify([await request.body()])[0]
