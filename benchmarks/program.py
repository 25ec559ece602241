"""What every benchmark has: a command line, exit codes, and one JSON document as its last line."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

from model.errors import FlyobjError

console = Console(stderr=True, highlight=False)


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Make the parser of a program with this docstring."""
    return argparse.ArgumentParser(description=(doc or "").splitlines()[0])


def run(
    measure: Callable[[], dict[str, Any]], show: Callable[[dict[str, Any]], object] = lambda _: None
) -> NoReturn:
    """Measure, show the document to people, print it, and exit.

    Exit codes are those of `cli`, and 1 if the document says that it hasn't `passed`.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that no server is left behind
        if signal.getsignal(number) is not signal.SIG_IGN:  # as by `nohup`
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        document = measure()
    except FlyobjError as error:
        console.print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
    show(document)
    print(json.dumps(document))
    sys.exit(0 if document.get("passed", True) else 1)
