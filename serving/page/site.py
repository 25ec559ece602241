"""The page's life: it listens on 127.0.0.1, and what it wrote goes with it.

Gradio keeps uploads in a temporary folder of this page's own, from which they are deleted after an hour
and when the page ends. Nothing is recorded, not even in the browser, and nothing is fetched from other
hosts.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

from model.errors import InputError, missing_library
from serving.page.backend import Backend
from serving.server.client import Client
from serving.server.ports import require_free

HOST = "127.0.0.1"
_OFF = ("share", "run_history", "enable_monitoring", "ssr_mode", "pwa", "mcp_server")  # of Gradio


@contextmanager
def open_page(
    home: Path, port: int, remote: Client | None = None, version: str | None = None
) -> Iterator[str]:
    """Serve the page until the block ends; yields its address.

    Args:
        home: of the server that answers, which may start, stop and change while the page runs.
        port: of the page.
        remote: a server to ask in place of that of `home`; its default, or this `version`.

    Raises:
        InputError: Gradio isn't installed, or the port is taken.
    """
    if not 1024 <= port <= 65535:
        raise InputError(f"port {port} must be from 1024 to 65535")
    require_free(port, "the page")
    with tempfile.TemporaryDirectory(prefix="flyobj-page-", ignore_cleanup_errors=True) as folder:
        # Read when Gradio is imported, and when it makes a part of a page.
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]  # Gradio would ask a proxy whether the page is there
        try:
            import gradio as gr
            from starlette.middleware import Middleware

            from serving.page.guard import MAX_FILE_BYTES, Guard
            from serving.page.layout import Page
        except ImportError as error:
            raise missing_library("the page", "gradio", error) from error
        with closing(Backend(home, remote, version)) as backend:
            page = Page(backend, Path(folder) / "examples").build()
            style = files("serving.page").joinpath("page.css").read_text(encoding="utf-8")
            script = files("serving.page").joinpath("page.js").read_text(encoding="utf-8")
            try:
                _, url, _ = page.queue(api_open=False).launch(
                    server_name=HOST,
                    server_port=port,
                    quiet=True,
                    prevent_thread_lock=True,
                    footer_links=[],
                    show_error=True,
                    max_file_size=MAX_FILE_BYTES,
                    app_kwargs={"middleware": [Middleware(Guard)]},
                    **dict.fromkeys(_OFF, False),
                    theme=gr.themes.Default(
                        primary_hue="sky", neutral_hue="slate", font="sans-serif", font_mono="monospace"
                    ),
                    css=style,
                    js=script,
                )
                yield url.rstrip("/")
            finally:
                page.close(verbose=False)
