"""How requests come from TorchServe's front end to a worker.

`ts.protocol.otf_message_handler` parses JSON as it reads it, before anybody can count what is in it, and
asks the system six times for each part of a form; a body of 21 MiB can have 400,000. Both would cost a
worker seconds, so bodies are left as they came and small pieces are read ahead.
"""

import os
import socket
from collections.abc import Callable

from ts.protocol import otf_message_handler

_AHEAD_BYTES = 2**16
Read = Callable[[socket.socket, int], bytearray]


class AheadReader:
    """Reads as TorchServe's `_retrieve_buffer` does, with fewer calls of the system."""

    def __init__(self, plain: Read) -> None:
        """Let `plain` do what there is to do when the front end has gone."""
        self._plain = plain
        self._ahead, self._used = b"", 0  # what was read ahead, and how many bytes of it are used

    def __call__(self, connection: socket.socket, length: int) -> bytearray:
        """Return exactly `length` bytes."""
        start, self._used = self._used, self._used + length
        content = bytearray(self._ahead[start : self._used])
        if (filled := len(content)) == length:
            return content
        content += bytes(length - filled)
        with memoryview(content) as view:
            while length - filled >= _AHEAD_BYTES:
                filled += connection.recv_into(view[filled:]) or self._end(connection)
            self._ahead, self._used = b"", 0
            while filled < length:
                self._ahead = connection.recv(_AHEAD_BYTES)
                self._used = min(len(self._ahead), length - filled) or self._end(connection)
                view[filled : filled + self._used] = self._ahead[: self._used]
                filled += self._used
        return content

    def _end(self, connection: socket.socket) -> int:
        return len(self._plain(connection, 1))  # it ends the process


def take_bodies_as_they_come() -> None:
    """Let TorchServe leave JSON and text alone and read ahead, in this process."""
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
    plain = otf_message_handler._retrieve_buffer
    if not isinstance(plain, AheadReader):
        otf_message_handler._retrieve_buffer = AheadReader(plain)
