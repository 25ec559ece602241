"""A function over many items in all cores: in processes, in order, a few items under way at a time."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TypeVar

import cv2

from model.errors import FlyobjError

CHUNK = 32  # items handed to a worker at once
_AHEAD = 3  # chunks for each worker that are under way, so that none waits and results don't pile up

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[Result]:
    """Map in `workers` processes (default: one for each core), in order; 1 stays in this one."""
    yield from chunks_in_parallel(partial(_each, function), items, workers)


def chunks_in_parallel(
    function: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    workers: int | None = None,
) -> Iterator[Result]:
    """Map as `in_parallel` does, with a function that takes up to `CHUNK` items at once.

    Raises:
        FlyobjError: a worker died.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    workers = min(workers or os.cpu_count() or 1, max(1, len(items) // CHUNK))
    if workers == 1:
        for chunk in chunks:
            yield from function(chunk)
        return
    with ProcessPoolExecutor(workers, _Context(), initializer=_start_worker) as pool:
        try:
            for results in in_order(pool, function, chunks, workers * _AHEAD):
                yield from results
        except BrokenProcessPool as error:
            raise FlyobjError(
                "a worker process died (no memory left, or a decoder crashed); try fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def in_order(
    pool: Executor, function: Callable[[Item], Result], items: Sequence[Item], ahead: int
) -> Iterator[Result]:
    """Map in a pool, in order; at most `ahead` items are under way, so memory doesn't grow with them."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        if len(waiting) == ahead:
            yield waiting.popleft().result()
        waiting.append(pool.submit(function, item))
    while waiting:
        yield waiting.popleft().result()


class _Worker(SpawnProcess):
    """A fork would copy the locks of threads that it doesn't have."""

    def start(self) -> None:
        """Ctrl-C is the parent's to answer; a worker that still imports would print a traceback."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    Process = _Worker


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _start_worker() -> None:
    """One thread a process, and a worker doesn't outlive its parent."""
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when PyTorch is imported, by what needs it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this the workers of a process that was killed would wait for work forever."""
    if parent := parent_process():
        connection.wait([parent.sentinel])
        os._exit(1)
