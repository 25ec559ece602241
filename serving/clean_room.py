"""Answer the golden photos of an unpacked archive as TorchServe would, seeing nothing but it.

Run by `serving.gate` as a script, isolated and without site processing, so that neither the checkout
nor the caller's PYTHONPATH can stand in for a module that the archive lacks:

    python -I -S clean_room.py ARCHIVE_FOLDER SITE_PACKAGES

The last line on standard output is a JSON list of answers, one for each golden photo.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: Path, site_packages: str) -> None:
    """Load the archive with TorchServe's own loader and answer its golden photos in one batch."""
    sys.path[:0] = [str(folder)]
    sys.path.append(site_packages)
    from ts.context import RequestProcessor
    from ts.model_loader import ModelLoaderFactory

    model = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    golden: list[Any] = json.loads((folder / "bundle" / "golden" / "golden.json").read_text())
    service = ModelLoaderFactory.get_model_loader().load(
        model["modelName"], str(folder), model["handler"], None, len(golden), None
    )
    photos = [(folder / "bundle" / "golden" / g["file"]).read_bytes() for g in golden]
    service.context.request_processor = [RequestProcessor({}) for _ in photos]
    service.context.request_ids = {i: g["file"] for i, g in enumerate(golden)}
    answers = service._entry_point([{"body": photo} for photo in photos], service.context)
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
