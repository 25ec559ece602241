"""`flyobj page`: a page to try the running server's models."""

import threading
from contextlib import ExitStack, suppress
from typing import Annotated

import typer

from cli.options import Home, Json, emit
from serving.names import DEFAULT_HOME, DEFAULT_PAGE_PORT

app = typer.Typer()


@app.command()
def page(
    home: Home = DEFAULT_HOME,
    port: Annotated[int, typer.Option(help="The page's port on 127.0.0.1.")] = DEFAULT_PAGE_PORT,
    as_json: Json = False,
) -> None:
    """Open a page on 127.0.0.1 to try photos on the running server, until Ctrl-C."""
    from report.progress import progress
    from serving.page.site import open_page

    with ExitStack() as stack, suppress(KeyboardInterrupt):
        with progress("opening the page"):
            url = stack.enter_context(open_page(home, port))
        emit({"url": url, "home": str(home)}, as_json, f"the page is on {url}; Ctrl-C stops it")
        threading.Event().wait()
