"""`flyobj`, the one command. Thin: options in, one call, results out.

Results go to standard output (as JSON with --json), progress and messages to standard error. This is the
only place where errors become exit codes: 0 done, 1 the work failed, 2 the input is wrong. Rooms are
imported inside the commands, so that `flyobj --help` doesn't wait for PyTorch.
"""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli import (
    canary,
    data,
    demo,
    evaluation,
    gate,
    loadtest,
    models,
    predict,
    serving,
    training,
    tuning,
)
from cli.options import App, Group
from model.text import printable
from report.progress import say
from report.terminal import styled


class Commands(Group):
    """The commands; what is wrong with a command line is said without what a terminal would obey."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the words before the command."""
        with _printable_errors():
            return super().make_context(*args, **options)

    def invoke(self, context: Any) -> Any:
        """Read the other words, and run the command; Ctrl-C ends it with 130, which typer sees to."""
        try:
            with _printable_errors():
                return super().invoke(context)
        except KeyboardInterrupt:
            say("interrupted")
            raise


@contextmanager
def _printable_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # click's, whose classes typer keeps to itself
        if isinstance(message := vars(error).get("message"), str):
            vars(error)["message"] = printable(message)
        raise


if TYPE_CHECKING:
    from model.errors import FlyobjError

app = App(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From folders of labelled photos to a served, versioned, load-tested image classifier.",
)
app.add_typer(data.app, name="data")
app.add_typer(training.app)
app.add_typer(evaluation.app)
app.add_typer(serving.app)
app.add_typer(predict.app)
app.add_typer(tuning.app)
app.add_typer(models.app, name="models")
app.add_typer(canary.app, name="canary")
app.add_typer(gate.app, name="gate")
app.add_typer(loadtest.app)
app.add_typer(demo.app)


def _say_version(wanted: bool) -> None:
    if wanted:
        parts = ("flying-objects", "torchserve", "torch")
        print(", ".join(f"{name} {metadata.version(name)}" for name in parts))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the versions and exit.", is_eager=True, callback=_say_version
        ),
    ] = False,
) -> None:
    """Take what comes before a command."""


def end_as_after_ctrl_c() -> None:
    """Clean up when asked to end, by SIGTERM, or by SIGHUP as a terminal closes unless `nohup` says not.

    SIGHUP comes from the system and from the shell: the second one must not break off the cleaning up.
    """

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)


def speak_utf8() -> None:
    """Take names of files as UTF-8 in any locale, and print what a terminal can't show as escapes."""
    if sys.getfilesystemencoding() != "utf-8":  # decided as Python starts, so it is started again
        os.environ["PYTHONUTF8"] = "1"  # for the programs that this one starts
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run a command; errors become one line and an exit code."""
    from model.errors import FlyobjError, InputError
    from model.files import cant_write, is_about_writing

    speak_utf8()
    try:
        Path.cwd()
    except FileNotFoundError:
        _fail(InputError("the folder that you are in was removed; go to one that exists"))

    # Threads that wait for each other spin at length by default; a step of training then takes ten times
    # as long whenever another process wants the core. Read when PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    end_as_after_ctrl_c()
    try:
        app()
    except FlyobjError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        _fail(
            InputError(
                f"this needs {error.name!r}, which isn't installed here: the server's image has only "
                "what serving needs; run it where the whole of flying-objects is installed"
            )
        )
    except OSError as error:  # a disk that is full, a place where we may not write
        if not (error.filename or is_about_writing(error)):
            raise
        _fail(cant_write(error))


def _fail(error: "FlyobjError") -> NoReturn:
    say(styled("error:", "red"), str(error))
    sys.exit(error.exit_code)
