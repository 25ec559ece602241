"""Does the Lambda function's image answer? Started as Lambda does, and asked through its runtime API.

The root file system is read-only but for /tmp, as on Lambda, and there is no other process to help. The
last line is the result as JSON; the exit code is 1 if an answer differs from the archive's golden ones.

    python -m benchmarks.reliability.lambda_image model-store/flying_objects-1.0.mar [--engine podman]
"""

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.program import parser_of, run
from benchmarks.reliability.containers import Engine, add_engine, engine_with
from benchmarks.speed.lambda_runtime import form_event, http_event, start_function
from model.golden import TOLERANCE
from serving.archive.build import read_golden_photos

IMAGE = "flying-objects-lambda:0.1.0"


def measure(engine: Engine, archive: Path, memory: str, flags: str) -> dict[str, Any]:
    """Ask for each golden photo, as a form and as the body, and once for what is no photo."""
    name = f"flyobj-lambda-{os.getpid()}"

    def command(address: str) -> Sequence[str]:
        own = ("--name", name, "--network", "host", "--read-only", "--tmpfs", "/tmp:size=512m,mode=1777")
        limits = ("--cap-drop", "ALL", "--memory", memory, "--env", f"AWS_LAMBDA_RUNTIME_API={address}")
        return engine.command("run", "--rm", *own, *limits, *shlex.split(flags), IMAGE)

    worst, size = 0.0, int(engine("image", "inspect", "--format", "{{.Size}}", IMAGE))
    try:
        with start_function(archive.parent, os.environ, command=command) as function:
            for golden in (photos := read_golden_photos(archive)):
                for event in (form_event(golden.photo), http_event(golden.photo, "image/jpeg", "1.0")):
                    found = json.loads(function.invoke(event)["body"])["probabilities"]
                    worst = max(worst, *(abs(found[k] - v) for k, v in golden.probabilities.items()))
            refused = function.invoke(http_event(b"words", "image/jpeg"))["statusCode"]
            started_s = round(function.init_s, 2)
    finally:
        engine("rm", "--force", name, check=False)
    figures = {"photos": len(photos), "largest_difference": worst, "refused": refused}
    passed = worst <= TOLERANCE and refused == 415
    return {"image": IMAGE, "bytes": size, "init_s": started_s, **figures, "passed": passed}


def main() -> None:
    """Try the image from the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("archive", type=Path, help="the archive that the image was built with")
    parser.add_argument("--memory", default="1769m", help="of the function; a whole processor's worth")
    add_engine(parser)
    options = parser.parse_args()

    def tried() -> dict[str, Any]:
        engine = engine_with(IMAGE, options.engine, options.flags)
        return measure(engine, options.archive, options.memory, options.run_flags)

    run(tried)


if __name__ == "__main__":
    main()
