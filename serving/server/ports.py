"""Ports of 127.0.0.1: free ones, and who has one that isn't."""

import socket

import psutil

from model.errors import FlyobjError, InputError
from serving.names import DEFAULT_PORT


def free_port(first: int = DEFAULT_PORT) -> int:
    """Find five free ports in a row, from `first` on; the first of them is returned."""
    for port in range(first, first + 1000, 10):
        sockets = [socket.socket() for _ in range(5)]
        try:
            for offset, probe in enumerate(sockets):
                probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
    raise FlyobjError(f"no five free ports in a row from {first} on")


def require_free(port: int, use: str) -> None:
    """Raise `InputError` if somebody listens on a port of 127.0.0.1; `use` says what it is for."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} (for {use}) is in use{_owner(port)}; stop that program or give "
                f"another, such as --port {free_port()}"
            ) from error


def _owner(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listens and listens.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f" by {process.name()!r} (pid {connection.pid})"
    except psutil.Error:
        pass
    return " by another user's program"
