"""Answer photos with an unpacked archive as TorchServe would, seeing nothing but it.

Run by `serving.archive.isolated` as a script, isolated and without site processing, so that neither
the checkout nor the caller's PYTHONPATH can stand in for a module that the archive lacks:

    python -I -S isolated_worker.py ARCHIVE_FOLDER SITE_PACKAGES...

Each line on standard input, `{"photos": [BASE64, ...], "explain": false}`, is one batch, answered by a
line on standard output with a JSON list, one answer for each photo. The first line there, `[]`, says
that the model is loaded. Whatever the archive itself prints goes to standard error.
"""

import base64
import json
import os
import sys
from pathlib import Path

BATCH_SIZE = 32


def main(folder: Path, site_packages: list[str]) -> None:
    """Load the archive with TorchServe's own loader and answer batches until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[:0] = [str(folder)]
    sys.path += site_packages
    from ts.context import RequestProcessor
    from ts.model_loader import ModelLoaderFactory

    model = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    service = ModelLoaderFactory.get_model_loader().load(
        model["modelName"], str(folder), model["handler"], None, BATCH_SIZE, None
    )
    print("[]", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        photos = [base64.b64decode(photo) for photo in request["photos"]]
        headers = {"explain": str(request["explain"])}  # as TorchServe notes it
        service.context.request_processor = [RequestProcessor(dict(headers)) for _ in photos]
        service.context.request_ids = {i: str(i) for i in range(len(photos))}
        answers = service._entry_point([{"body": photo} for photo in photos], service.context)
        print(json.dumps(answers), file=replies, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
