"""`flyobj`, the one command. Thin: options in, one call, results out.

Results go to standard output (as JSON with --json), progress and messages to standard error. This is the
only place where errors become exit codes: 0 done, 1 the work failed, 2 the input is wrong. Rooms are
imported inside the commands, so that `flyobj --help` doesn't wait for PyTorch.
"""

import os
import signal
import sys

import rich
import typer

from cli import canary, data, demo, evaluation, loadtest, models, predict, serving, training, tuning

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
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
app.add_typer(loadtest.app)
app.add_typer(demo.app)


def main() -> None:
    """Run a command; errors become one line and an exit code."""
    from model.errors import FlyobjError

    # Threads that wait for each other spin at length by default; a step of training then takes ten times
    # as long whenever another process wants the core. Read when PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    rich.reconfigure(stderr=True)
    try:
        app()
    except FlyobjError as error:
        rich.get_console().print(f"[red]error:[/] {rich.markup.escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        rich.get_console().print("interrupted")
        sys.exit(130)
