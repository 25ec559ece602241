"""Threads that work from the start of a `with` to its end."""

import threading
from collections.abc import Callable, Iterable
from typing import Self


class Background:
    """What a load, or whoever watches one, is made of; `_over` tells the threads to end."""

    def __init__(self, works: Iterable[Callable[[], None]]) -> None:
        """Prepare a thread for each of `works`, which ends by itself soon after `_over` is set."""
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, when what is under way is done."""
        self._over.set()
        for thread in self._threads:
            thread.join()
