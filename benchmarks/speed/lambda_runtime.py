"""Lambda's side of a function, on this machine: events go in, responses come out.

The real runtime client, `python -m awslambdaric`, is started against a server that speaks the interface
between it and Lambda: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
"""

import base64
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from urllib3.filepost import encode_multipart_formdata

HANDLER = "deploy.aws_lambda.function.handler"
_API = "/2018-06-01/runtime"
_TIMEOUT_S = 120
_LOOK_S = 0.2  # how often it is seen that the function's process has ended


class FunctionFailed(Exception):
    """The function didn't start or raised; the message is what Lambda was told."""


class Function:
    """A function's process; made by `start_function`."""

    def __init__(self, process: "subprocess.Popen[str]", api: "_Api", log: IO[str]) -> None:
        """Wait until the process asks for its first event; raises `FunctionFailed`."""
        self.process = process
        self._api, self._log = api, log
        started = time.perf_counter()
        self._wait("ready")
        self.init_s = time.perf_counter() - started

    def invoke(self, event: object) -> Any:
        """Give the function an event and wait for what it returns."""
        self._api.events.put(json.dumps(event).encode())
        return self._wait("response")

    def log(self) -> str:
        """Return all that the process has written so far."""
        self._log.seek(0)
        return self._log.read()

    def _wait(self, wanted: str) -> Any:
        until = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < until:
            try:
                kind, body = self._api.said.get(timeout=_LOOK_S)
            except queue.Empty:
                if self.process.poll() is not None and self._api.said.empty():
                    raise FunctionFailed(f"the process ended: {self.log()[-500:]}") from None
                continue
            if kind in ("error", "init/error"):
                raise FunctionFailed(f"{kind}: {body['errorType']}: {body['errorMessage']}")
            if kind == wanted:
                return body
        raise FunctionFailed(f"nothing was heard of it for {_TIMEOUT_S} s")


@contextmanager
def start_function(
    folder: Path,
    environment: Mapping[str, str],
    python: str = sys.executable,
    command: Callable[[str], Sequence[str]] | None = None,
) -> Iterator[Function]:
    """Start a function as its image would, and end it when the block does.

    Args:
        folder: the image's working folder.
        environment: the process's, in full but for what Lambda adds.
        python: interpreter that has what the function needs.
        command: makes what starts it otherwise, as in a container, from the address of the runtime API.

    Raises:
        FunctionFailed: it didn't start.
    """
    with ExitStack() as stack:
        api = stack.enter_context(_Api())
        thread = threading.Thread(target=api.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(api.shutdown)
        stack.callback(api.events.put, None)  # for the thread that waits for an event
        log = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
        address = f"127.0.0.1:{api.server_port}"
        words = command(address) if command else [python, "-m", "awslambdaric", HANDLER]
        own = {"AWS_LAMBDA_RUNTIME_API": address, "LAMBDA_TASK_ROOT": str(folder)}
        process = stack.enter_context(
            subprocess.Popen(
                words,
                cwd=folder,
                env={**environment, **own},
                stdout=log,
                stderr=log,
                text=True,
            )
        )
        stack.callback(process.kill)
        yield Function(process, api, log)


def http_event(body: bytes, content_type: str, version: str = "2.0") -> dict[str, Any]:
    """Make the event that API Gateway makes of a POST request, in payload format 1.0 or 2.0."""
    event = {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    if version == "1.0":
        lists = {"multiValueHeaders": {"Content-Type": [content_type]}}
        headers: dict[str, Any] = {"headers": {"Content-Type": content_type}, **lists}
        return {"resource": "/", "path": "/", "httpMethod": "POST", **headers, **event}
    http = {"method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"}
    headers = {"headers": {"content-type": content_type}, "requestContext": {"http": http}}
    return {"version": "2.0", "routeKey": "POST /", "rawPath": "/", **headers, **event}


def form_event(photo: bytes, field: str = "file1", version: str = "2.0") -> dict[str, Any]:
    """Make the event of `curl -F file1=@photo.jpg`."""
    form = encode_multipart_formdata({field: ("photo.jpg", photo, "image/jpeg")})
    return http_event(*form, version)


class _Api(ThreadingHTTPServer):
    """The runtime API of one function."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.events: queue.Queue[bytes | None] = queue.Queue()
        # "ready", "response", "error" or "init/error", and the body
        self.said: queue.Queue[tuple[str, Any]] = queue.Queue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that end with the function."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or head and body of an answer are 40 ms apart
    server: _Api

    def do_GET(self) -> None:
        """Answer `invocation/next` with an event, as soon as there is one."""
        self.server.said.put(("ready", None))
        event = self.server.events.get()
        if event is None:  # the function ends
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", f"{time.monotonic_ns()}")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + _TIMEOUT_S) * 1000)))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:local:0:function:local")
        self._finish("application/json", event)

    def do_POST(self) -> None:
        """Take a response or an error."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.removeprefix(_API)
        kind = "init/error" if path == "/init/error" else path.rpartition("/")[2]
        self.server.said.put((kind, body))
        self.send_response(202)
        self._finish("application/json", b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _finish(self, kind: str, body: bytes) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
